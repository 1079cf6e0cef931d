"""A pose stream as somebody wants it: smooth, at a fixed rate, with what its keypoints say of the body."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from posepipe.errors import UsageError
from posepipe.streams.kinematics import Kinematics, kinematics
from posepipe.streams.resampling import resample
from posepipe.streams.smoothing import one_euro, zero_phase
from posepipe.types import PoseStream

__all__ = ["SMOOTHERS", "ShapedStream", "Wanted", "shape"]

#: Ways to smooth: not at all, as frames come, or without lag.
SMOOTHERS = ("none", "one-euro", "zero-phase")


@dataclass(frozen=True)
class Wanted:
    """What streams are to be; as they are, by default. Raises :class:`UsageError` for values out of range.

    Attributes
    ----------
    smooth
        One of :data:`SMOOTHERS`.
    rate
        Samples a second; None keeps the frames of the video.
    kinematics
        Whether angles, speeds and states are added; they are read from the smooth keypoints where there are such.
    min_frames
        Fewest frames in which a person must have been seen.
    """

    smooth: str = "none"
    rate: float | None = None
    kinematics: bool = False
    min_frames: int = 1

    def __post_init__(self) -> None:
        if self.smooth not in SMOOTHERS:
            raise UsageError("unknown way to smooth", got=repr(self.smooth), expected=f"one of {', '.join(SMOOTHERS)}")
        if self.rate is not None and not 0 < self.rate <= 1000:
            raise UsageError("a rate out of range", got=self.rate, expected="above 0 and at most 1000 Hz")
        if self.min_frames < 1:
            raise UsageError("min_frames out of range", got=self.min_frames, expected="1 or more")

    @property
    def plain(self) -> bool:
        """Whether streams stay as they are, but for short ones."""
        return self.smooth == "none" and self.rate is None and not self.kinematics


@dataclass(frozen=True, slots=True, eq=False)
class ShapedStream:
    """A stream with raw keypoints, and beside them what was wanted.

    Attributes
    ----------
    stream
        The person, at the wanted rate.
    smooth
        (T,K,2) float32 px, or None.
    kinematics
        Columns of the same T rows, or None.
    """

    stream: PoseStream
    smooth: NDArray[np.float32] | None = None
    kinematics: Kinematics | None = None


def shape(stream: PoseStream, wanted: Wanted) -> ShapedStream | None:
    """One stream as wanted; None where the person was seen in too few frames.

    Smoothing works on the frames of the video, and resampling on its outcome.
    """
    if int(stream.seen.sum()) < wanted.min_frames:
        return None
    smooth = None
    if wanted.smooth != "none":
        smooth = replace(stream, xy=one_euro(stream) if wanted.smooth == "one-euro" else zero_phase(stream))
    if wanted.rate is not None:
        stream = resample(stream, wanted.rate)
        smooth = resample(smooth, wanted.rate) if smooth is not None else None
        if len(stream) == 0:
            return None
    best = smooth if smooth is not None else stream
    body = kinematics(best) if wanted.kinematics else None
    return ShapedStream(stream, smooth.xy if smooth is not None else None, body)
