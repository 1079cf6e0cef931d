"""Training and validation samples of a pose network: augmented crops, joints in cells, and how far to trust them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from posepipe.datasets.crops import CropCache
from posepipe.geometry import affine_points, crop_affine
from posepipe.heatmaps import crop_to_cells
from posepipe.skeleton import COCO17, Skeleton

__all__ = ["Augmentation", "KeypointSamples", "SeededOrder", "augmented_affine", "half_body_box", "mirror_affine"]


@dataclass(frozen=True)
class Augmentation:
    """How far training samples are varied; every range is drawn anew for every sample.

    Attributes
    ----------
    flip, rotate, half_body, cutout, blur, grey
        Probabilities of: a mirror image, a rotation, only the upper or lower body, covered rectangles, a
        low-resolution picture, a picture without colour.
    angle
        Largest rotation, degrees.
    scale
        Range of the factor on the crop's extent (drawn log-uniformly).
    shift
        Standard deviation of the centre's shift in parts of the crop's sides (at most three of them): loose and
        cut-off detector boxes.
    colour
        Largest change of brightness, contrast and colour balance, in parts.
    """

    flip: float = 0.5
    rotate: float = 0.6
    angle: float = 40.0
    scale: tuple[float, float] = (0.7, 1.35)
    shift: float = 0.05
    half_body: float = 0.15
    cutout: float = 0.4
    blur: float = 0.1
    grey: float = 0.05
    colour: float = 0.25


class SeededOrder:
    """A sampler of (index, seed) pairs: shuffled anew each epoch, the same on every run and in every worker.

    A sample's variation follows from its seed alone, so training that resumes at an epoch sees the same samples as
    training that never stopped, with any number of workers.

    Parameters
    ----------
    length
        Samples in the set.
    seed
        Of the order and of the variations.
    per_epoch
        Samples in an epoch, `length` if None; an epoch may be a part of the set, the next one goes on from there.
    """

    def __init__(self, length: int, seed: int, per_epoch: int | None = None) -> None:
        self.length = length
        self.seed = seed
        self.per_epoch = per_epoch or length
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch to draw; the training engine calls this before each."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.per_epoch

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for position in range(self.epoch * self.per_epoch, (self.epoch + 1) * self.per_epoch):
            lap, place = divmod(position, self.length)
            if place == 0 or position == self.epoch * self.per_epoch:
                order = np.random.default_rng((self.seed, lap)).permutation(self.length)
            yield int(order[place]), int(np.random.default_rng((self.seed, 1, position)).integers(2**62))


class KeypointSamples:
    """Samples of a crop cache for a network with a `size` input and maps of stride `stride`.

    Indexed by (index, seed) with an augmentation (see `SeededOrder`), by index without one. A sample holds

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
        crops, settings = self.crops, self.augmentation
        xy, located, absent = crops.xy[index], crops.located[index], crops.absent[index]
        rng = np.random.default_rng(seed)
        flip = False
        if settings is None:
            matrix = crop_affine(crops.box[index][None], self.size, self.padding)[0]
        else:
            box = crops.box[index]
            if rng.random() < settings.half_body:
                box = half_body_box(xy, located, box, self.skeleton, rng)
            matrix = augmented_affine(box, self.size, self.padding, settings, rng)
            flip = rng.random() < settings.flip
        if flip:
            matrix = mirror_affine(matrix, self.size[1])
            mirror = self.skeleton.mirror
            xy, located, absent = xy[mirror], located[mirror], absent[mirror]
        picture = cv2.warpAffine(crops.image(index), matrix, (self.size[1], self.size[0]), flags=cv2.INTER_LINEAR)
        image = np.asarray(picture, np.uint8)
        points = affine_points(matrix, xy)
        if settings is not None:
            image = _vary_colour(image, settings, rng)
            if rng.random() < settings.cutout:
                located = located * np.where(_cover(image, points, rng), 0.5, 1.0)
        inside = np.all((points > -0.5) & (points < np.array(self.size[::-1]) - 0.5), axis=-1)
        outside = (located > 0) & ~inside
        side = abs(np.linalg.det(matrix[:, :2])) / self.stride**2
        extent = crops.box[index][2:] - crops.box[index][:2]
        return {
            "image": image,
            "cells": np.where(inside[:, None], crop_to_cells(points, self.stride), 0.0).astype(np.float32),
            "located": np.where(inside, located, 0.0).astype(np.float32),
            # A joint that was located outside the crop is surely not to be seen in it.
            "absent": np.where(outside, 0.2, absent).astype(np.float32),
            "area": np.asarray(0.53 * float(extent.prod()) * side, np.float32),
            "by_people": np.asarray(crops.by_people[index]),
        }


