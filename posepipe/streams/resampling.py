"""Pose streams at a fixed rate, as classifiers want them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from posepipe.streams.smoothing import MAX_GAP
from posepipe.types import PoseStream

__all__ = ["resample"]

# Containers round times to a tick, Matroska's is a millisecond: a sample this near is at the wanted time.
_TICK_S = 1e-3


def resample(stream: PoseStream, rate: float, max_gap: float = MAX_GAP) -> PoseStream:
    """The stream at the times ``n / rate`` seconds, the same for everybody in a video, linear between its frames.

    A frame that is at such a time (within a millisecond) is taken as it is. A keypoint is interpolated, and so is its
    score, where the frames before and after both have it; elsewhere it is missing.

    Parameters
    ----------
    stream
        One person.
    rate
        Samples a second, above 0.
    max_gap
        Seconds between two frames of the stream that are not bridged: times in between are absent.

    Returns
    -------
    A stream whose ``frame_index`` is ``n``. ``seen`` is false where a frame is missing between those before and after
    (whose distance is more than the smallest of the stream), or one of them was itself not seen.

    Raises
    ------
    ValueError
        ``rate`` is not above 0.
    """
    if not rate > 0:
        raise ValueError(f"a rate is above 0, got {rate}")
    pts = stream.pts
    if len(pts) == 0:
        return stream
    near = min(_TICK_S, 0.25 / rate)
    number = _numbers(pts, rate, near, max_gap)
    time = number / rate
    after = np.clip(np.searchsorted(pts, time), 0, len(pts) - 1)
    before = np.maximum(after - 1, 0)
    closest = np.where(np.abs(pts[before] - time) < np.abs(pts[after] - time), before, after)
    hit = np.abs(pts[closest] - time) <= near
    before, after = np.where(hit, closest, before), np.where(hit, closest, after)
    keep = hit | ((pts[after] - pts[before] <= max_gap) & (pts[before] <= time) & (time <= pts[after]))
    number, time, before, after, hit = number[keep], time[keep], before[keep], after[keep], hit[keep]
    share = np.divide(time - pts[before], pts[after] - pts[before], out=np.zeros(len(time)), where=~hit)

    def between(name: str) -> np.ndarray:
        column = np.asarray(getattr(stream, name), np.float64)
        weight = share.reshape(-1, *[1] * (column.ndim - 1))
        return np.asarray(column[before] + weight * (column[after] - column[before]))

    both = (stream.score[before] > 0) & (stream.score[after] > 0)
    steps = np.diff(stream.frame_index)
    near_frames = stream.frame_index[after] - stream.frame_index[before] <= (steps.min() if len(steps) else 1)
    return PoseStream(
        stream.track_id,
        number,
        time,
        between("xy"),
        np.where(both, between("score"), 0.0),
        between("boxes"),
        stream.seen[before] & stream.seen[after] & near_frames,
        stream.skeleton,
    )


def _numbers(pts: NDArray[np.float64], rate: float, near: float, max_gap: float) -> NDArray[np.int64]:
    """Growing numbers of all samples that lie in a stretch without a gap, or at its ends, and of few others.

    They are as many as the frames ask for, however far the times of a damaged video leap.
    """
    ends = np.flatnonzero(np.diff(pts) > max_gap)
    first = np.ceil((pts[np.r_[0, ends + 1]] - near) * rate).astype(np.int64)
    last = np.floor((pts[np.r_[ends, len(pts) - 1]] + near) * rate).astype(np.int64)
    # One more at every gap: whether a sample on the edge of "near" belongs to a frame is for the caller to say.
    first, last = np.maximum(first - 1, first[0]), np.minimum(last + 1, last[-1])
    first[1:] = np.maximum(first[1:], last[:-1] + 1)  # both sides of a gap may be near one sample
    count = np.maximum(last - first + 1, 0)
    before = np.cumsum(count) - count
    return np.asarray(np.repeat(first - before, count) + np.arange(count.sum()), np.int64)
