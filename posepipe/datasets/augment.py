"""How training crops are varied: geometry, colour, and what hides a person (covers, other people, a picture's edge)."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from posepipe.datasets.augmentation import Augmentation
from posepipe.geometry import affine_points, crop_affine
from posepipe.skeleton import Skeleton

__all__ = [
    "augmented_affine",
    "box_in_crop",
    "cover",
    "crowd",
    "half_body_box",
    "mirror_affine",
    "truncate",
    "vary_colour",
]

Image = NDArray[np.uint8]


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


def truncate(
    image: Image, box: NDArray[np.float32], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Let the picture end within a person: black beyond a line through `box` (xyxy px), in place.

    The bottom goes in half of the cases (people at desks, behind the lower edge), else a side or the top; 15 to 50 % of
    the box are lost.

    Returns
    -------
    box, window
        What is left of the box, and of the picture, (4,) xyxy px each: a joint outside the window cannot be seen.
    """
    side = int(rng.choice(4, p=(0.2, 0.1, 0.2, 0.5)))  # left, top, right, bottom, as in a box
    axis, far = side % 2, side >= 2
    height, width = image.shape[:2]
    window = np.array([0, 0, width, height], np.float32)
    share = rng.uniform(0.15, 0.5)
    low, high = float(box[axis]), float(box[axis + 2])
    line = round(np.clip(high - share * (high - low) if far else low + share * (high - low), 1, window[axis + 2] - 1))
    beyond = slice(line, None) if far else slice(None, line)
    image[(slice(None), beyond) if axis == 0 else beyond] = 0
    window[side] = line
    left = np.array(box, np.float32)
    left[side] = min(left[side], line) if far else max(left[side], line)
    return left, window


def crowd(
    image: Image,
    box: NDArray[np.float64],
    points: NDArray[np.float64],
    other: Image,
    other_box: NDArray[np.float32],
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Paste another person before this one, in place: crowds and occlusion by people.

    The other is cut out as the ellipse in its box and scaled to 0.6 to 1.2 times this person's height; its centre lies
    0.3 to 0.8 of the mean of both widths to one side, its feet a little above or below this one's.

    Parameters
    ----------
    image
        (H,W,3) uint8, changed.
    box, points
        (4,) xyxy and (K,2) of this person, px of `image`.
    other, other_box
        A picture of the other person and its box there.
    rng
        Source of chance.

    Returns
    -------
    (K,) which of `points` the other hides.
    """
    x0, y0, x1, y1 = (round(float(v)) for v in other_box)
    cut = other[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
    hidden = np.zeros(len(points), np.bool_)
    if min(cut.shape[:2]) < 8:
        return hidden
    tall, wide = float(box[3] - box[1]), float(box[2] - box[0])
    height = max(4, round(tall * rng.uniform(0.6, 1.2)))
    width = max(4, round(height * cut.shape[1] / cut.shape[0]))
    offset = rng.uniform(0.3, 0.8) * (wide + width) / 2 * rng.choice([-1, 1])
    centre = np.array([(box[0] + box[2]) / 2 + offset, box[3] + 0.1 * tall * rng.normal() - height / 2])
    scale = np.array([width, height]) / np.array([cut.shape[1], cut.shape[0]])
    matrix = np.array([[scale[0], 0, centre[0] - width / 2], [0, scale[1], centre[1] - height / 2]])
    if rng.random() < 0.5:
        matrix = np.array([[-scale[0], 0, centre[0] + width / 2 - 1], matrix[1]])
    size = (image.shape[1], image.shape[0])
    pasted = cv2.warpAffine(cut, matrix, size, flags=cv2.INTER_LINEAR)
    rows, columns = np.ogrid[: size[1], : size[0]]
    ellipse = _within(columns, rows, centre, (width, height))
    image[ellipse] = pasted[ellipse]
    hidden |= _within(points[:, 0], points[:, 1], centre, (width, height))
    return hidden


def _within(x: Any, y: Any, centre: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Whether places lie in the ellipse of that centre and (width, height)."""
    part = ((x - centre[0]) / (size[0] / 2)) ** 2 + ((y - centre[1]) / (size[1] / 2)) ** 2
    return np.asarray(part <= 1.0)


def box_in_crop(matrix: NDArray[np.float64], box: NDArray[np.float32]) -> NDArray[np.float64]:
    """The upright box about a box (4,) xyxy under an affine map (2,3)."""
    x0, y0, x1, y1 = box
    corners = affine_points(matrix, np.array([[x0, y0], [x1, y0], [x0, y1], [x1, y1]]))
    return np.concatenate([corners.min(0), corners.max(0)])


def vary_colour(image: Image, settings: Augmentation, rng: np.random.Generator) -> Image:
    """Change brightness, contrast, colour balance, sharpness; (H,W,3) uint8 in and out."""
    gain = 1 + settings.colour * (rng.uniform(-1, 1) + 0.4 * rng.uniform(-1, 1, 3))
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


def cover(image: Image, points: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.bool_]:
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