def mirror_affine(matrix: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """The affine map (2,3) followed by a left-right mirror of a crop `width` px wide."""
    mirrored = np.array(matrix, np.float64)
    mirrored[0] = -mirrored[0]
    mirrored[0, 2] += width - 1
    return mirrored


def augmented_affine(
    box: NDArray[np.float32],
    size: tuple[int, int],
    padding: float,
    settings: Augmentation,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """The map (2,3) from cached crop to input crop about `box` (xyxy), scaled, rotated and shifted at random."""
    matrix = crop_affine(box[None], size, padding)[0]
    factor = np.exp(rng.uniform(*np.log(settings.scale)))
    angle = 0.0
    if rng.random() < settings.rotate:
        angle = np.deg2rad(np.clip(rng.normal(0, settings.angle / 2), -settings.angle, settings.angle))
    cosine, sine = np.cos(angle) / factor, np.sin(angle) / factor
    height, width = size
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    move = np.clip(rng.normal(0, settings.shift, 2), -3 * settings.shift, 3 * settings.shift) * [width, height]
    turn = np.array([[cosine, -sine], [sine, cosine]])
    result = np.asarray(turn @ matrix, np.float64)
    result[:, 2] += centre - turn @ centre + move
    return result


def half_body_box(
    xy: NDArray[np.float32],
    located: NDArray[np.float32],
    box: NDArray[np.float32],
    skeleton: Skeleton,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """A box (xyxy) about the joints of the upper or the lower body, or `box` where too few are located (8, and 3)."""
    lower = np.array([any(part in name for part in ("hip", "knee", "ankle")) for name in skeleton.keypoints])
    chosen = (lower if rng.random() < 0.3 else ~lower) & (located > 0)
    if (located > 0).sum() < 8 or chosen.sum() < 3:
        return box
    low, high = xy[chosen].min(0), xy[chosen].max(0)
    margin = 0.15 * (high - low).max()
    return np.concatenate([low - margin, high + margin]).astype(np.float32)


def _vary_colour(image: NDArray[np.uint8], settings: Augmentation, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Change brightness, contrast, colour balance, sharpness; (H,W,3) uint8 in and out."""
    gain = 1 + rng.uniform(-settings.colour, settings.colour) + rng.uniform(-0.1, 0.1, 3)
    bias = 255 * rng.uniform(-settings.colour, settings.colour) / 2
    table = np.clip((np.arange(256)[:, None] - 128) * gain + 128 + bias, 0, 255).astype(np.uint8)
    varied = cv2.LUT(image, table[None])
    if rng.random() < settings.grey:
        varied = cv2.cvtColor(cv2.cvtColor(varied, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if rng.random() < settings.blur:
        height, width = image.shape[:2]
        part = rng.uniform(0.25, 0.7)
        small = cv2.resize(
            varied, (max(1, int(width * part)), max(1, int(height * part))), interpolation=cv2.INTER_AREA
        )
        varied = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(varied, np.uint8)


def _cover(image: NDArray[np.uint8], points: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Cover one or two rectangles of `image` in place; returns (K,) which of `points` (px) they hide."""
    height, width = image.shape[:2]
    hidden = np.zeros(len(points), np.bool_)
    for _ in range(int(rng.integers(1, 3))):
        h, w = (int(n) for n in rng.uniform(0.08, 0.35, 2) * (height, width))
        y, x = int(rng.integers(0, height - h)), int(rng.integers(0, width - w))
        if rng.random() < 0.5:
            image[y : y + h, x : x + w] = rng.integers(0, 256, 3)
        else:  # another part of the same picture: texture of the scene, limbs included
            v, u = int(rng.integers(0, height - h)), int(rng.integers(0, width - w))
            image[y : y + h, x : x + w] = image[v : v + h, u : u + w].copy()
        hidden |= (points[:, 0] >= x) & (points[:, 0] < x + w) & (points[:, 1] >= y) & (points[:, 1] < y + h)
    return hidden
