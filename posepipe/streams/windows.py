"""The last seconds of everybody, cut out of results as they come, at the times of a fixed grid."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posepipe.skeleton import Skeleton
from posepipe.streams.resampling import resample
from posepipe.streams.smoothing import MAX_GAP
from posepipe.types import FrameResult, Poses, PoseStream, Tracks

__all__ = ["LEAST_SHARE", "TimeWindow", "TimeWindows", "windows_of"]

#: A window in which a person is there for a smaller share of the samples is none.
LEAST_SHARE = 0.5
# Times that were rounded to a container's tick (a millisecond in Matroska) count as the times of the grid.
_TICK_S = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class TimeWindow:
    """One person over the seconds up to a time of the grid.

    Attributes
    ----------
    stream
        T rows, one for each time of the grid; keypoints have score 0 and ``seen`` is false where nobody was seen.
    start, end
        Frames of the video, half-open, from the first to the last sample in which the person was there.
    start_s, end_s
        Their times, seconds.
    """

    stream: PoseStream
    start: int
    end: int
    start_s: float
    end_s: float


@dataclass(slots=True)
class _Row:
    """A person in a frame."""

    frame: int
    pts: float
    xy: NDArray[np.float32]
    score: NDArray[np.float32]
    box: NDArray[np.float32]
    seen: bool


class TimeWindows:
    """Takes frame results in order of time and gives the windows that are complete with each.

    Samples lie at the times ``n / rate`` seconds, the same for everybody, whatever the times of the frames: values are
    linear between the frames of a person, over gaps of up to half a second. A window closes with the first frame at or
    after its last sample, every ``step`` samples. No more is kept than the people of the last seconds.

    Parameters
    ----------
    samples
        T, samples of a window.
    rate
        Samples a second.
    step
        Samples between the ends of two windows.
    skeleton
        That of the results.
    """

    def __init__(self, samples: int, rate: float, step: int, skeleton: Skeleton) -> None:
        if min(samples, step) < 1 or not rate > 0:
            raise ValueError(f"samples, rate and step are above 0, got {samples}, {rate} and {step}")
        self.samples, self.rate, self.step, self.skeleton = samples, rate, step, skeleton
        self._rows: dict[int, deque[_Row]] = {}
        self._confirmed: set[int] = set()
        self._last: int | None = None

    def update(self, result: FrameResult) -> list[TimeWindow]:
        """Take the next frame; returns a window of each confirmed person who was there long enough, by id."""
        self._take(result)
        due = int(np.floor((result.pts + _TICK_S) * self.rate / self.step)) * self.step
        if self._last is None:
            self._last = due  # nothing lies before the first frame
        if due == self._last:
            return []
        # Where frames are further apart than windows, only the latest of those that close is looked at.
        self._last = due
        found = [self._window(track_id, due) for track_id in sorted(self._rows)]
        self._forget(result.pts)
        return [window for window in found if window is not None]

    def _take(self, result: FrameResult) -> None:
        tracks, poses = result.tracks, result.tracks.poses
        for i, track_id in enumerate(tracks.track_id.tolist()):
            row = _Row(
                result.frame_index, result.pts, poses.xy[i], poses.score[i], poses.boxes[i], bool(tracks.seen[i])
            )
            self._rows.setdefault(track_id, deque()).append(row)
            if tracks.confirmed[i]:
                self._confirmed.add(track_id)

    def _forget(self, now: float) -> None:
        """Drop what no window to come will see."""
        since = now - self.samples / self.rate - 2 * MAX_GAP
        for track_id, rows in list(self._rows.items()):
            while rows and rows[0].pts < since:
                rows.popleft()
            if not rows:
                del self._rows[track_id]
                self._confirmed.discard(track_id)

    def _window(self, track_id: int, last: int) -> TimeWindow | None:
        if track_id not in self._confirmed:
            return None
        stream = resample(_stream(track_id, list(self._rows[track_id]), self.skeleton), self.rate)
        place = stream.frame_index - (last - self.samples + 1)
        inside = np.flatnonzero((place >= 0) & (place < self.samples))
        if len(inside) < LEAST_SHARE * self.samples:
            return None
        times = np.arange(last - self.samples + 1, last + 1)
        whole = _spread(stream, inside, place[inside], times, self.rate)
        start_s, end_s = float(stream.pts[inside[0]]), float(stream.pts[inside[-1]])
        frames = [r.frame for r in self._rows[track_id] if start_s - _TICK_S <= r.pts <= end_s + _TICK_S]
        if not frames:  # all samples lie between two frames
            return None
        return TimeWindow(whole, frames[0], frames[-1] + 1, start_s, end_s)


def windows_of(stream: PoseStream, samples: int, rate: float, step: int) -> Iterator[TimeWindow]:
    """The windows of one whole stream: those that `TimeWindows` gives of a video that has only its frames."""
    windows = TimeWindows(samples, rate, step, stream.skeleton)
    one, first = np.array([stream.track_id]), np.zeros(1, np.int32)
    for t in range(len(stream)):
        here = slice(t, t + 1)
        poses = Poses(stream.xy[here], stream.score[here], stream.boxes[here], np.ones(1, np.float32), stream.skeleton)
        tracks = Tracks(poses, stream.boxes[here], one, np.ones(1, bool), first)
        yield from windows.update(FrameResult(int(stream.frame_index[t]), float(stream.pts[t]), tracks))


def _stream(track_id: int, rows: list[_Row], skeleton: Skeleton) -> PoseStream:
    return PoseStream(
        track_id,
        np.array([r.frame for r in rows], np.int64),
        np.array([r.pts for r in rows], np.float64),
        np.stack([r.xy for r in rows]),
        np.stack([r.score for r in rows]),
        np.stack([r.box for r in rows]),
        np.array([r.seen for r in rows], bool),
        skeleton,
    )


def _spread(
    stream: PoseStream, rows: NDArray[np.int64], place: NDArray[np.int64], times: NDArray[np.int64], rate: float
) -> PoseStream:
    """Rows of a stream at their places among all times; what is between is missing."""
    count, joints = len(times), len(stream.skeleton)
    xy = np.zeros((count, joints, 2), np.float32)
    score, boxes, seen = np.zeros((count, joints), np.float32), np.zeros((count, 4), np.float32), np.zeros(count, bool)
    xy[place], score[place] = stream.xy[rows], stream.score[rows]
    boxes[place], seen[place] = stream.boxes[rows], True
    return PoseStream(stream.track_id, times, times / rate, xy, score, boxes, seen, stream.skeleton)
