"""The THUMOS-14 challenge's own rules for actions found in time, and the steps that S-CNN took before them.

Gorban et al., THUMOS challenge 2014 (detection task); Shou et al., CVPR 2016 (S-CNN), whose stored result is
reproduced to the last digit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posepipe.evaluation.localisation import AMBIGUOUS, Labelled, LocalisationScore
from posepipe.intervals import interval_iou

__all__ = ["ThumosScore", "greedy_nms", "matlab_number", "scnn_detections", "thumos_score", "window_scores"]


@dataclass(frozen=True)
class ThumosScore(LocalisationScore):
    """As `LocalisationScore`, with ``recall``: class to the share of its ground truth that was found, a threshold."""

    recall: Mapping[str, tuple[float, ...]]

    @property
    def mean_recall(self) -> tuple[float, ...]:
        """Mean over classes at each threshold."""
        table = np.array(list(self.recall.values()), np.float64).reshape(-1, len(self.thresholds))
        return tuple(float(value) for value in table.mean(0)) if len(table) else (0.0,) * len(self.thresholds)


def thumos_score(truth: Labelled, found: Labelled, thresholds: Sequence[float]) -> ThumosScore:
    """Score as the challenge's evaluator does: average precision without interpolation.

    Each ground truth, in the order it is given, takes the prediction that overlaps it most among those that are still
    free, if by more than the threshold. What was not taken and touches an ambiguous stretch does not count. Equal
    scores stand by video name, then in the order of ``found``.

    Parameters
    ----------
    truth
        Ground truth, ambiguous stretches under `AMBIGUOUS`.
    found
        Predictions; those of labels that the ground truth lacks are not looked at.
    thresholds
        Overlaps that must be exceeded.
    """
    doubtful = truth[truth.label == AMBIGUOUS]
    precision: dict[str, tuple[float, ...]] = {}
    recall: dict[str, tuple[float, ...]] = {}
    for label in np.unique(truth.label[truth.label != AMBIGUOUS]):
        own, guess = truth[truth.label == label], found[found.label == label]
        guess = guess[np.lexsort((-guess.score, guess.video))]
        outcomes = [_one_threshold(own, guess, doubtful, threshold) for threshold in thresholds]
        precision[str(label)] = tuple(outcome[0] for outcome in outcomes)
        recall[str(label)] = tuple(outcome[1] for outcome in outcomes)
    return ThumosScore(tuple(thresholds), precision, recall)


def _one_threshold(own: Labelled, guess: Labelled, doubtful: Labelled, threshold: float) -> tuple[float, float]:
    """Average precision and recall of one class; ``guess`` is sorted by video and falling score."""
    hit = np.zeros(len(guess), bool)
    counts = np.ones(len(guess), bool)
    for video in np.unique(guess.video):
        rows = np.flatnonzero(guess.video == video)
        spans = guess.spans[rows]
        free = np.ones(len(rows), bool)
        for span in own.spans[own.video == video]:
            overlap = np.where(free, interval_iou(span, spans)[0], -1.0)
            best = int(np.argmax(overlap))
            if overlap[best] > threshold:
                free[best] = False
        hit[rows] = ~free
        unsure = doubtful.spans[doubtful.video == video]
        touches = np.minimum(spans[:, None, 1], unsure[:, 1]) > np.maximum(spans[:, None, 0], unsure[:, 0])
        counts[rows] = ~free | ~touches.any(1)
    order = np.argsort(-guess.score[counts], kind="stable")
    true = hit[counts][order]
    precision = np.cumsum(true) / np.arange(1, len(true) + 1)
    return float((precision * true).sum() / len(own)), float(true.sum() / len(own))


def window_scores(
    score: NDArray[np.float64], frames: NDArray[np.int64], label: NDArray[np.int64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """S-CNN: a window's score times how common windows of its length are for its class.

    Parameters
    ----------
    score, frames, label
        (N,) score, length of the window in frames (16 2^n) and class from 0.
    weight
        (lengths, classes).
    """
    return np.asarray(score * weight[np.log2(frames / 16).astype(np.int64), label], np.float64)


def greedy_nms(spans: NDArray[np.float64], score: NDArray[np.float64], most_iou: float) -> NDArray[np.int64]:
    """Rows that are kept, best first, when what overlaps a kept one by more is dropped; of equals the later wins."""
    waiting = np.argsort(score, kind="stable")
    kept: list[int] = []
    while len(waiting):
        best, waiting = int(waiting[-1]), waiting[:-1]
        kept.append(best)
        waiting = waiting[interval_iou(spans[best], spans[waiting])[0] <= most_iou]
    return np.array(kept, np.int64)


def matlab_number(value: float) -> float:
    """What is left of a number that MATLAB's ``num2str`` printed: max(floor(log10 |x|) + 5, 5) digits."""
    if value == 0 or not math.isfinite(value):
        return value
    return float(f"{value:.{max(math.floor(math.log10(abs(value))) + 5, 5)}g}")


def scnn_detections(windows: Labelled, threshold: float) -> Labelled:
    """S-CNN's detections for one threshold of the evaluator: suppression at threshold - 0.1, times and scores printed.

    Printing rounds times to a tenth of a second and scores to five digits; the ties that this makes decide the last
    digits of the published figures.

    Parameters
    ----------
    windows
        Scored windows of every video and class, in the file's order.
    threshold
        tIoU at which they will be scored.
    """
    rows: list[tuple[str, str, float, float, float]] = []
    for video in np.unique(windows.video):
        own = windows[windows.video == video]
        for label in np.unique(own.label):
            some = own[own.label == label]
            for row in greedy_nms(some.spans, some.score, threshold - 0.1):
                start, end = (float(f"{second:.1f}") for second in some.spans[row])
                rows.append((str(video), str(label), start, end, matlab_number(float(some.score[row]))))
    return Labelled.of(rows)
