"""Colours and covered parts of training pictures, the same in all frames of a clip."""

from __future__ import annotations

from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from posepipe.datasets.action_variation import ActionVariation

__all__ = ["ColourRanges", "shift_colours", "vary_colours"]

# OpenCV's hue of 8 bits goes once round the circle in so many steps.
_CIRCLE = 180
_GREY = (0.299, 0.587, 0.114)


class ColourRanges(Protocol):
    """How much colours may change: brightness, contrast, saturation in parts, hue in parts of the colour circle."""

    @property
    def brightness(self) -> float:
        """Largest change of brightness."""
        ...

    @property
    def contrast(self) -> float:
        """Largest change of contrast."""
        ...

    @property
    def saturation(self) -> float:
        """Largest change of saturation."""
        ...

    @property
    def hue(self) -> float:
        """Largest change of hue."""
        ...


def vary_colours(pictures: NDArray[np.uint8], how: ActionVariation, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Change brightness, contrast, saturation and hue of a clip in a random order, and perhaps cover a part.

    Parameters
    ----------
    pictures
        (T,H,W,3) uint8 RGB.
    how
        `brightness`, `contrast`, `saturation`, `hue`, `erase`, `erase_area`.
    rng
        Where the draws come from.

    Returns
    -------
    (T,H,W,3) uint8 RGB.
    """
    pictures = shift_colours(pictures, how, rng)
    return _covered(pictures, how, rng) if rng.random() < how.erase else pictures


def shift_colours(pictures: NDArray[np.uint8], how: ColourRanges, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Change brightness, contrast, saturation and hue of a clip (T,H,W,3) uint8 RGB in a random order."""
    for change in rng.permutation(4):
        match change:
            case 0 if how.brightness:
                pictures = _bytes(pictures * np.float32(1 + rng.uniform(-how.brightness, how.brightness)))
            case 1 if how.contrast:
                mean = np.float32((pictures.reshape(-1, 3).mean(0) * _GREY).sum())
                pictures = _bytes(mean + (pictures - mean) * np.float32(1 + rng.uniform(-how.contrast, how.contrast)))
            case 2 if how.saturation:
                grey = (pictures @ np.array(_GREY, np.float32))[..., None]
                pictures = _bytes(
                    grey + (pictures - grey) * np.float32(1 + rng.uniform(-how.saturation, how.saturation))
                )
            case 3 if how.hue:
                pictures = _turn_hue(pictures, round(rng.uniform(-how.hue, how.hue) * _CIRCLE))
    return pictures


def _bytes(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.asarray(np.clip(values + 0.5, 0, 255), np.uint8)


def _turn_hue(pictures: NDArray[np.uint8], steps: int) -> NDArray[np.uint8]:
    flat = np.ascontiguousarray(pictures).reshape(-1, pictures.shape[2], 3)
    coloured = cv2.cvtColor(flat, cv2.COLOR_RGB2HSV)
    coloured[..., 0] = ((coloured[..., 0].astype(np.int16) + steps) % _CIRCLE).astype(np.uint8)
    return np.asarray(cv2.cvtColor(coloured, cv2.COLOR_HSV2RGB), np.uint8).reshape(pictures.shape)


def _covered(pictures: NDArray[np.uint8], how: ActionVariation, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A rectangle of noise, one in all frames (Zhong et al. 2020, "Random Erasing")."""
    height, width = pictures.shape[1:3]
    surface, ratio = rng.uniform(*how.erase_area) * height * width, np.exp(rng.uniform(*np.log((0.3, 1 / 0.3))))
    h, w = (min(limit, max(1, round(np.sqrt(v)))) for limit, v in ((height, surface * ratio), (width, surface / ratio)))
    y, x = rng.integers(height - h + 1), rng.integers(width - w + 1)
    result: NDArray[np.uint8] = pictures.copy()
    result[:, y : y + h, x : x + w] = rng.integers(0, 256, (h, w, 3), np.uint8)
    return result
