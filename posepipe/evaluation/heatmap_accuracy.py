"""Heatmap accuracy: the figure that AlphaPose prints while it trains, computed on whole sets.

A joint is right when the highest cell of the predicted map lies within half a unit of the highest cell of the target
map, where a unit is a tenth of the map's width along x and of its height along y: the threshold is 5 % of the map's
extent. A joint whose target has its highest cell in the first two columns or rows is left out, and so are joints
without a label, whose target map is empty. The accuracy is the mean over joints of the share of people that are right
(AlphaPose, ``calc_accuracy``). AlphaPose prints the mean of this figure over batches; here a set is one batch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["highest_cells", "joint_hits", "map_accuracy", "mean_of_joints", "target_cells"]

Float = NDArray[np.floating]

#: a tenth of the map's side is one unit; a joint is right below this many units
_UNITS, _THRESHOLD = 10.0, 0.5
#: a target at this cell or before it, on either axis, does not count
_BORDER = 1
#: standard deviation of AlphaPose's targets in cells; their support is three of it on each side
_SIGMA = 2


def highest_cells(maps: Float) -> NDArray[np.int64]:
    """Column and row of the highest cell of (...,h,w) maps: (...,2); (0, 0) for a map without a positive value.

    The first of several highest cells counts, in rows from the top.
    """
    maps = np.asarray(maps)
    height, width = maps.shape[-2:]
    flat = maps.reshape(*maps.shape[:-2], height * width)
    best = flat.argmax(-1)
    cells = np.stack([best % width, best // width], -1).astype(np.int64)
    cells[np.take_along_axis(flat, best[..., None], -1)[..., 0] <= 0] = 0
    return cells


def target_cells(
    xy: Float, labelled: NDArray[np.bool_], size: tuple[int, int], stride: float = 4.0
) -> NDArray[np.int64]:
    """Highest cells of AlphaPose's target maps, without drawing them.

    The gaussian's centre is ``x / stride + 0.5`` truncated; a gaussian that is partly outside has its highest cell on
    the border, and one that is wholly outside (three sigmas of two cells) does not count.

    Parameters
    ----------
    xy
        (...,2) px of the crop.
    labelled
        (...) whether the joint has a label.
    size
        (h, w) of the map.
    stride
        Px of the crop a cell.

    Returns
    -------
    (...,2) columns and rows; (0, 0), which never counts, where there is no target.
    """
    limit = np.array([size[1], size[0]])
    centre = np.trunc(np.asarray(xy, np.float64) / stride + 0.5)
    reach = 3 * _SIGMA
    there = np.asarray(labelled, bool) & ((centre - reach < limit) & (centre + reach + 1 >= 0)).all(-1)
    return np.where(there[..., None], np.clip(centre, 0, limit - 1), 0).astype(np.int64)


def joint_hits(
    predicted: NDArray[np.int64], target: NDArray[np.int64], size: tuple[int, int]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which joints are right, and which count, given highest cells.

    Parameters
    ----------
    predicted, target
        (...,2) columns and rows.
    size
        (h, w) of the map.

    Returns
    -------
    right, counted
        Both (...) bool; a joint that does not count is not right.
    """
    target = np.asarray(target)
    unit = np.array([size[1], size[0]]) / _UNITS
    distance = np.linalg.norm(np.asarray(predicted) / unit - target / unit, axis=-1)
    counted = np.asarray((target > _BORDER).all(-1))
    return counted & (distance < _THRESHOLD), counted


def mean_of_joints(right: Float, counted: Float) -> NDArray[np.float64]:
    """Mean over joints of the share that is right; joints that never count are left out.

    Parameters
    ----------
    right, counted
        (...,K) how many are right and how many count, a joint each.

    Returns
    -------
    (...) in [0,1]; 0 where no joint counts.
    """
    counted = np.asarray(counted, np.float64)
    known = counted > 0
    share = np.divide(right, counted, out=np.zeros(counted.shape), where=known)
    return np.asarray(share.sum(-1) / np.maximum(known.sum(-1), 1))


def map_accuracy(predicted: Float, target: Float) -> float:
    """Heatmap accuracy of (N,K,h,w) maps against targets of the same shape, in [0,1]; 0 where no joint counts.

    Raises
    ------
    ValueError
        The shapes differ or are not (N,K,h,w).
    """
    if np.ndim(predicted) != 4 or np.shape(predicted) != np.shape(target):
        raise ValueError(f"maps must both be (N,K,h,w), got {np.shape(predicted)} and {np.shape(target)}")
    size = (np.shape(target)[2], np.shape(target)[3])
    right, counted = joint_hits(highest_cells(predicted), highest_cells(target), size)
    return float(mean_of_joints(right.sum(0), counted.sum(0)))
