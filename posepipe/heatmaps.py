"""Keypoint heatmaps: gaussians in, sub-cell coordinates and scores out.

A map of stride s covers a crop of s*h x s*w px; cell m is centred on crop index ``s*m + (s-1)/2``, which keeps mirrored
crops and mirrored maps in step.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CellGrid",
    "cells_to_crop",
    "crop_to_cells",
    "decode_dark",
    "decode_peaks",
    "decode_posterior",
    "decode_quarter",
    "encode_gaussian",
    "oks_kernel_sigmas",
]

Float = NDArray[np.floating]


def crop_to_cells(xy: Float, stride: float) -> NDArray[np.float64]:
    """Crop indices (px) -> fractional cell indices of a map of that stride."""
    return (np.asarray(xy, np.float64) - (stride - 1) / 2) / stride


def cells_to_crop(xy: Float, stride: float) -> NDArray[np.float64]:
    """Fractional cell indices -> crop indices (px)."""
    return np.asarray(xy, np.float64) * stride + (stride - 1) / 2


@dataclass(frozen=True)
class CellGrid:
    """Where the cells of a map lie in the crop: crop index = ``scale`` x cell + ``offset``, both (x, y).

    Networks learn the convention of whoever made their targets, so reading one by another's shifts every keypoint.

    Attributes
    ----------
    scale, offset
        px a cell, and px.
    width
        Of the crop, px.
    mirror_shift
        A network that sees the mirror image of the crop answers in the mirrored cell only if the crop was moved right
        by so many px before it was mirrored. It is what others correct by moving the map by about a cell.
    """

    scale: tuple[float, float]
    offset: tuple[float, float]
    width: int
    mirror_shift: float

    @classmethod
    def of(
        cls, cells: Literal["centre", "corner", "aligned"], crop_size: tuple[int, int], map_size: tuple[int, int]
    ) -> CellGrid:
        """The grid of a convention, for a crop and a map of (height, width).

        Parameters
        ----------
        cells
            ``centre``: cell m covers its pixels (this project). ``corner``: cell m lies on the first of its pixels,
            s * m (SimpleBaseline, HRNet, AlphaPose and mmpose without UDP). ``aligned``: the first and last cells lie
            on the first and last pixels (UDP, Huang et al. 2020, section 4.1; ViTPose).
        crop_size, map_size
            (height, width) of the crop in px and of the map in cells.
        """
        (crop_h, crop_w), (map_h, map_w) = crop_size, map_size
        if cells == "aligned":
            scale = ((crop_w - 1) / (map_w - 1), (crop_h - 1) / (map_h - 1))
        else:
            scale = (crop_w / map_w, crop_h / map_h)
        offset = ((scale[0] - 1) / 2, (scale[1] - 1) / 2) if cells == "centre" else (0.0, 0.0)
        # Mirrored, cell m must become cell w - 1 - m: solve W - 1 - (u + shift) = scale (w - 1 - m) + offset for it.
        shift = crop_w - 1 - scale[0] * (map_w - 1) - 2 * offset[0]
        return cls(scale, offset, crop_w, shift)

    def to_crop(self, xy: Float) -> NDArray[np.float64]:
        """Fractional cells (...,2) -> crop indices (px)."""
        return np.asarray(xy, np.float64) * self.scale + self.offset


def encode_gaussian(xy: Float, size: tuple[int, int], sigma: float) -> NDArray[np.float32]:
    """Gaussians of peak 1 at fractional cells (unquantised centres, as in DARK, Zhang et al. 2020).

    Parameters
    ----------
    xy
        (...,2) cell coordinates; may lie outside the map.
    size
        (h, w) of the map.
    sigma
        Standard deviation in cells.

    Returns
    -------
    (...,h,w) float32 in [0,1].
    """
    xy = np.asarray(xy, np.float64)
    height, width = size
    column = np.exp(-((np.arange(height) - xy[..., 1:2]) ** 2) / (2 * sigma**2))
    row = np.exp(-((np.arange(width) - xy[..., 0:1]) ** 2) / (2 * sigma**2))
    return (column[..., :, None] * row[..., None, :]).astype(np.float32)


def _neighbours(
    y: NDArray[np.int64], x: NDArray[np.int64], height: int, width: int, reach: int = 1
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Rows and columns (M,2*reach+1) of the cells about peaks, and (M,) whether all of them lie in the map."""
    inside = (y >= reach) & (y < height - reach) & (x >= reach) & (x < width - reach)
    around = np.arange(-reach, reach + 1)
    return np.clip(y[:, None] + around, 0, height - 1), np.clip(x[:, None] + around, 0, width - 1), inside


