"""Which tracklet goes on in which: the likelihood of each link, and the set of links that is likeliest as a whole.

A tracklet has at most one that follows it, and follows at most one. The links of greatest summed log-odds under that
rule are an assignment problem, which is solved exactly (Jonker and Volgenant), group by group of tracklets that could
have to do with one another.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from posepipe.tracking.association import Pairs, assign
from posepipe.tracking.tracklets import Ends

__all__ = ["candidates", "features", "likelihood", "solve"]

Int = NDArray[np.int64]
Array = NDArray[np.float64]

# Distances count in heights that grow with the gap; no link misses the place it should lead to by more than this.
_GROWTH, _REACH = 0.05, 1.5
# A miss also counts as a share of the way, with this much added to it.
_STEP = 0.2
# Extrapolated motion is believed for this many frames.
_HORIZON = 30
# Fewer bones known on both sides say less than the heights of the boxes.
_LEAST_BONES = 4
# Fitted by logistic regression (eval/track_links.py): bias, then one weight for each column of `features`.
_WEIGHTS = np.array([5.341, -1.288, 1.294, -11.141, -2.05])


def candidates(first: Ends, last: Ends, max_gap: int) -> Pairs:
    """Pairs (P,2) of tracklets, the later beginning after the earlier ended, at most ``max_gap`` frames apart.

    Parameters
    ----------
    first, last
        First and last ends of all tracklets.
    max_gap
        Most frames from the last row of the one to the first of the other.
    """
    order = np.argsort(first.time, kind="stable")
    begins = first.time[order]
    low = np.searchsorted(begins, last.time, "right")
    high = np.searchsorted(begins, last.time + max_gap, "right")
    earlier = np.repeat(np.arange(len(begins)), high - low)
    offset = np.arange(len(earlier)) - np.repeat(np.cumsum(high - low) - (high - low), high - low)
    later = order[np.repeat(low, high - low) + offset]
    pairs = np.column_stack([earlier, later]).astype(np.int64)
    return np.asarray(pairs[last.shot[earlier] == first.shot[later]])


def features(first: Ends, last: Ends, pairs: Pairs) -> Array:
    """What speaks for and against each link: (P,4) log of the gap, miss, miss as a share of the way, unlikeness.

    The miss is how far the motion of the one leads past the other, mean of both sides: forwards from the earlier
    tracklet and backwards from the later one, in heights of the person that grow with the gap. Unlikeness is the mean
    absolute log ratio of the lengths of the limbs, which tells size and proportions, or of the heights of the boxes
    where too few limbs were found on both sides.
    """
    a, b = pairs.T
    gap = (first.time[b] - last.time[a]).astype(np.float64)
    scale = np.minimum(last.height[a], first.height[b]) * (1 + _GROWTH * gap)
    way = first.centre[b] - last.centre[a]
    ahead = np.minimum(gap, _HORIZON)[:, None]
    forward, backward = (way - ahead * speed for speed in (last.speed[a], first.speed[b]))
    miss = (np.linalg.norm(forward, axis=1) + np.linalg.norm(backward, axis=1)) / 2 / scale
    share = miss / (np.linalg.norm(way, axis=1) / scale + _STEP)
    grown = np.abs(np.log(first.height[b] / last.height[a]))
    limbs = np.abs(np.log(first.bones[b] / last.bones[a]))
    known = ~np.isnan(limbs)
    posed = known.sum(1) >= _LEAST_BONES
    grown[posed] = (np.where(known, limbs, 0).sum(1) / np.maximum(known.sum(1), 1))[posed]
    return np.column_stack([np.log(gap), miss, share, grown])


def likelihood(columns: Array) -> Array:
    """Probability (P,) that each link of these :func:`features` joins what belongs together."""
    odds = _WEIGHTS[0] + columns @ _WEIGHTS[1:]
    probability = 1 / (1 + np.exp(-np.clip(odds, -50, 50)))
    return np.where(columns[:, 1] > _REACH, 0.0, probability)


def solve(pairs: Pairs, probability: Array, least: float) -> Int:
    """Indices of the links that are likeliest as a whole.

    Parameters
    ----------
    pairs
        (P,2) earlier and later tracklet.
    probability
        (P,) in [0,1].
    least
        A link is worth its log-odds above those of this probability, so that no link is less likely.
    """
    bounded = np.clip(probability, 1e-9, 1 - 1e-9)
    worth = np.log(bounded / (1 - bounded)) - np.log(least / (1 - least))
    good = np.flatnonzero(worth > 0)
    chosen = [np.zeros(0, np.int64)]
    for group in _groups(pairs[good]):
        inside = good[group]
        rows, row = np.unique(pairs[inside, 0], return_inverse=True)
        columns, column = np.unique(pairs[inside, 1], return_inverse=True)
        cost = np.zeros((len(rows), len(columns)))
        cost[row, column] = -worth[inside]
        link = np.full(cost.shape, -1)
        link[row, column] = inside
        taken = link[tuple(assign(cost, limit=0.0).T)]
        chosen.append(taken[taken >= 0])
    return np.sort(np.concatenate(chosen))


def _groups(pairs: Pairs) -> list[Int]:
    """Rows of ``pairs`` in groups that share no tracklet of the same side."""
    if not len(pairs):
        return []
    label = np.arange(len(pairs))
    while True:
        before = label.copy()
        for side in pairs.T:
            least = np.full(int(side.max()) + 1, len(pairs))
            np.minimum.at(least, side, label)
            label = least[side]
        label = label[label]
        if np.array_equal(label, before):
            break
    order = np.argsort(label, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(label[order])) + 1)
