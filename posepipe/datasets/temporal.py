"""Long recordings with actions in them: windows to learn from, windows to search, and what is wrong with a set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from posepipe.errors import InputError

__all__ = [
    "LATE_S",
    "Recording",
    "TrainingWindows",
    "Window",
    "WindowRules",
    "WindowSource",
    "check_recordings",
    "filled_up",
    "rearranged",
    "search_starts",
]

#: windows that are tried before one without a whole enough action is taken
_TRIES = 200
#: seconds by which an annotation may end after its video: both are rounded
LATE_S = 1.0


@dataclass(frozen=True, eq=False)
class Recording:
    """A recording and its actions.

    Attributes
    ----------
    name
        Of the video or recording.
    steps
        Its length in steps (every n-th frame, or rows of features).
    rate
        Steps a second.
    spans
        (M,2) float64 start and end of its actions, steps.
    labels
        (M,) int64 classes.
    duration
        Seconds.
    """

    name: str
    steps: int
    rate: float
    spans: NDArray[np.float64]
    labels: NDArray[np.int64]
    duration: float


@dataclass(frozen=True)
class WindowRules:
    """How windows are drawn to learn from.

    Attributes
    ----------
    length
        Steps of a window.
    least_share
        An action of which less than this share is inside does not count, and a window without one that counts is
        drawn again.
    least_crop
        Of a recording shorter than a window, at least this share is taken.
    stretch
        Most that time is stretched or squeezed, as a share; 0 = not at all.
    shuffle
        Share of windows of recordings whose actions are put in another order.
    """

    length: int
    least_share: float = 0.75
    least_crop: float = 0.9
    stretch: float = 0.0
    shuffle: float = 0.0


class Window(NamedTuple):
    """A window: ``data`` with its time axis filled up to the length, ``real`` (T,) steps, actions in its own steps."""

    data: NDArray[Any]
    real: NDArray[np.bool_]
    spans: NDArray[np.float32]
    labels: NDArray[np.int64]


class WindowSource(Protocol):
    """Gives what a network sees of a recording."""

    def at(
        self, index: int, places: NDArray[np.float64], rng: np.random.Generator | None
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Data at some places.

        Parameters
        ----------
        index
            Of the recording.
        places
            (T,) steps of the recording, evenly spaced.
        rng
            Varies what is seen; None: as it is.

        Returns
        -------
        Data, (C,T) features or (T,H,W,3) frames, and (T,) bool where there is anything.
        """
        ...


class TrainingWindows:
    """Windows at random places of recordings, by (index, seed).

    Parameters
    ----------
    recordings
        To draw from.
    source
        Of their data, in the same order.
    rules
        How windows are drawn.
    """

    def __init__(self, recordings: Sequence[Recording], source: WindowSource, rules: WindowRules) -> None:
        self.recordings, self.source, self.rules = recordings, source, rules

    def __len__(self) -> int:
        return len(self.recordings)

    def __getitem__(self, key: tuple[int, int]) -> Window:
        index, seed = key
        rng = np.random.default_rng(seed)
        recording, rules = self.recordings[index], self.rules
        places = np.arange(float(recording.steps))
        if rng.random() < rules.shuffle:
            recording, places = rearranged(recording, rng)
        pace = float(np.exp(rng.uniform(-1, 1) * np.log1p(rules.stretch)))
        reach = rules.length * pace
        start, count, kept = 0.0, rules.length, np.zeros(len(recording.spans), bool)
        for _ in range(_TRIES):
            if recording.steps > reach:
                start, count = float(rng.integers(0, int(recording.steps - reach) + 1)), rules.length
            else:
                share = rng.uniform(rules.least_crop, 1.0)
                count = max(1, int(share * recording.steps / pace))
                start = float(rng.integers(0, max(1, int(recording.steps - count * pace) + 1)))
            kept = _inside_share(recording.spans, start, start + count * pace) >= rules.least_share
            if kept.any() or not len(kept):
                break
        wanted = start + pace * np.arange(count)
        data, real = self.source.at(index, np.interp(wanted, np.arange(len(places)), places), rng)
        spans = ((recording.spans[kept] - start) / pace).clip(0, count)
        return filled_up(Window(data, real, spans.astype(np.float32), recording.labels[kept]), rules.length)


