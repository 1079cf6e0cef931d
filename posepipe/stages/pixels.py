"""From pictures to the inputs of networks, and back: resizing, letterboxes and person crops."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from posepipe.geometry import affine_points, invert_affine

__all__ = ["View", "cut_person", "fit_picture", "letterbox"]

_GREY = 114


@dataclass(frozen=True)
class View:
    """How a picture lies in a network's input: ``input = picture * scale + offset``, for box edges in px (x, y)."""

    scale: tuple[float, float]
    offset: tuple[float, float] = (0.0, 0.0)

    def to_picture(self, xy: NDArray[np.floating]) -> NDArray[np.float64]:
        """Points (...,2) of the input -> points of the picture."""
        return (np.asarray(xy, np.float64) - self.offset) / self.scale


def letterbox(picture: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """Largest (height, width) of a picture of that (height, width) inside ``size`` at its own aspect, at least 1 px."""
    ratio = min(size[0] / picture[0], size[1] / picture[1])
    return max(1, round(picture[0] * ratio)), max(1, round(picture[1] * ratio))


def _halve(image: NDArray[np.uint8], shrink: float) -> tuple[NDArray[np.uint8], int]:
    """Average 2x2 pixels until what is left to shrink is less than two: the picture, and pixels averaged a side.

    Bilinear resizing looks at four pixels only; without this, fine structure of a large picture aliases and keypoints
    jitter with it. An odd last row or column is dropped.
    """
    side = 1
    while shrink >= 2 * side and min(image.shape[:2]) >= 2:
        height, width = image.shape[0] // 2, image.shape[1] // 2
        even = image[: 2 * height, : 2 * width]
        image = np.asarray(cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        side *= 2
    return image, side


def fit_picture(
    image: NDArray[np.uint8],
    inner: tuple[int, int],
    size: tuple[int, int],
    corner: tuple[int, int] = (0, 0),
    *,
    smooth: bool = True,
) -> tuple[NDArray[np.uint8], View]:
    """Bring a picture to a network's input size.

    Parameters
    ----------
    image
        (H,W,3) uint8 of any size.
    inner
        (height, width) that the picture takes up in the input.
    size
        (height, width) of the input; what the picture leaves over is grey.
    corner
        (top, left) of the picture in the input.
    smooth
        Whether pictures that shrink by more than two are averaged first; else resizing is bilinear throughout.

    Returns
    -------
    (height,width,3) uint8, and the way back.
    """
    side = 1
    if smooth:
        image, side = _halve(image, min(image.shape[0] / inner[0], image.shape[1] / inner[1]))
    height, width = image.shape[:2]
    view = View((inner[1] / (width * side), inner[0] / (height * side)), (float(corner[1]), float(corner[0])))
    if inner != (height, width):
        image = np.asarray(cv2.resize(image, (inner[1], inner[0]), interpolation=cv2.INTER_LINEAR), np.uint8)
    if inner == size:
        return image, view
    canvas = np.full((*size, 3), _GREY, np.uint8)
    canvas[corner[0] : corner[0] + inner[0], corner[1] : corner[1] + inner[1]] = image
    return canvas, view


def cut_person(image: NDArray[np.uint8], matrix: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Cut one person out of a picture.

    Pixels are interpolated bilinearly and black outside the picture. Where the crop shows the picture at half its size
    or less, the part that is needed is averaged first.

    Parameters
    ----------
    image
        (H,W,3) uint8.
    matrix
        (2,3) from :func:`posepipe.geometry.crop_affine`, picture index -> crop index.
    size
        (height, width) of the crop.

    Returns
    -------
    (height,width,3) uint8.
    """
    height, width = size
    corners = affine_points(invert_affine(matrix), np.array([[-2.0, -2.0], [width + 1, height + 1]]))
    bounds = np.array([image.shape[1], image.shape[0]])
    (left, top), (right, bottom) = np.clip([np.floor(corners[0]), np.ceil(corners[1]) + 1], 0, bounds).astype(int)
    if right <= left or bottom <= top:
        return np.zeros((height, width, 3), np.uint8)
    part, side = _halve(image[top:bottom, left:right], 1 / max(float(matrix[0, 0]), 1e-9))
    # Index u of the part is centred on index (left, top) + u * side + (side - 1) / 2 of the picture.
    origin = np.array([left, top]) + (side - 1) / 2
    linear = matrix[:, :2]
    moved = np.concatenate([linear * side, (linear @ origin + matrix[:, 2])[:, None]], axis=1)
    return np.asarray(cv2.warpAffine(part, moved, (width, height), flags=cv2.INTER_LINEAR), np.uint8)
