"""Keypoint heatmaps: gaussians in, sub-cell coordinates and scores out.

A map of stride s covers a crop of s*h x s*w px; cell m is centred on crop index ``s*m + (s-1)/2``, which keeps mirrored
crops and mirrored maps in step.
"""

from __future__ import annotations

from functools import lru_cache

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


def _neighbours(
    y: NDArray[np.int64], x: NDArray[np.int64], height: int, width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Rows and columns (M,3) of the 3x3 cells about peaks, and (M,) whether all of them lie in the map."""
    inside = (y > 0) & (y < height - 1) & (x > 0) & (x < width - 1)
    around = np.arange(-1, 2)
    return np.clip(y[:, None] + around, 0, height - 1), np.clip(x[:, None] + around, 0, width - 1), inside


def _newton_step(patch: Float, inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """One Newton step on the logarithm of 3x3 patches (M,3,3): (M,2) steps x, y in cells, at most 1 (DARK, 3.2).

    At the border (not ``inside``) and on plateaus there is no maximum to step to: the step is 0.
    """
    log = np.log(np.maximum(patch.astype(np.float64), 1e-10))
    dx, dy = (log[:, 1, 2] - log[:, 1, 0]) / 2, (log[:, 2, 1] - log[:, 0, 1]) / 2
    dxx = log[:, 1, 2] - 2 * log[:, 1, 1] + log[:, 1, 0]
    dyy = log[:, 2, 1] - 2 * log[:, 1, 1] + log[:, 0, 1]
    dxy = (log[:, 2, 2] - log[:, 0, 2] - log[:, 2, 0] + log[:, 0, 0]) / 4
    determinant = dxx * dyy - dxy**2
    sound = inside & (determinant > 1e-9) & (dxx < 0)
    safe = np.where(sound, determinant, 1.0)
    step = np.stack([(dxy * dy - dyy * dx) / safe, (dxy * dx - dxx * dy) / safe], -1)
    return np.where(sound[:, None], np.clip(step, -1, 1), 0.0)


@lru_cache(maxsize=32)
def _kernels(length: int, sigmas: tuple[float, ...]) -> NDArray[np.float32]:
    """Matrices (S,length,length) that convolve with unnormalised gaussians (peak 1) of these sigmas, in cells."""
    offset = np.arange(length)[:, None] - np.arange(length)[None, :]
    variance = 2 * np.asarray(sigmas, np.float64)[:, None, None] ** 2
    kernels = np.exp(-(offset**2) / variance).astype(np.float32)
    kernels.setflags(write=False)
    return kernels


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
    maps = np.asarray(maps, np.float32)
    height, width = maps.shape[-2:]
    flat = np.reshape(maps, (-1, height, width))
    best = flat.reshape(len(flat), height * width).argmax(-1)
    y, x = np.divmod(best, width)
    score = np.clip(flat[np.arange(len(flat)), y, x], 0, 1)
    # DARK smooths the map first; only the nine cells about the peak are looked at, so only they are made.
    rows, columns, inside = _neighbours(y, x, height, width)
    down, across = _kernels(height, (1.0,))[0][rows], _kernels(width, (1.0,))[0][columns]
    patch = down @ np.maximum(flat, 0) @ np.swapaxes(across, 1, 2)
    xy = np.stack([x, y], -1) + _newton_step(patch, inside)
    return xy.reshape(*maps.shape[:-2], 2).astype(np.float32), score.reshape(maps.shape[:-2])


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
    maps = np.asarray(maps, np.float32)
    count, joints, height, width = maps.shape
    sigmas = tuple(np.asarray(kernel_sigmas, np.float64).tolist())
    # Map by map: products of one shape, so a person's answer does not depend on who else is in the batch.
    expected = _kernels(height, sigmas) @ (maps @ _kernels(width, sigmas))
    flat = np.reshape(expected, (-1, height, width))
    best = flat.reshape(count * joints, height * width).argmax(-1)
    y, x = np.divmod(best, width)
    rows, columns, inside = _neighbours(y, x, height, width)
    n = np.arange(len(flat))
    patch = flat[n[:, None, None], rows[:, :, None], columns[:, None, :]]
    xy = np.stack([x, y], -1) + _newton_step(patch, inside)
    score = np.clip(flat[n, y, x], 0, 1)
    return xy.reshape(count, joints, 2).astype(np.float32), score.reshape(count, joints).astype(np.float32)