def rearranged(recording: Recording, rng: np.random.Generator) -> tuple[Recording, NDArray[np.float64]]:
    """The recording with its actions in another order, cut amid the pauses between them.

    Actions that overlap stay together. A detector that saw them in one order only would learn the order.

    Returns
    -------
    The new recording, and (steps,) the old step at each new one.
    """
    spans = recording.spans[np.argsort(recording.spans[:, 0])]
    reached = np.maximum.accumulate(spans[:, 1]) if len(spans) else np.zeros(0)
    pauses = [(end, start) for end, start in zip(reached[:-1], spans[1:, 0], strict=True) if start > end + 1]
    cuts = [0, *(int((end + start) / 2) for end, start in pauses), recording.steps]
    order = rng.permutation(len(cuts) - 1)
    places = np.concatenate([np.arange(cuts[n], cuts[n + 1]) for n in order]) if recording.steps else np.zeros(0)
    moved = recording.spans.copy()
    begin = 0
    for n in order:
        inside = (recording.spans[:, 0] >= cuts[n]) & (recording.spans[:, 0] < cuts[n + 1])
        moved[inside] += begin - cuts[n]
        begin += cuts[n + 1] - cuts[n]
    return replace(recording, spans=moved), places.astype(np.float64)


def _inside_share(spans: NDArray[np.float64], start: float, end: float) -> NDArray[np.float64]:
    inside = np.minimum(spans[:, 1], end) - np.maximum(spans[:, 0], start)
    return np.asarray(inside / np.maximum(spans[:, 1] - spans[:, 0], 1e-9))


def filled_up(window: Window, length: int) -> Window:
    """The window with its last step repeated up to a length; those steps are not real."""
    missing = length - len(window.real)
    if missing <= 0:
        return window
    axis = 1 if window.data.ndim == 2 else 0
    pad = [(0, 0)] * window.data.ndim
    pad[axis] = (0, missing)
    return window._replace(data=np.pad(window.data, pad, mode="edge"), real=np.pad(window.real, (0, missing)))


def search_starts(steps: int, length: int, overlap: float) -> list[int]:
    """Where windows begin that cover a recording: evenly spaced, the last one ends with it.

    One that begins at 0 is enough for a recording of its length or less. OpenTAD makes at most ``steps // spacing``:
    never fewer than these from an overlap of 0.5 on, but below it the end of a recording would not be searched.
    It looks twice at a last one that ends with the recording by itself.
    """
    spacing, last = max(1, int(length * (1 - overlap))), max(0, steps - length)
    return [*range(0, last, spacing), last]


def check_recordings(
    training: Sequence[Recording], tested: Sequence[Recording], classes: Sequence[str], *, allow_leaks: bool = False
) -> tuple[str, ...]:
    """Refuse a set that cannot be learnt from.

    Parameters
    ----------
    training, tested
        The two parts.
    classes
        Names of the actions.
    allow_leaks
        Take it though recordings stand in both parts.

    Returns
    -------
    Notes for the summary of the training: which recordings stand in both parts, where that is allowed.

    Raises
    ------
    InputError
        An action ends before it starts or after its recording, a class stands in the test part only, a recording in
        both, or there is nothing to learn from. The first ten are named.
    """
    faults = [fault for part in (training, tested) for recording in part for fault in _faults(recording, classes)]
    learnt, asked = (
        {classes[label] for recording in part for label in recording.labels} for part in (training, tested)
    )
    faults += [f"class {name} occurs in the test part only" for name in sorted(asked - learnt)]
    both = sorted({recording.name for recording in training} & {recording.name for recording in tested})
    if not allow_leaks:
        faults += [f"{name} stands in training and test" for name in both]
    if not training:
        faults.append("there is nothing to learn from")
    if faults:
        more = f" and {len(faults) - 10} more" if len(faults) > 10 else ""
        raise InputError(f"the recordings have {len(faults)} faults", got="; ".join(faults[:10]) + more)
    return (f"mAP is too good: {len(both)} recordings stand in training and test, such as {both[0]}",) if both else ()


def _faults(recording: Recording, classes: Sequence[str]) -> list[str]:
    found = []
    for span, label in zip(recording.spans / recording.rate, recording.labels, strict=True):
        what = f"{recording.name}: {classes[label]} {span[0]:.1f}-{span[1]:.1f} s"
        if span[1] <= span[0]:
            found.append(f"{what} ends before it starts")
        elif span[1] > recording.duration + LATE_S:
            found.append(f"{what} ends after the video ({recording.duration:.1f} s)")
    return found