def _newton_step(patch: Float, inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """One Newton step on the logarithm of patches about a peak: (M,2) steps x, y in cells, at most 1 (DARK, 3.2).

    Second differences reach as far as the patches (M,3,3) or (M,5,5) do. At the border (not ``inside``) and on plateaus
    there is no maximum to step to: the step is 0.
    """
    log = np.log(np.maximum(patch.astype(np.float64), 1e-10))
    far = patch.shape[-1] // 2
    centre, near = log[:, far, far], log[:, far - 1 : far + 2, far - 1 : far + 2]
    dx, dy = (near[:, 1, 2] - near[:, 1, 0]) / 2, (near[:, 2, 1] - near[:, 0, 1]) / 2
    dxx = (log[:, far, -1] - 2 * centre + log[:, far, 0]) / far**2
    dyy = (log[:, -1, far] - 2 * centre + log[:, 0, far]) / far**2
    dxy = (near[:, 2, 2] - near[:, 0, 2] - near[:, 2, 0] + near[:, 0, 0]) / 4
    determinant = dxx * dyy - dxy**2
    sound = inside & (determinant > 1e-9) & (dxx < 0)
    safe = np.where(sound, determinant, 1.0)
    step = np.stack([(dxy * dy - dyy * dx) / safe, (dxy * dx - dxx * dy) / safe], -1)
    return np.where(sound[:, None], np.clip(step, -1, 1), 0.0)


#: cells; a kernel narrower than this is not sampled well by its cells
_NARROWEST = 0.55


@lru_cache(maxsize=32)
def _kernels(length: int, sigmas: tuple[float, ...], reach: int | None = None) -> NDArray[np.float32]:
    """Matrices (S,length,length) that convolve with unnormalised gaussians (peak 1) of these sigmas, in cells.

    Beyond ``reach`` cells the gaussians are cut off.
    """
    offset = np.arange(length)[:, None] - np.arange(length)[None, :]
    variance = 2 * np.asarray(sigmas, np.float64)[:, None, None] ** 2
    kernels = np.exp(-(offset**2) / variance).astype(np.float32)
    if reach is not None:
        kernels *= abs(offset) <= reach
    kernels.setflags(write=False)
    return kernels


def _peaks(
    maps: Float,
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Maps as (M,h,w), row and column of each one's first maximum (M,), and the maximum (M,) clipped to [0,1]."""
    maps = np.asarray(maps, np.float32)
    height, width = maps.shape[-2:]
    flat = np.reshape(maps, (-1, height, width))
    y, x = np.divmod(flat.reshape(len(flat), height * width).argmax(-1), width)
    return flat, y, x, np.clip(flat[np.arange(len(flat)), y, x], 0, 1)


def _smoothed_step(
    flat: Float, y: NDArray[np.int64], x: NDArray[np.int64], sigma: float, reach: int, cut: int | None
) -> NDArray[np.float64]:
    """Newton steps (M,2) from the peaks of the smoothed maps; only the cells about the peaks are smoothed."""
    height, width = flat.shape[1:]
    rows, columns, inside = _neighbours(y, x, height, width, reach)
    down, across = _kernels(height, (sigma,), cut)[0][rows], _kernels(width, (sigma,), cut)[0][columns]
    return _newton_step(down @ flat @ np.swapaxes(across, 1, 2), inside)


def decode_peaks(maps: Float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Read maps whose value at a joint is its confidence, lightly smoothed: for maps of unknown making.

    Parameters
    ----------
    maps
        (...,h,w).

    Returns
    -------
    xy, score
        (...,2) fractional cells and (...,) map maximum clipped to [0,1]; sub-cell step as in DARK, from neighbouring
        cells of the map smoothed by one cell.
    """
    flat, y, x, score = _peaks(maps)
    xy = np.stack([x, y], -1) + _smoothed_step(np.maximum(flat, 0), y, x, 1.0, 1, None)
    return xy.reshape(*np.shape(maps)[:-2], 2).astype(np.float32), score.reshape(np.shape(maps)[:-2])


def decode_dark(maps: Float, sigma: float = 2.0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Read maps that were trained on gaussians of peak 1, by DARK (Zhang et al. 2020, section 3.2).

    The map is smoothed with the gaussian of the training, cut off at 3 sigma - 1 cells (11 and 17 cells wide for sigma
    2 and 3, as published), and one Newton step is taken on its logarithm from the maximum of the unsmoothed map. The
    second differences reach two cells, so no step is taken within two cells of the border.

    Parameters
    ----------
    maps
        (...,h,w).
    sigma
        Standard deviation of the training's gaussians, cells.

    Returns
    -------
    xy, score
        (...,2) fractional cells and (...,) map maximum clipped to [0,1], both float32.
    """
    flat, y, x, score = _peaks(maps)
    xy = np.stack([x, y], -1) + _smoothed_step(flat, y, x, float(sigma), 2, max(1, round(3 * sigma - 1)))
    return xy.reshape(*np.shape(maps)[:-2], 2).astype(np.float32), score.reshape(np.shape(maps)[:-2])


def decode_quarter(maps: Float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Read maps as SimpleBaseline and AlphaPose do: the maximum, a quarter of a cell towards the larger neighbours.

    No quarter is added to a maximum in the first two rows or columns, or in the last ones.

    Parameters
    ----------
    maps
        (...,h,w).

    Returns
    -------
    xy, score
        (...,2) fractional cells and (...,) map maximum clipped to [0,1], both float32.
    """
    flat, y, x, score = _peaks(maps)
    height, width = flat.shape[1:]
    rows, columns, _ = _neighbours(y, x, height, width)
    n = np.arange(len(flat))
    right = flat[n, y, columns[:, 2]] - flat[n, y, columns[:, 0]]
    down = flat[n, rows[:, 2], x] - flat[n, rows[:, 0], x]
    inside = (x > 1) & (x < width - 1) & (y > 1) & (y < height - 1)
    xy = np.stack([x, y], -1) + 0.25 * np.sign(np.stack([right, down], -1)) * inside[:, None]
    return xy.reshape(*np.shape(maps)[:-2], 2).astype(np.float32), score.reshape(np.shape(maps)[:-2])


def oks_kernel_sigmas(sigmas: Float, crop_size: tuple[int, int], stride: float, padding: float) -> NDArray[np.float64]:
    """Standard deviation, in cells, of the OKS kernel of each joint for a person that fills the padded crop.

    The person's box is the crop without its padding, its segment area 0.53 of that (the mean ratio on COCO).
    """
    height, width = crop_size
    scale = np.sqrt(0.53 * (height / padding) * (width / padding))
    return np.asarray(2 * np.asarray(sigmas, np.float64) * scale / stride)


def decode_posterior(
    maps: Float, kernel_sigmas: Float, blur: float = 0.0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Read maps that are location posteriors (softmax over cells): the place of highest expected OKS, and its value.

    Convolving a posterior with a joint's OKS kernel gives, at every cell, the OKS to expect from answering that cell
    (ProbPose, Purkrabek and Matas 2024, section 3.2). Its maximum is the answer; the value there is the score.

    A network that has learned gaussians about the joints gives the posterior blurred by them, at its surest the
    gaussian itself. The kernel is the convolution of that gaussian and a narrower one, with which the blurred
    posterior gives what the kernel would give with the sharp one. Without it no score of an eye, whose kernel is as
    narrow as the gaussian, gets over a half.

    Parameters
    ----------
    maps
        (N,K,h,w), each summing to 1.
    kernel_sigmas
        (K,) cells, from :func:`oks_kernel_sigmas`.
    blur
        Standard deviation, in cells, of the gaussians that the network learned; 0: none.

    Returns
    -------
    xy, score
        (N,K,2) fractional cells and (N,K) in [0,1], both float32.
    """
    maps = np.asarray(maps, np.float32)
    count, joints, height, width = maps.shape
    wanted = np.asarray(kernel_sigmas, np.float64)
    narrow = np.minimum(np.sqrt(np.maximum(wanted**2 - blur**2, _NARROWEST**2)), wanted)
    sigmas = tuple(narrow.tolist())
    # Map by map: products of one shape, so a person's answer does not depend on who else is in the batch.
    expected = _kernels(height, sigmas) @ (maps @ _kernels(width, sigmas))
    flat = np.reshape(expected, (-1, height, width))
    best = flat.reshape(count * joints, height * width).argmax(-1)
    y, x = np.divmod(best, width)
    rows, columns, inside = _neighbours(y, x, height, width)
    n = np.arange(len(flat))
    patch = flat[n[:, None, None], rows[:, :, None], columns[:, None, :]]
    xy = np.stack([x, y], -1) + _newton_step(patch, inside)
    score = np.clip(flat[n, y, x].reshape(count, joints) * np.square(wanted / narrow), 0, 1)
    return xy.reshape(count, joints, 2).astype(np.float32), score.astype(np.float32)
