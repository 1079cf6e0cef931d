"""Training and validation samples of a pose network: augmented crops, joints in cells, and how far to trust them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from posepipe.datasets.augment import (
    augmented_affine,
    box_in_crop,
    cover,
    crowd,
    half_body_box,
    mirror_affine,
    truncate,
    vary_colour,
)
from posepipe.datasets.augmentation import Augmentation
from posepipe.datasets.crops import CropCache
from posepipe.geometry import affine_points, crop_affine, invert_affine
from posepipe.heatmaps import cells_to_crop, crop_to_cells
from posepipe.skeleton import COCO17, Skeleton

__all__ = ["KeypointSamples"]

#: factor on the trust in a joint that something was pasted over: it must be guessed from the rest
HIDDEN_TRUST = 0.5
#: trust that a joint which lies outside the picture or the crop is not to be seen in it
OUTSIDE_ABSENT = 0.2


class Maps(Protocol):
    """Maps (K,h,w) uint8 by index of the person: an array, or a file of them."""

    def __getitem__(self, index: int) -> NDArray[np.uint8]: ...


@dataclass(frozen=True)
class _View:
    """A person as a network sees it: `matrix` (2,3) maps the cached crop to the input.

    Joints outside `window` (xyxy px of the cached crop) lie beyond the picture's edge, `hidden` ones under something
    pasted over them. `mirrored`: left and right are swapped in image, points and trust.
    """

    image: NDArray[np.uint8]
    matrix: NDArray[np.float64]
    points: NDArray[np.float64]
    located: NDArray[np.float32]
    absent: NDArray[np.float32]
    hidden: NDArray[np.bool_]
    mirrored: bool = False
    window: NDArray[np.float32] | None = None


class KeypointSamples:
    """Samples of a crop cache for a network with a `size` input and maps of stride `stride`.

    Indexed by (index, seed) with an augmentation (see `posepipe.datasets.order.MixedOrder`), by index without one. A
    sample holds

    - ``image``: (H,W,3) uint8 RGB,
    - ``cells``: (K,2) float32 joints in cells of the map,
    - ``located``, ``absent``: (K,) float32 trust that the joint is there, and that it cannot be seen in this crop,
    - ``area``: float32, 0.53 x the box in cells^2 (COCO's mean segment share), and ``by_people``: bool.

    With `lessons`, (K,h,w) uint8 maps that a teacher gave of each person's upright crop (the sample without an
    augmentation), it also holds

    - ``lesson``: (K,h,w) uint8 this person's, left and right swapped in a mirror image; 0 for joints that the teacher
      sees where this crop or its picture does not reach,
    - ``to_lesson``: (2,3) float32 affine map from a cell of this sample's maps to a cell of ``lesson``,
    - ``shown``: (K,) float32 `HIDDEN_TRUST` for joints that something was pasted over, else 1.
    """

    def __init__(
        self,
        crops: CropCache,
        size: tuple[int, int],
        *,
        stride: int = 4,
        padding: float = 1.25,
        augmentation: Augmentation | None = None,
        skeleton: Skeleton = COCO17,
        lessons: Maps | None = None,
    ) -> None:
        self.crops = crops
        self.size = size
        self.stride = stride
        self.padding = padding
        self.augmentation = augmentation
        self.skeleton = skeleton
        self.lessons = lessons

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, NDArray[np.generic]]:
        index, seed = key if isinstance(key, tuple) else (key, 0)
        settings = self.augmentation
        view = self._upright(index) if settings is None else self._vary(index, settings, np.random.default_rng(seed))
        box, located = self.crops.box[index], view.located * np.where(view.hidden, HIDDEN_TRUST, 1.0)
        inside = self._inside(view.points)
        outside = (located > 0) & ~inside
        side = abs(np.linalg.det(view.matrix[:, :2])) / self.stride**2
        sample: dict[str, NDArray[np.generic]] = {
            "image": view.image,
            "cells": np.where(inside[:, None], crop_to_cells(view.points, self.stride), 0.0).astype(np.float32),
            "located": np.where(inside, located, 0.0).astype(np.float32),
            "absent": np.where(outside, OUTSIDE_ABSENT, view.absent).astype(np.float32),
            "area": np.asarray(0.53 * float((box[2:] - box[:2]).prod()) * side, np.float32),
            "by_people": np.asarray(self.crops.by_people[index]),
        }
        return sample if self.lessons is None else sample | self._lesson(index, view, self.lessons)

    def _upright(self, index: int) -> _View:
        """A sample as a network sees it in use."""
        crops = self.crops
        matrix = crop_affine(crops.box[index][None], self.size, self.padding)[0]
        xy = crops.xy[index]
        image, points = self._warp(crops.image(index), matrix), affine_points(matrix, xy)
        return _View(image, matrix, points, crops.located[index], crops.absent[index], np.zeros(len(xy), np.bool_))

    def _lesson(self, index: int, view: _View, lessons: Maps) -> dict[str, NDArray[np.generic]]:
        """What a teacher said of the upright crop, and where it lies in this one."""
        maps = lessons[index]
        upright = crop_affine(self.crops.box[index][None], self.size, self.padding)[0]
        best = np.stack(np.unravel_index(maps.reshape(len(maps), -1).argmax(-1), maps.shape[1:])[::-1], -1)
        places = affine_points(invert_affine(upright), cells_to_crop(best, self.stride))
        seen = self._inside(affine_points(view.matrix, places)) & _within(places, view.window)
        maps = maps * seen[:, None, None]
        corner = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        pixels = affine_points(invert_affine(view.matrix), cells_to_crop(corner, self.stride))
        origin, right, down = crop_to_cells(affine_points(upright, pixels), self.stride)
        return {
            "lesson": maps[self.skeleton.mirror] if view.mirrored else maps,
            "to_lesson": np.stack([right - origin, down - origin, origin], -1).astype(np.float32),
            "shown": np.where(view.hidden, HIDDEN_TRUST, 1.0).astype(np.float32),
        }

    def _inside(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of (K,2) px lie in the input."""
        return _within(points, np.array([0, 0, *self.size[::-1]], np.float32))

    def _warp(self, picture: NDArray[np.uint8], matrix: NDArray[np.float64]) -> NDArray[np.uint8]:
        warped = cv2.warpAffine(picture, matrix, (self.size[1], self.size[0]), flags=cv2.INTER_LINEAR)
        return np.asarray(warped, np.uint8)

    def _vary(self, index: int, settings: Augmentation, rng: np.random.Generator) -> _View:
        """A varied sample."""
        crops = self.crops
        xy, located, absent, box = crops.xy[index], crops.located[index], crops.absent[index], crops.box[index]
        picture, window = crops.image(index), None
        if rng.random() < settings.truncate:
            box, window = truncate(picture, box, rng)
            gone = (located > 0) & ~_within(xy, window)
            located, absent = np.where(gone, 0, located), np.where(gone, OUTSIDE_ABSENT, absent)
        if rng.random() < settings.half_body:
            box = half_body_box(xy, located, box, self.skeleton, rng)
        matrix = augmented_affine(box, self.size, self.padding, settings, rng)
        mirrored = bool(rng.random() < settings.flip)
        if mirrored:
            matrix = mirror_affine(matrix, self.size[1])
            mirror = self.skeleton.mirror
            xy, located, absent = xy[mirror], located[mirror], absent[mirror]
        image, points = self._warp(picture, matrix), affine_points(matrix, xy)
        hidden = np.zeros(len(xy), np.bool_)
        if rng.random() < settings.crowd and len(crops) > 1:
            other = (index + int(rng.integers(1, len(crops)))) % len(crops)
            hidden |= crowd(image, box_in_crop(matrix, box), points, crops.image(other), crops.box[other], rng)
        image = vary_colour(image, settings, rng)
        if rng.random() < settings.cutout:
            hidden |= cover(image, points, rng)
        return _View(image, matrix, points, located, absent, hidden, mirrored, window)


def _within(points: NDArray[np.floating], window: NDArray[np.float32] | None) -> NDArray[np.bool_]:
    """Which of (K,2) px lie on the pixels of a window (xyxy); None: everywhere."""
    if window is None:
        return np.ones(len(points), np.bool_)
    return np.asarray(np.all((points >= window[:2] - 0.5) & (points < window[2:] - 0.5), axis=-1))
