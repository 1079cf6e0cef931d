"""Training and validation samples of a pose network: augmented crops, joints in cells, and how far to trust them."""

from __future__ import annotations

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
from posepipe.geometry import affine_points, crop_affine
from posepipe.heatmaps import crop_to_cells
from posepipe.skeleton import COCO17, Skeleton

__all__ = ["KeypointSamples"]

#: factor on the trust in a joint that something was pasted over: it must be guessed from the rest
HIDDEN_TRUST = 0.5
#: trust that a joint which lies outside the picture or the crop is not to be seen in it
OUTSIDE_ABSENT = 0.2


class KeypointSamples:
    """Samples of a crop cache for a network with a `size` input and maps of stride `stride`.

    Indexed by (index, seed) with an augmentation (see `posepipe.datasets.order.MixedOrder`), by index without one. A
    sample holds

    - ``image``: (H,W,3) uint8 RGB,
    - ``cells``: (K,2) float32 joints in cells of the map,
    - ``located``, ``absent``: (K,) float32 trust that the joint is there, and that it cannot be seen in this crop,
    - ``area``: float32, 0.53 x the box in cells^2 (COCO's mean segment share), and ``by_people``: bool.
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
    ) -> None:
        self.crops = crops
        self.size = size
        self.stride = stride
        self.padding = padding
        self.augmentation = augmentation
        self.skeleton = skeleton

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, NDArray[np.generic]]:
        index, seed = key if isinstance(key, tuple) else (key, 0)
        crops = self.crops
        xy, located, absent = crops.xy[index], crops.located[index], crops.absent[index]
        if self.augmentation is None:
            matrix = crop_affine(crops.box[index][None], self.size, self.padding)[0]
            image = self._warp(crops.image(index), matrix)
            points = affine_points(matrix, xy)
        else:
            image, points, located, absent, matrix = self._vary(index, self.augmentation, np.random.default_rng(seed))
        inside = np.all((points > -0.5) & (points < np.array(self.size[::-1]) - 0.5), axis=-1)
        outside = (located > 0) & ~inside
        side = abs(np.linalg.det(matrix[:, :2])) / self.stride**2
        extent = crops.box[index][2:] - crops.box[index][:2]
        return {
            "image": image,
            "cells": np.where(inside[:, None], crop_to_cells(points, self.stride), 0.0).astype(np.float32),
            "located": np.where(inside, located, 0.0).astype(np.float32),
            "absent": np.where(outside, OUTSIDE_ABSENT, absent).astype(np.float32),
            "area": np.asarray(0.53 * float(extent.prod()) * side, np.float32),
            "by_people": np.asarray(crops.by_people[index]),
        }

    def _warp(self, picture: NDArray[np.uint8], matrix: NDArray[np.float64]) -> NDArray[np.uint8]:
        warped = cv2.warpAffine(picture, matrix, (self.size[1], self.size[0]), flags=cv2.INTER_LINEAR)
        return np.asarray(warped, np.uint8)

    def _vary(
        self, index: int, settings: Augmentation, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
        """A varied sample: image, points (K,2) px of it, located (K,), absent (K,), map (2,3) from cached crop."""
        crops = self.crops
        xy, located, absent, box = crops.xy[index], crops.located[index], crops.absent[index], crops.box[index]
        picture = crops.image(index)
        if rng.random() < settings.truncate:
            box, window = truncate(picture, box, rng)
            gone = (located > 0) & ~np.all((xy >= window[:2] - 0.5) & (xy < window[2:] - 0.5), axis=-1)
            located, absent = np.where(gone, 0, located), np.where(gone, OUTSIDE_ABSENT, absent)
        if rng.random() < settings.half_body:
            box = half_body_box(xy, located, box, self.skeleton, rng)
        matrix = augmented_affine(box, self.size, self.padding, settings, rng)
        if rng.random() < settings.flip:
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
        return image, points, located * np.where(hidden, HIDDEN_TRUST, 1.0), absent, matrix
