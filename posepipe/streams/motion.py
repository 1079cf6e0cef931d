"""One person's pose and motion as numbers that do not depend on where in the picture and how large the person is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["MOTION_KEYPOINTS", "motion_channels", "motion_features"]

_PARTS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
#: the keypoints that the features are made of; every skeleton of whole bodies has them
MOTION_KEYPOINTS: tuple[str, ...] = tuple(f"{side}_{part}" for part in _PARTS for side in ("left", "right"))
_SHOULDERS, _HIPS = slice(0, 2), slice(6, 8)
# The trunk is measured over so many seconds to both sides: whoever bends down for a moment does not grow.
_SCALE_S = 2.0
# Trunks a second; what is faster is an error of the pose.
_FASTEST = 15.0


def motion_channels() -> int:
    """C, the number of features of a step: x, y, their speeds, and whether it was seen, of each keypoint."""
    return 5 * len(MOTION_KEYPOINTS)


def motion_features(xy: NDArray[np.floating], seen: NDArray[np.bool_], rate: float) -> NDArray[np.float32]:
    """Features of each step of a stream.

    Parameters
    ----------
    xy
        (T,12,2) px of `MOTION_KEYPOINTS`, at a fixed rate.
    seen
        (T,12) whether each was seen; what was not is 0 in all its features.
    rate
        Steps a second.

    Returns
    -------
    (C,T) float32: places relative to the middle of the hips, and speeds in the picture a second, both in lengths of the
    trunk; then 1 for each keypoint that was seen.
    """
    place = np.where(seen[..., None], np.asarray(xy, np.float64), np.nan)
    shoulders, hips = _middle(place[:, _SHOULDERS]), _middle(place[:, _HIPS])
    scale = _running_median(np.linalg.norm(shoulders - hips, axis=-1), max(1, round(_SCALE_S * rate)))
    # Where the hips are not seen their last or next place stands for them.
    relative = (place - _carried(hips)[:, None]) / scale[:, None, None]
    speed = np.full_like(place, np.nan)
    if len(place) > 2:
        speed[1:-1] = (place[2:] - place[:-2]) * (rate / 2) / scale[1:-1, None, None]
    known = [np.nan_to_num(relative).clip(-5, 5), np.nan_to_num(speed).clip(-_FASTEST, _FASTEST) / 3]
    columns = [part.reshape(len(place), 2 * len(MOTION_KEYPOINTS)) for part in known]
    return np.ascontiguousarray(np.concatenate([*columns, seen], axis=1).T, np.float32)


def _middle(pair: NDArray[np.float64]) -> NDArray[np.float64]:
    """(T,2) middle of two keypoints, or the one of them that is there; NaN where none is."""
    there = np.isfinite(pair[..., 0]).sum(1)
    total = np.nan_to_num(pair).sum(1)
    return np.where(there[:, None] > 0, total / np.maximum(there, 1)[:, None], np.nan)


def _carried(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """NaN rows filled in linearly; zeros where there is nothing at all."""
    there = np.flatnonzero(np.isfinite(places[:, 0]))
    if len(there) == 0:
        return np.zeros_like(places)
    steps = np.arange(len(places))
    return np.stack([np.interp(steps, there, places[there, axis]) for axis in range(2)], axis=1)


def _running_median(values: NDArray[np.float64], half: int) -> NDArray[np.float64]:
    """(T,) median over `half` steps to both sides of what is finite and above 0; 1 where there is nothing at all."""
    if len(values) == 0:
        return values
    padded = np.pad(np.where(values > 0, values, np.nan), half, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1)
    found = np.array([np.median(row[keep]) if (keep := np.isfinite(row)).any() else np.nan for row in windows])
    there = np.flatnonzero(np.isfinite(found))
    if len(there) == 0:
        return np.ones(len(values))
    return np.asarray(np.interp(np.arange(len(values)), there, found[there]))
