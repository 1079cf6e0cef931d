"""Shot cuts: frames whose picture goes on from nothing that was seen in the frame before.

Two cheap looks at a thumbnail, both of which have to say "cut": the colours (intersection of RGB histograms, Swain and
Ballard 1991), which a pan hardly changes, and the structure (normalised cross-correlation of the high-passed picture at
the best shift), which a flash or the camera's exposure hardly changes. A frame that is blown out or black says nothing:
the next one is compared with the last that did.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["CutFinder"]

_WIDTH, _HEIGHT = 48, 36
_BINS = 8
# Uncut clips stay above the one, cuts between different places below the other (docs/formats.md, `cut`).
_COLOURS, _STRUCTURE = 0.8, 0.55
# The picture may have moved by this share of its size in one frame.
_SHIFT = 0.2
_DETAIL = 3.0
# Grey levels from which and up to which a pixel tells nothing, the share of them from which a frame tells nothing, and
# the frames for which such pictures are waited out.
_WHITE, _BLACK, _BLIND, _PATIENCE = 250, 5, 0.3, 5
_LEAST_CONTRAST = 4.0


class CutFinder:
    """Compares each frame with the one before."""

    def __init__(self) -> None:
        self._thumb: NDArray[np.uint8] | None = None
        self._waited = 0

    def update(self, image: NDArray[np.uint8]) -> bool:
        """Take the next frame (H,W,3) uint8 RGB; True where a new shot begins with it, never for the first frame."""
        thumb = _thumbnail(image)
        before = self._thumb
        if before is None:
            self._thumb = thumb
            return False
        if self._waited < _PATIENCE and _blind(thumb) > _blind(before) + _BLIND:
            self._waited += 1
            return False
        self._thumb, self._waited = thumb, 0
        return _colours(before, thumb) < _COLOURS and _structure(before, thumb) < _STRUCTURE


def _thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture at 48 x 36 px; most of its pixels are not even read."""
    step = max(1, min(image.shape[0] // (2 * _HEIGHT), image.shape[1] // (2 * _WIDTH)))
    sparse = np.ascontiguousarray(image[::step, ::step])
    return np.asarray(cv2.resize(sparse, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)


def _blind(thumb: NDArray[np.uint8]) -> float:
    """Share of pixels that are black or white in all channels."""
    return float(((thumb >= _WHITE).all(-1) | (thumb <= _BLACK).all(-1)).mean())


def _colours(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Intersection of the colour histograms, in [0,1]."""
    histograms = [cv2.calcHist([t], [0, 1, 2], None, [_BINS] * 3, [0, 256] * 3) for t in (a, b)]
    return float(np.minimum(*histograms).sum() / (_WIDTH * _HEIGHT))


def _structure(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Correlation of the middle of each picture with the other at its best place, in [-1,1]; 1 without contrast."""
    one, other = _detail(a), _detail(b)
    if max(one.std(), other.std()) < _LEAST_CONTRAST:
        return 1.0
    y, x = int(_SHIFT * _HEIGHT), int(_SHIFT * _WIDTH)
    middle = (slice(y, _HEIGHT - y), slice(x, _WIDTH - x))
    found = (
        cv2.matchTemplate(whole, part[middle], cv2.TM_CCOEFF_NORMED).max()
        for whole, part in ((one, other), (other, one))
        if part[middle].std() > 0
    )
    return max((float(value) for value in found), default=0.0)


def _detail(thumb: NDArray[np.uint8]) -> NDArray[np.float32]:
    grey = cv2.cvtColor(thumb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.asarray(grey - cv2.GaussianBlur(grey, (0, 0), _DETAIL), np.float32)
