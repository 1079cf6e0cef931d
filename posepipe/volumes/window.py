"""Where a clip looks: one box about everybody in it, and what resizing, cropping and mirroring make of points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from posepipe.skeleton import Skeleton

__all__ = ["Cells", "Window", "compact_box", "mirror_points", "random_resized_crop"]

#: Where index m of a resized grid lies: on the first of the pixels it stands for, or amid them.
Cells = Literal["corner", "centre"]

Float = NDArray[np.floating]


def compact_box(
    xy: Float, score: Float, padding: float = 0.25, hw_ratio: float | None = 1.0, threshold: float = 10.0
) -> NDArray[np.float32] | None:
    """One box about all keypoints that were found, of all frames and people (PoseC3D, section 3.2).

    It is widened about its centre by ``padding`` and to the ratio, and its edges lose what they have behind the point,
    as in mmaction2. It may reach out of the picture, where pixels count as black.

    Parameters
    ----------
    xy, score
        (...,2) px and (...,): a keypoint of score 0, or whose place is not a number, was not found.
    padding
        Share by which half the width and half the height grow.
    hw_ratio
        Height by width of the box, which grows to it and never shrinks; None leaves it.
    threshold
        px; a box that is narrower or lower before it is widened is none.

    Returns
    -------
    (4,) float32 xyxy px with whole numbers, or None.
    """
    xy = np.asarray(xy, np.float64).reshape(-1, 2)
    points = xy[(np.asarray(score).reshape(-1) > 0) & np.isfinite(xy).all(-1)]
    if len(points) == 0:
        return None
    low, high = points.min(0), points.max(0)
    if (high - low < threshold).any():
        return None
    centre = (low + high) / 2
    half_width, half_height = (high - low) / 2 * (1 + padding)
    if hw_ratio is not None:
        half_height = max(hw_ratio * half_width, half_height)
        half_width = max(half_height / hw_ratio, half_width)
    half = np.array([half_width, half_height])
    return np.asarray(np.trunc(np.concatenate([centre - half, centre + half])), np.float32)


@dataclass(frozen=True, slots=True)
class Window:
    """A box of the picture, shown as a grid of ``size``; pictures are cropped by the same box.

    Attributes
    ----------
    box
        xyxy px of the picture, half-open; may reach out of it.
    size
        (height, width) of the grid.
    """

    box: tuple[float, float, float, float]
    size: tuple[int, int]

    def __post_init__(self) -> None:
        x1, y1, x2, y2 = self.box
        if not (x2 > x1 and y2 > y1 and min(self.size) > 0):
            raise ValueError(f"a window has an area, got box {self.box} and size {self.size}")

    @classmethod
    def of(cls, box: Float) -> Window:
        """A box (4,) with whole numbers in the picture's own pixels."""
        x1, y1, x2, y2 = (float(v) for v in np.asarray(box))
        return cls((x1, y1, x2, y2), (round(y2 - y1), round(x2 - x1)))

    def resized(self, height: int, width: int) -> Window:
        """The same box on another grid; its aspect may change."""
        return Window(self.box, (height, width))

    def short_side(self, side: int) -> Window:
        """The same box with its aspect, the shorter side of the grid so long."""
        height, width = self.size
        factor = side / min(height, width)
        return self.resized(int(height * factor + 0.5), int(width * factor + 0.5))

    def crop(self, x: int, y: int, width: int, height: int) -> Window:
        """A part of the grid, given by its first cell and its size."""
        x1, y1, x2, y2 = self.box
        across, down = (x2 - x1) / self.size[1], (y2 - y1) / self.size[0]
        left, top = x1 + x * across, y1 + y * down
        return Window((left, top, left + width * across, top + height * down), (height, width))

    def centre_crop(self, side: int) -> Window:
        """The square of that side amid the grid; an odd rest is left at the right and below."""
        height, width = self.size
        return self.crop((width - side) // 2, (height - side) // 2, side, side)

    def affine(self) -> NDArray[np.float64]:
        """(2,3) matrix for ``cv2.warpAffine``, picture px -> indices of the grid at the middles of pixels."""
        x1, y1, x2, y2 = self.box
        across, down = self.size[1] / (x2 - x1), self.size[0] / (y2 - y1)
        return np.array([[across, 0, (0.5 - x1) * across - 0.5], [0, down, (0.5 - y1) * down - 0.5]])

    def points(self, xy: Float, cells: Cells = "corner") -> NDArray[np.float64]:
        """Picture px (...,2) -> fractional indices of the grid.

        ``corner`` multiplies coordinates, as mmaction2 does with keypoints. ``centre`` does what resizing does to the
        pixels, so that mirrored pictures and mirrored points agree at every size.
        """
        x1, y1, x2, y2 = self.box
        factor = np.array([self.size[1] / (x2 - x1), self.size[0] / (y2 - y1)])
        half = 0.5 if cells == "centre" else 0.0
        return np.asarray((np.asarray(xy, np.float64) + half - (x1, y1)) * factor - half, np.float64)


def random_resized_crop(
    window: Window,
    rng: np.random.Generator,
    area: tuple[float, float] = (0.56, 1.0),
    aspect: tuple[float, float] = (3 / 4, 4 / 3),
) -> Window:
    """A random part of the grid, to be resized after (Szegedy et al. 2015, as in mmaction2).

    Parameters
    ----------
    window
        What is cropped.
    rng
        Where the draws come from.
    area
        Least and most share of the area.
    aspect
        Least and most width by height, drawn evenly in its logarithm.

    Returns
    -------
    The first of ten drawn crops that fits, else the largest square amid the grid.
    """
    height, width = window.size
    for _ in range(10):
        ratio = np.exp(rng.uniform(*np.log(aspect)))
        surface = rng.uniform(*area) * height * width
        w, h = round(np.sqrt(surface * ratio)), round(np.sqrt(surface / ratio))
        if 0 < w <= width and 0 < h <= height:
            return window.crop(int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1)), w, h)
    return window.centre_crop(min(height, width))


def mirror_points(
    xy: Float, score: Float, width: int, skeleton: Skeleton
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Mirror points (...,K,2) and scores (...,K) about the middle of a grid, left and right swapped.

    Index x becomes ``width - 1 - x``, where the mirrored picture has its pixel. (mmaction2 and pyskl take
    ``width - x``, one pixel beside the picture and the maps that they mirror.)
    """
    mirrored = np.asarray(xy, np.float64)[..., skeleton.mirror, :].copy()
    mirrored[..., 0] = width - 1 - mirrored[..., 0]
    return mirrored, np.asarray(score, np.float32)[..., skeleton.mirror]
