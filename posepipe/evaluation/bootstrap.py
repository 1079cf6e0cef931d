"""Confidence intervals by the bootstrap over groups of people: videos, or pictures where there are no videos.

People of one video look alike, so they are not drawn one by one: whole groups are drawn with replacement (the cluster
bootstrap; Field and Welsh 2007), as many as there are, and the interval is that of the percentiles (Efron and
Tibshirani 1993, chapter 13). With few groups such intervals are too narrow rather than too wide.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["draw_groups", "group_sums", "interval"]


def draw_groups(groups: int, count: int, seed: int) -> NDArray[np.int64]:
    """How often each of `groups` groups is in each of `count` draws of `groups` groups: (count, groups) int64.

    The same seed gives the same draws, so that figures of several models are compared on the same ones.
    """
    if groups == 0:
        return np.zeros((count, 0), np.int64)
    rng = np.random.default_rng(seed)
    return rng.multinomial(groups, np.full(groups, 1 / groups), size=count)


def group_sums(values: NDArray[np.floating], group: NDArray[np.int64], groups: int) -> NDArray[np.float64]:
    """Sums by group: `values` (P,...) of people whose group is `group` (P,) in 0..groups-1 -> (groups,...)."""
    values = np.asarray(values, np.float64)
    sums = np.zeros((groups, *values.shape[1:]))
    np.add.at(sums, group, values)
    return sums


def interval(estimates: NDArray[np.floating], level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of bootstrap estimates (count,); values that are not finite are left out; NaN without any."""
    finite = np.asarray(estimates, np.float64)
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        return float("nan"), float("nan")
    low, high = np.percentile(finite, [50 * (1 - level), 50 * (1 + level)])
    return float(low), float(high)
