"""Which detection belongs to which track: linear assignment by Jonker and Volgenant (lap)."""

from __future__ import annotations

import lap
import numpy as np
from numpy.typing import NDArray

__all__ = ["Pairs", "assign", "canonical_order", "match_overlap", "others"]

Pairs = NDArray[np.int64]


def assign(cost: NDArray[np.floating], limit: float = np.inf) -> Pairs:
    """Pair rows with columns at the least total cost.

    Parameters
    ----------
    cost
        (N,M) finite costs.
    limit
        A pair is never dearer than this: leaving both unpaired costs exactly ``limit``. Without it as many pairs as
        possible are made.

    Returns
    -------
    (P,2) int64 row and column of each pair, by row.
    """
    # An empty matrix has no assignment to solve.
    if 0 in cost.shape:
        return np.zeros((0, 2), np.int64)
    gain = np.asarray(cost, np.float64)
    if np.isfinite(limit):
        # What a pair saves against none: nothing, where it is dearer, and then it is as good as none.
        gain = np.minimum(gain - limit, 0.0)
        useful = gain < 0
        if useful.sum(0).max() <= 1 and useful.sum(1).max() <= 1:
            return np.argwhere(useful)
    _, column, _ = lap.lapjv(np.ascontiguousarray(gain), extend_cost=True)
    row = np.flatnonzero(np.asarray(column) >= 0)
    pairs = np.column_stack([row, np.asarray(column)[row]]).astype(np.int64)
    return pairs[gain[pairs[:, 0], pairs[:, 1]] < 0] if np.isfinite(limit) else pairs


def match_overlap(overlap: NDArray[np.floating], threshold: float, bonus: NDArray[np.floating] | float = 0.0) -> Pairs:
    """Pair rows with columns as SORT does: all pairs above the threshold where they do not compete, else assignment.

    Parameters
    ----------
    overlap
        (N,M) in [0,1], such as IoU.
    threshold
        Least overlap of a pair. The assignment is blind to it; weaker pairs are dropped afterwards.
    bonus
        (N,M) what the assignment adds to the overlap.

    Returns
    -------
    (P,2) int64 row and column of each pair, by row.
    """
    above = overlap > threshold
    if above.any() and above.sum(0).max() == 1 and above.sum(1).max() == 1:
        return np.argwhere(above)
    pairs = assign(1.0 - overlap - bonus)
    return pairs[overlap[pairs[:, 0], pairs[:, 1]] >= threshold]


def others(count: int, taken: Pairs) -> Pairs:
    """The indices below ``count`` that are not among ``taken``, in order."""
    free = np.ones(count, bool)
    free[taken] = False
    return np.flatnonzero(free)


def canonical_order(boxes: NDArray[np.floating], score: NDArray[np.floating]) -> Pairs:
    """Order (N,) of detections by falling score, then place.

    A tracker that works in this order gives the same ids whatever the order it was handed them in.
    """
    return np.lexsort((*boxes.T[::-1], -score))
