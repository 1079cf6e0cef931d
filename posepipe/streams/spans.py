"""From what was said of windows to what was done from when to when: averaged, with hysteresis, merged."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from posepipe.types import Action

__all__ = ["UNKNOWN", "SpanRules", "WindowLog", "decide"]

#: Label of what the model does not know; its ``label_id`` is -1, also where the model has a class of this name.
UNKNOWN = "unknown"


@dataclass(frozen=True)
class SpanRules:
    """How probabilities over time become spans.

    Attributes
    ----------
    abstain
        An action begins where its probability is at least this; below, nothing is known.
    hold
        One that has begun goes on while its probability is no more than this below ``abstain``, and no more than this
        below that of the likeliest action.
    merge_s
        Two spans of one action with less than so many seconds of `UNKNOWN` between them are one.
    """

    abstain: float = 0.5
    hold: float = 0.1
    merge_s: float = 1.0


def decide(probs: NDArray[np.floating], labels: Sequence[str], abstain: float) -> tuple[str, int]:
    """Label and its place: the likeliest one, or `UNKNOWN` and -1 where that is less likely than ``abstain``."""
    best = int(np.argmax(probs))
    return (labels[best], best) if probs[best] >= abstain and labels[best] != UNKNOWN else (UNKNOWN, -1)


class WindowLog:
    """What was said of the windows of everybody, kept in a few bytes each, and the spans that it makes.

    Parameters
    ----------
    labels
        A of them, in the order of the probabilities.
    rules
        How spans are made.
    """

    def __init__(self, labels: Sequence[str], rules: SpanRules) -> None:
        self.labels, self.rules = tuple(labels), rules
        self._said: dict[int, array[float]] = {}

    def add(self, windows: Iterable[Action]) -> None:
        """Take what was said of some windows; those of one person come in order of time.

        Raises
        ------
        ValueError
            The probabilities are not those of the labels.
        """
        for window in windows:
            if len(window.probs) != len(self.labels):
                raise ValueError(f"an action has {len(window.probs)} probabilities for {len(self.labels)} labels")
            said = self._said.setdefault(window.track_id, array("d"))
            said.extend((window.start, window.end, window.start_s, window.end_s, *window.probs.tolist()))

    def spans(self) -> list[Action]:
        """What everybody did, in order of time; no two spans of a person overlap."""
        found = [span for track_id in self._said for span in self._of(track_id)]
        return sorted(found, key=lambda span: (span.start_s, span.track_id))

    def _of(self, track_id: int) -> Iterator[Action]:
        table = np.array(self._said[track_id]).reshape(-1, 4 + len(self.labels))
        table = table[np.argsort(table[:, 3], kind="stable")]
        frames, times = _cells(table)
        probs = _averaged(table[:, 2:4], table[:, 4:], times.mean(1))
        # A person who has left gives windows that end where the one before did.
        longer = times[:, 1] > times[:, 0]
        frames, times, probs = frames[longer], times[longer], probs[longer]
        for begin, end, label in self._merged(_hysteresis(probs, self.labels, self.rules), times):
            mean = probs[begin:end].mean(0).astype(np.float32)
            yield Action(
                track_id,
                self.labels[label] if label >= 0 else UNKNOWN,
                label,
                mean,
                int(frames[begin, 0]),
                int(frames[end - 1, 1]),
                float(times[begin, 0]),
                float(times[end - 1, 1]),
            )

    def _merged(self, chosen: NDArray[np.int64], times: NDArray[np.float64]) -> Iterator[tuple[int, int, int]]:
        """Runs of cells with one label: begin, end and the label."""
        runs: list[tuple[int, int, int]] = []
        for begin, end, label in _runs(chosen, times):
            if len(runs) > 1 and label >= 0 and runs[-2][2] == label and runs[-1][2] < 0:
                gap = times[begin, 0] - times[runs[-2][1] - 1, 1]
                if gap < self.rules.merge_s:
                    runs.pop()
                    begin = runs.pop()[0]
            runs.append((begin, end, label))
        return iter(runs)


def _cells(table: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The time that each window is the first to reach into: frames (N,2) and seconds (N,2), in order, apart."""
    ends, starts = table[:, [1, 3]], table[:, [0, 2]]
    begin = starts.copy()
    begin[1:] = np.maximum(starts[1:], ends[:-1])
    return np.stack([begin[:, 0], ends[:, 0]], 1).astype(np.int64), np.stack([begin[:, 1], ends[:, 1]], 1)


def _averaged(windows: NDArray[np.float64], probs: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities at times, from the windows (N,2) seconds that hold them: those amid which a time lies say most."""
    mean = np.empty_like(probs)
    for i, time in enumerate(at):
        last = i
        while last < len(at) and windows[last, 0] < time:
            last += 1
        held = slice(i, max(last, i + 1))
        middle, half = windows[held].mean(1), np.maximum(np.diff(windows[held], axis=1)[:, 0] / 2, 1e-6)
        weight = np.maximum(1 - np.abs(middle - time) / half, 1e-3)
        mean[i] = weight @ probs[held] / weight.sum()
    return mean


def _hysteresis(probs: NDArray[np.float64], labels: Sequence[str], rules: SpanRules) -> NDArray[np.int64]:
    """The label of each cell, -1 for none."""
    chosen = np.empty(len(probs), np.int64)
    now = -1
    for i, row in enumerate(probs):
        goes_on = now >= 0 and row[now] >= max(rules.abstain, row.max()) - rules.hold
        if not goes_on:
            now = decide(row, labels, rules.abstain)[1]
        chosen[i] = now
    return chosen


def _runs(chosen: NDArray[np.int64], times: NDArray[np.float64]) -> Iterator[tuple[int, int, int]]:
    """Cells that follow one another without a gap and have one label."""
    if len(chosen) == 0:
        return
    apart = (np.diff(chosen) != 0) | (times[1:, 0] - times[:-1, 1] > 1e-6)
    edges = [0, *(np.flatnonzero(apart) + 1).tolist(), len(chosen)]
    for begin, end in pairwise(edges):
        yield begin, end, int(chosen[begin])
