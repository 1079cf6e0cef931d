"""Stretches of time as (start, end) pairs in seconds: overlap, and the suppression of those that say the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["apart", "best_spans", "interval_iou", "soft_nms", "soft_nms_by_label"]

#: what OpenTAD adds to every length, so that two empty spans have an overlap
_LENGTH_EPS = 1e-6


def interval_iou(one: ArrayLike, other: ArrayLike) -> NDArray[np.float64]:
    """Overlap of spans: what they share over what they cover together.

    Parameters
    ----------
    one, other
        (N,2) and (M,2) start and end, in the same unit.

    Returns
    -------
    (N,M) float64 in [0,1]; 0 where both are empty.
    """
    a = np.asarray(one, np.float64).reshape(-1, 1, 2)
    b = np.asarray(other, np.float64).reshape(1, -1, 2)
    shared = np.maximum(0.0, np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0]))
    covered = (a[..., 1] - a[..., 0]) + (b[..., 1] - b[..., 0]) - shared
    return np.asarray(np.divide(shared, covered, out=np.zeros_like(covered), where=covered > 0))


def apart(spans: ArrayLike, score: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Spans that do not overlap: what a better one covers is taken off a worse one.

    Of what is left of a span the longest piece stays, if it is half of the whole at least.

    Parameters
    ----------
    spans, score
        (N,2) and (N,).

    Returns
    -------
    Rows that stay, best first, and their (M,2) ends.
    """
    segment = np.asarray(spans, np.float64).reshape(-1, 2)
    rows: list[int] = []
    ends: list[tuple[float, float]] = []
    for row in np.argsort(-np.asarray(score, np.float64), kind="stable"):
        start, end = segment[row]
        borders = sorted((a, b) for a, b in ends if a < end and b > start)
        free = zip([start, *(b for _, b in borders)], [*(a for a, _ in borders), end], strict=True)
        begin, finish = max(free, key=lambda piece: piece[1] - piece[0])
        if finish - begin >= 0.5 * (end - start) and finish > begin:
            rows.append(int(row))
            ends.append((float(begin), float(finish)))
    return np.array(rows, np.int64), np.array(ends, np.float64).reshape(-1, 2)


def best_spans(
    spans: ArrayLike, scores: ArrayLike, least: float, most: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """The best (span, label) pairs of a window.

    Parameters
    ----------
    spans, scores
        (P,2), and (P,A) of each label.
    least, most
        Pairs of a greater score are kept, the best so many.

    Returns
    -------
    Spans (M,2), scores (M,) falling, labels (M,).
    """
    table = np.asarray(scores, np.float64)
    place, label = np.nonzero(table > least)
    value = table[place, label]
    order = np.argsort(-value, kind="stable")[:most]
    return np.asarray(spans, np.float64)[place[order]], value[order], label[order].astype(np.int64)


def soft_nms(
    spans: ArrayLike, score: ArrayLike, *, sigma: float = 0.7, least: float = 0.0, most: int = 2000
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Gaussian soft suppression (Bodla et al. 2017, in time): the best is kept, what overlaps it loses score.

    Parameters
    ----------
    spans, score
        (N,2) and (N,).
    sigma
        A span's score is multiplied by exp(-iou^2 / sigma) for every better one.
    least
        Spans whose score has fallen to this or below are dropped.
    most
        Spans to keep.

    Returns
    -------
    Rows that are kept, best first, and their new scores.
    """
    segment = np.asarray(spans, np.float64).reshape(-1, 2)
    left = np.array(score, np.float64)
    length = segment[:, 1] - segment[:, 0] + _LENGTH_EPS
    waiting = np.arange(len(left))
    kept: list[int] = []
    final: list[float] = []
    while len(waiting) and len(kept) < most:
        best = int(np.argmax(left[waiting]))
        row = int(waiting[best])
        if left[row] <= least:
            break
        kept.append(row)
        final.append(float(left[row]))
        waiting = np.delete(waiting, best)
        shared = np.minimum(segment[row, 1], segment[waiting, 1]) - np.maximum(segment[row, 0], segment[waiting, 0])
        shared = np.maximum(0.0, shared)
        overlap = shared / (length[row] + length[waiting] - shared)
        left[waiting] *= np.exp(-(overlap**2) / sigma)
    return np.array(kept, np.int64), np.array(final, np.float64)


def soft_nms_by_label(
    spans: ArrayLike,
    score: ArrayLike,
    label: ArrayLike,
    *,
    sigma: float = 0.7,
    least: float = 0.0,
    most: int = 2000,
    voting: float = 0.0,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Soft suppression within each label.

    Parameters
    ----------
    spans, score, label
        (N,2), (N,) and (N,) integers.
    sigma, least, most
        As in :func:`soft_nms`; ``most`` holds for a label and for all together.
    voting
        Above 0: the ends of a span that is kept become the mean of the ends of all spans of its label that overlap it
        by so much at least, weighted by overlap and score (ActionFormer's score voting).

    Returns
    -------
    Spans (M,2), scores (M,) falling, labels (M,).
    """
    segment = np.asarray(spans, np.float64).reshape(-1, 2)
    value, name = np.asarray(score, np.float64), np.asarray(label, np.int64)
    parts: list[tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]] = []
    for one in np.unique(name):
        own = np.flatnonzero(name == one)
        kept, final = soft_nms(segment[own], value[own], sigma=sigma, least=least, most=most)
        ends = segment[own[kept]]
        if voting > 0 and len(kept):
            overlap = interval_iou(ends, segment[own])
            weight = np.where(overlap >= voting, overlap * value[own], 0.0)
            ends = (weight @ segment[own]) / np.maximum(weight.sum(1, keepdims=True), 1e-12)
        parts.append((ends, final, np.full(len(kept), one)))
    if not parts:
        return np.zeros((0, 2)), np.zeros(0), np.zeros(0, np.int64)
    ends, final, names = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(-final, kind="stable")[:most]
    return ends[order], final[order], names[order]
