"""Training samples of the person detector: random views of boxed pictures, and four-picture mosaics (no torch)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from posepipe.datasets.boxes import BoxedImage
from posepipe.errors import InputError

__all__ = ["BoxSample", "Views", "read_rgb", "stretch"]

PAD = 114
"""Grey around a picture that does not fill its view."""

LEAST_SIDE = 4.0
"""Boxes with a side below this (px of the view) are too small to have cells of their own: ignored."""

LEAST_VISIBLE = 0.35
"""Boxes of which less than this share of the area is left in the view are ignored."""


@dataclass(frozen=True)
class BoxSample:
    """One training sample: image (S,S,3) uint8 RGB, boxes (N,4) float32 xyxy px of it, ignore (N,) bool."""

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    ignore: NDArray[np.bool_]


@cache
def _encoded(path: Path) -> bytes:
    return path.read_bytes()


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Decode a picture: (H,W,3) uint8 RGB; its file is read once and kept (a training set of small files fits memory).

    Raises ``InputError`` if it cannot be read or decoded.
    """
    try:
        image = cv2.imdecode(np.frombuffer(_encoded(path), np.uint8), cv2.IMREAD_COLOR_RGB)
    except (OSError, cv2.error) as error:
        raise InputError(f"cannot read the picture {path}: {error}") from error
    if image is None:
        raise InputError(f"cannot decode the picture {path}")
    return np.asarray(image, np.uint8)


def stretch(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resize to a square, whatever the aspect (bilinear), as the detector's input is made: (size,size,3) uint8."""
    return np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR), np.uint8)


def _map_boxes(boxes: NDArray[np.float32], matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """Boxes under an axis-parallel affine map (2,3); a mirror swaps left and right."""
    ends = boxes.reshape(-1, 2, 2) * matrix[[0, 1], [0, 1]] + matrix[:, 2]
    return np.concatenate((ends.min(1), ends.max(1)), 1).astype(np.float32)


def _clip(boxes: NDArray[np.float32], ignore: NDArray[np.bool_], window: Sequence[float]) -> BoxSample:
    """Cut boxes at a window (xyxy); what is gone is dropped, what is nearly gone or tiny is ignored."""
    low, high = np.array(window[:2], np.float32), np.array(window[2:], np.float32)
    cut = np.concatenate((np.clip(boxes[:, :2], low, high), np.clip(boxes[:, 2:], low, high)), 1)
    sides = cut[:, 2:] - cut[:, :2]
    area = np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(1), 1e-6)
    weak = (sides.prod(1) < LEAST_VISIBLE * area) | (sides.min(1, initial=np.inf) < LEAST_SIDE)
    kept = sides.min(1, initial=np.inf) > 0
    return BoxSample(np.zeros((0, 0, 3), np.uint8), cut[kept], (ignore | weak)[kept])


class Views:
    """Random square views of boxed pictures, indexed by (index, seed): the same pair gives the same view.

    Parameters
    ----------
    images
        The pictures.
    size
        Side of a view in px.
    zoom
        Least and greatest side, in view sides, that the stretched picture takes: below 1 it leaves a grey margin
        (small people), above 1 the view is a crop of it (people at the size they have at a larger input).
    mosaic
        Chance that a view shows four pictures.
    """

    def __init__(self, images: Sequence[BoxedImage], size: int, zoom: tuple[float, float], mosaic: float) -> None:
        self.images = images
        self.size = size
        self.zoom = zoom
        self.mosaic = mosaic

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: tuple[int, int]) -> BoxSample:
        index, seed = key
        random = np.random.default_rng(seed)
        canvas = np.full((self.size, self.size, 3), PAD, np.uint8)
        if random.random() >= self.mosaic:
            boxes, ignore = self._paint(canvas, self.images[index], (0, 0, self.size, self.size), random)
        else:
            boxes, ignore = self._paint_four(canvas, index, random)
        return BoxSample(self._colour(canvas, random), boxes, ignore)

    def _paint_four(
        self, canvas: NDArray[np.uint8], index: int, random: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        x, y = (random.uniform(0.35, 0.65, 2) * self.size).astype(int)
        end = self.size
        windows = [(0, 0, x, y), (x, 0, end, y), (0, y, x, end), (x, y, end, end)]
        others = random.integers(0, len(self.images), 3)
        parts = [
            self._paint(canvas, self.images[i], window, random)
            for i, window in zip([index, *others], windows, strict=True)
        ]
        return np.concatenate([boxes for boxes, _ in parts]), np.concatenate([ignore for _, ignore in parts])

    def _paint(
        self,
        canvas: NDArray[np.uint8],
        labelled: BoxedImage,
        window: tuple[int, int, int, int],
        random: np.random.Generator,
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Draw a random view of a picture into a window of the canvas; its boxes there."""
        image = read_rgb(labelled.path)
        left, top, right, bottom = window
        span = np.array([right - left, bottom - top], float)
        zoom = np.exp(random.uniform(*np.log(self.zoom))) * np.exp(random.normal(0, 0.08, 2))
        scale = span * zoom / (image.shape[1], image.shape[0])
        room = span * (1 - zoom)
        offset = random.uniform(np.minimum(room, 0), np.maximum(room, 0))
        if random.random() < 0.5:
            scale[0], offset[0] = -scale[0], offset[0] + span[0] * zoom[0]
        matrix = np.array([[scale[0], 0, offset[0] + left], [0, scale[1], offset[1] + top]])
        # OpenCV maps pixel centres, boxes are measured between pixel edges.
        centres = matrix.copy()
        centres[:, 2] += (scale - 1) / 2 - (left, top)
        cv2.warpAffine(
            image,
            centres,
            (right - left, bottom - top),
            canvas[top:bottom, left:right],
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(PAD, PAD, PAD),
        )
        view = _clip(_map_boxes(labelled.boxes, matrix), labelled.ignore, window)
        return view.boxes, view.ignore

    @staticmethod
    def _colour(image: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
        """Random gain and offset of each channel (brightness, contrast, white balance); one in ten becomes grey."""
        if random.random() < 0.1:
            image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB).astype(np.uint8)
        gain = np.exp(random.normal(0, 0.2) + random.normal(0, 0.06, 3))
        offset = random.normal(0, 14) + 110 * (1 - gain) * random.uniform(0, 1)
        table = np.clip(np.arange(256)[:, None] * gain + offset, 0, 255).astype(np.uint8)
        return np.asarray(cv2.LUT(image, table[None]), np.uint8)
