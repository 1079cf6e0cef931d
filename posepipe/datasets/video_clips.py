"""Clips of a video by time: where they begin, and which frames show them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["clip_frames", "clip_starts"]


def clip_starts(pts: NDArray[np.float64], span: float, clips: int) -> NDArray[np.float64]:
    """When clips of `span` seconds begin, evenly over a video.

    Parameters
    ----------
    pts
        (n,) seconds at which frames are shown, n >= 1.
    span
        Length of a clip, seconds.
    clips
        How many; the first begins with the video and the last ends with it. A single one lies in the middle.

    Returns
    -------
    (clips,) float64 seconds; a video that is no longer than `span` has one clip, all of it.
    """
    first, last = float(pts[0]), _end(pts) - span
    if last <= first:
        return np.array([first])
    return np.linspace(first, last, clips) if clips > 1 else np.array([(first + last) / 2])


def clip_frames(
    pts: NDArray[np.float64], start: float, span: float, segments: int, rng: np.random.Generator | None = None
) -> NDArray[np.int64]:
    """Frames of a clip: one of each of its equal segments of time (TSN, Wang et al. 2016).

    Parameters
    ----------
    pts
        (n,) increasing seconds.
    start, span
        When the clip begins, and its length, seconds; where the video ends sooner, so does the clip.
    segments
        Frames to take.
    rng
        Draws the moment in each segment; None takes the middle.

    Returns
    -------
    (segments,) int64 indices, not falling: the frame that is shown at each moment.
    """
    span = min(span, max(_end(pts) - start, 0.0))
    within = np.full(segments, 0.5) if rng is None else rng.random(segments)
    moments = start + (np.arange(segments) + within) * span / segments
    return np.clip(np.searchsorted(pts, moments, "right") - 1, 0, len(pts) - 1).astype(np.int64)


def _end(pts: NDArray[np.float64]) -> float:
    """When the last frame ends, if it is shown as long as the middle one of all."""
    return float(pts[-1] + (np.median(np.diff(pts)) if len(pts) > 1 else 0.0))
