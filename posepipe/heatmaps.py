"""Keypoint heatmaps: gaussians in, sub-cell coordinates and scores out.

A map of stride s covers a crop of s*h x s*w px; cell m is centred on crop index ``s*m + (s-1)/2``, which keeps mirrored
crops and mirrored maps in step.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["cells_to_crop", "crop_to_cells", "decode_peaks", "decode_posterior", "encode_gaussian", "oks_kernel_sigmas"]

Float = NDArray[np.floating]


def crop_to_cells(xy: Float, stride: float) -> NDArray[np.float64]:
    """Crop indices (px) -> fractional cell indices of a map of that stride."""
    return (np.asarray(xy, np.float64) - (stride - 1) / 2) / stride


def cells_to_crop(xy: Float, stride: float) -> NDArray[np.float64]:
    """Fractional cell indices -> crop indices (px)."""
    return np.asarray(xy, np.float64) * stride + (stride - 1) / 2


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


def _refine(log_maps: NDArray[np.float64], peak_y: NDArray[np.int64], peak_x: NDArray[np.int64]) -> NDArray[np.float64]:
    """One Newton step on log maps (M,h,w) at their peaks: (M,2) steps x, y in cells, at most 1 (DARK, section 3.2)."""
    count, height, width = log_maps.shape
    y = np.clip(peak_y, 1, height - 2)
    x = np.clip(peak_x, 1, width - 2)
    n = np.arange(count)

    def at(dy: int, dx: int) -> NDArray[np.float64]:
        return log_maps[n, y + dy, x + dx]

    dx, dy = (at(0, 1) - at(0, -1)) / 2, (at(1, 0) - at(-1, 0)) / 2
    dxx, dyy = at(0, 1) - 2 * at(0, 0) + at(0, -1), at(1, 0) - 2 * at(0, 0) + at(-1, 0)
    dxy = (at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1)) / 4
    determinant = dxx * dyy - dxy**2
    # At the border and on plateaus there is no maximum to step to: stay on the cell.
    sound = (determinant > 1e-9) & (dxx < 0) & (y == peak_y) & (x == peak_x)
    safe = np.where(sound, determinant, 1.0)
    step = np.stack([(dxy * dy - dyy * dx) / safe, (dxy * dx - dxx * dy) / safe], -1)
    return np.where(sound[:, None], np.clip(step, -1, 1), 0.0)


def _smooth(maps: NDArray[np.float64], sigma: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convolve (M,h,w) maps with unnormalised gaussians (peak 1) of standard deviation sigma (M,) cells."""
    height, width = maps.shape[-2:]

    def kernel(n: int) -> NDArray[np.float64]:
        offset = np.arange(n)[:, None] - np.arange(n)[None, :]
        return np.asarray(np.exp(-(offset**2) / (2 * sigma[:, None, None] ** 2)))

    return np.asarray(kernel(height) @ maps @ kernel(width))


def decode_peaks(maps: Float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Read maps whose value at a joint is its confidence (trained with a squared error on gaussians of peak 1).

    Parameters
    ----------
    maps
        (...,h,w).

    Returns
    -------
    xy, score
        (...,2) fractional cells and (...,) map maximum clipped to [0,1]; sub-cell step by DARK.
    """
    maps = np.asarray(maps, np.float64)
    flat: NDArray[np.float64] = np.reshape(maps, (-1, *maps.shape[-2:]))
    cells = flat.reshape(len(flat), maps.shape[-2] * maps.shape[-1])
    best = cells.argmax(-1)
    y, x = np.divmod(best, maps.shape[-1])
    smooth = _smooth(np.clip(flat, 0, None), np.full(len(flat), 1.0))
    xy = np.stack([x, y], -1) + _refine(np.log(np.maximum(smooth, 1e-10)), y, x)
    score = np.clip(cells[np.arange(len(cells)), best], 0, 1)
    return xy.reshape(*maps.shape[:-2], 2).astype(np.float32), score.reshape(maps.shape[:-2]).astype(np.float32)


def oks_kernel_sigmas(sigmas: Float, crop_size: tuple[int, int], stride: float, padding: float) -> NDArray[np.float64]:
    """Standard deviation, in cells, of the OKS kernel of each joint for a person that fills the padded crop.

    The person's box is the crop without its padding, its segment area 0.53 of that (the mean ratio on COCO).
    """
    height, width = crop_size
    scale = np.sqrt(0.53 * (height / padding) * (width / padding))
    return np.asarray(2 * np.asarray(sigmas, np.float64) * scale / stride)


def decode_posterior(maps: Float, kernel_sigmas: Float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Read maps that are location posteriors (softmax over cells): the place of highest expected OKS, and its value.

    Convolving a posterior with a joint's OKS kernel gives, at every cell, the OKS to expect from answering that cell
    (ProbPose, Purkrabek and Matas 2024, section 3.2). Its maximum is the answer; the value there is the score.

    Parameters
    ----------
    maps
        (N,K,h,w), each summing to 1.
    kernel_sigmas
        (K,) cells, from :func:`oks_kernel_sigmas`.

    Returns
    -------
    xy, score
        (N,K,2) fractional cells and (N,K) in [0,1], both float32.
    """
    maps = np.asarray(maps, np.float64)
    count, joints, height, width = maps.shape
    flat: NDArray[np.float64] = np.reshape(maps, (-1, height, width))
    expected = _smooth(flat, np.tile(np.asarray(kernel_sigmas, np.float64), count))
    best = expected.reshape(len(flat), height * width).argmax(-1)
    y, x = np.divmod(best, width)
    score = expected[np.arange(len(flat)), y, x]
    xy = np.stack([x, y], -1) + _refine(np.log(np.maximum(expected, 1e-10)), y, x)
    return (
        xy.reshape(count, joints, 2).astype(np.float32),
        np.clip(score, 0, 1).reshape(count, joints).astype(np.float32),
    )
