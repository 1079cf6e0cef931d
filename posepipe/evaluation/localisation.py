"""Mean average precision of actions found in time, as the ActivityNet challenge and every present THUMOS figure has it.

The THUMOS-14 challenge's own rules are in :mod:`posepipe.evaluation.localisation_thumos`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posepipe.intervals import apart, interval_iou

__all__ = [
    "AMBIGUOUS",
    "Labelled",
    "LocalisationScore",
    "activitynet_score",
    "told_apart",
    "told_right",
    "without_duplicates",
]

#: label of stretches that THUMOS-14's annotators could not agree on; it is never a class
AMBIGUOUS = "Ambiguous"


@dataclass(frozen=True, eq=False)
class Labelled:
    """Labelled spans of several videos, one a row.

    Attributes
    ----------
    video, label
        (N,) texts.
    spans
        (N,2) float64 seconds.
    score
        (N,) float64; ones for ground truth.
    """

    video: NDArray[np.str_]
    label: NDArray[np.str_]
    spans: NDArray[np.float64]
    score: NDArray[np.float64]

    @classmethod
    def of(cls, rows: Sequence[tuple[str, str, float, float, float]]) -> Labelled:
        """From (video, label, start, end, score) rows."""
        video, label, start, end, score = zip(*rows, strict=True) if rows else ((), (), (), (), ())
        spans = np.stack([np.array(start, np.float64), np.array(end, np.float64)], axis=1)
        return cls(np.array(video, str), np.array(label, str), spans, np.array(score, np.float64))

    def __len__(self) -> int:
        return len(self.score)

    def __getitem__(self, pick: Any) -> Labelled:
        """Rows by index array or mask."""
        return Labelled(self.video[pick], self.label[pick], self.spans[pick], self.score[pick])


@dataclass(frozen=True)
class LocalisationScore:
    """Average precision of every class at every threshold.

    Attributes
    ----------
    thresholds
        Least overlaps in time (tIoU).
    precision
        Class to its average precision, one a threshold, in [0,1].
    """

    thresholds: tuple[float, ...]
    precision: Mapping[str, tuple[float, ...]]

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean over classes at each threshold: mAP."""
        table = np.array(list(self.precision.values()), np.float64).reshape(-1, len(self.thresholds))
        return tuple(float(value) for value in table.mean(0)) if len(table) else (0.0,) * len(self.thresholds)

    @property
    def average(self) -> float:
        """Mean of `mean` over the thresholds."""
        return float(np.mean(self.mean))


def without_duplicates(truth: Labelled, tolerance: float = 1e-3) -> Labelled:
    """Ground truth without empty spans and without rows that repeat an earlier one of their video and label."""
    kept: list[int] = []
    seen: dict[tuple[str, str], list[NDArray[np.float64]]] = {}
    for row, (video, label, span) in enumerate(zip(truth.video, truth.label, truth.spans, strict=True)):
        if span[1] <= span[0]:
            continue
        known = seen.setdefault((str(video), str(label)), [])
        if any((np.abs(span - other) <= tolerance).all() for other in known):
            continue
        known.append(span)
        kept.append(row)
    return truth[np.array(kept, np.int64)]


def activitynet_score(truth: Labelled, found: Labelled, thresholds: Sequence[float]) -> LocalisationScore:
    """Score as ActivityNet's evaluator does: interpolated average precision of each class of the ground truth.

    Each prediction, best score first, takes the ground truth of its video that it overlaps most among those that are
    still free and overlap enough. Predictions of equal score stand as numpy's fast sort leaves them, as in the
    evaluator whose figures are published: where a file rounds its scores to few digits, that order moves mAP by tenths
    of a per cent, and another processor may sort in another way.

    Parameters
    ----------
    truth
        Ground truth; ambiguous stretches and duplicates are left out.
    found
        Predictions; those of labels that the ground truth lacks are not looked at.
    thresholds
        Least overlaps.
    """
    truth = without_duplicates(truth[truth.label != AMBIGUOUS])
    precision = {
        str(label): _class_precision(truth[truth.label == label], found[found.label == label], thresholds)
        for label in np.unique(truth.label)
    }
    return LocalisationScore(tuple(thresholds), precision)


def _class_precision(truth: Labelled, found: Labelled, thresholds: Sequence[float]) -> tuple[float, ...]:
    found = found[np.argsort(found.score)[::-1]]
    rows = {str(video): np.flatnonzero(truth.video == video) for video in np.unique(truth.video)}
    free = np.ones((len(thresholds), len(truth)), bool)
    hit = np.zeros((len(thresholds), len(found)), bool)
    for number, (video, span) in enumerate(zip(found.video, found.spans, strict=True)):
        own = rows.get(str(video))
        if own is None:
            continue
        overlap = interval_iou(span, truth.spans[own])[0]
        order = np.argsort(-overlap, kind="stable")
        for level, threshold in enumerate(thresholds):
            fitting = own[order[free[level, own[order]] & (overlap[order] >= threshold)]]
            if len(fitting):
                free[level, fitting[0]] = False
                hit[level, number] = True
    return tuple(_interpolated(row, len(truth)) for row in hit)


def _interpolated(hit: NDArray[np.bool_], positives: int) -> float:
    """Area below the falling envelope of precision over recall."""
    true = np.cumsum(hit)
    precision = np.concatenate([[0.0], true / np.arange(1, len(hit) + 1), [0.0]])
    recall = np.concatenate([[0.0], true / positives, [1.0]])
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.flatnonzero(recall[1:] != recall[:-1]) + 1
    return float(((recall[steps] - recall[steps - 1]) * envelope[steps]).sum())


def told_apart(found: Labelled, threshold: float) -> Labelled:
    """What a pipeline tells of predictions: those of at least a score, and no two of a video at the same time."""
    parts = []
    for video in np.unique(found.video):
        own = found[(found.video == video) & (found.score >= threshold)]
        kept, ends = apart(own.spans, own.score)
        parts.append(Labelled(own.video[kept], own.label[kept], ends, own.score[kept]))
    if not parts:
        return found
    columns = (np.concatenate([getattr(part, name) for part in parts]) for name in ("video", "label", "spans", "score"))
    return Labelled(*columns)


def told_right(truth: Labelled, told: Labelled, threshold: float) -> tuple[float, float]:
    """Shares of what is told that is right, and of the ground truth that is told: one to one, by falling score.

    Parameters
    ----------
    truth, told
        Ground truth, and predictions that are all meant.
    threshold
        Least overlap with a ground truth of the same video and label.
    """
    free = np.ones(len(truth), bool)
    right = 0
    for row in np.argsort(-told.score, kind="stable"):
        own = np.flatnonzero(free & (truth.video == told.video[row]) & (truth.label == told.label[row]))
        overlap = interval_iou(told.spans[row], truth.spans[own])[0]
        if len(own) and overlap.max() >= threshold:
            free[own[int(overlap.argmax())]] = False
            right += 1
    return right / max(len(told), 1), right / max(len(truth), 1)
