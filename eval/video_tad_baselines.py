"""What a temporal detector must beat: a linear model on pooled windows, and the mean place of every action."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from posepipe.datasets.temporal import Recording, WindowSource
from posepipe.evaluation.localisation import Labelled
from posepipe.intervals import interval_iou, soft_nms_by_label

Floats = NDArray[np.float64]

LENGTHS = (8, 12, 18, 27, 40, 60, 90)
"""Steps of the windows."""
_SPACING = 0.25
_LIKE, _UNLIKE = 0.5, 0.2
_RIDGE = 100.0
_MOST = 2000


class LinearWindows:
    """Ridge regression from the mean and deviation of the features in a window to what is done in it, or nothing.

    Windows that overlap an action by half are examples of it, those that overlap all by less than a fifth of nothing.
    """

    def __init__(self, recordings: Sequence[Recording], source: WindowSource, classes: int) -> None:
        rows, targets = [], []
        for index, recording in enumerate(recordings):
            spans, features = windows_of(recording, source, index)
            overlap = interval_iou(spans, recording.spans)
            best, most = overlap.argmax(1), overlap.max(1)
            used = (most >= _LIKE) | (most < _UNLIKE)
            rows.append(features[used])
            targets.append(np.where(most >= _LIKE, recording.labels[best], classes)[used])
        x, y = np.concatenate(rows), np.concatenate(targets)
        self.mean, self.deviation = x.mean(0), x.std(0) + 1e-6
        # Every class weighs as much as any other: windows of nothing are the most by far.
        weight = 1 / np.bincount(y, minlength=classes + 1)[y]
        weight *= len(y) / weight.sum()
        design = self._design(x)
        gram = (design * weight[:, None]).T @ design + _RIDGE * np.eye(design.shape[1])
        self.weights = np.linalg.solve(gram, (design * weight[:, None]).T @ np.eye(classes + 1)[y])

    def _design(self, x: Floats) -> Floats:
        return np.concatenate([(x - self.mean) / self.deviation, np.ones((len(x), 1))], axis=1)

    def find(self, recordings: Sequence[Recording], source: WindowSource, classes: Sequence[str]) -> Labelled:
        """Windows whose likeliest class is an action, suppressed as the detector's."""
        rows: list[tuple[str, str, float, float, float]] = []
        for index, recording in enumerate(recordings):
            spans, features = windows_of(recording, source, index)
            said = self._design(features) @ self.weights
            best = said.argmax(1)
            kept = np.flatnonzero(best < len(classes))
            score = np.clip(said[kept, best[kept]], 1e-3, None)
            ends, score, label = soft_nms_by_label(spans[kept] / recording.rate, score, best[kept], most=_MOST)
            for (a, b), value, name in zip(ends, score, label, strict=True):
                rows.append((recording.name, classes[name], float(a), float(b), float(value)))
        return Labelled.of(rows)


def windows_of(recording: Recording, source: WindowSource, index: int) -> tuple[Floats, Floats]:
    """Windows of all lengths over a recording: (N,2) steps, and (N,2C+L) pooled features with the length."""
    data, _ = source.at(index, np.arange(float(recording.steps)), None)
    total, square = (
        np.pad(np.cumsum(part, 1, np.float64), ((0, 0), (1, 0))) for part in (data, data.astype(float) ** 2)
    )
    spans, rows = [], []
    for number, (start, end) in _places(recording.steps):
        mean = (total[:, end] - total[:, start]) / (end - start)
        spread = np.sqrt(np.maximum((square[:, end] - square[:, start]) / (end - start) - mean**2, 0))
        spans.append((start, end))
        rows.append(np.concatenate([mean, spread, np.eye(len(LENGTHS))[number]]))
    return np.array(spans, np.float64), np.array(rows)


def _places(steps: int) -> Iterator[tuple[int, tuple[int, int]]]:
    for number, length in enumerate(LENGTHS):
        for start in range(0, max(1, steps - length + 1), max(1, int(length * _SPACING))):
            yield number, (start, min(steps, start + length))


def calendar(learnt: Sequence[Recording], tested: Sequence[Recording], classes: Sequence[str]) -> Labelled:
    """Every action once in every recording, at the mean relative place and with the mean length of its class."""
    rows: list[tuple[str, str, float, float, float]] = []
    for label, name in enumerate(classes):
        spans = [(r.spans[r.labels == label] / r.steps).mean(0) for r in learnt if (r.labels == label).any()]
        start, end = np.mean(spans, axis=0)
        rows += [(r.name, name, start * r.duration, end * r.duration, 1.0) for r in tested]
    return Labelled.of(rows)
