"""Less jitter: the One Euro filter as frames come, and a smoother without lag for streams that are whole.

Both take time from the stream, not from a frame rate, start anew after a gap, and trust a keypoint as far as its score
says: a keypoint of score ``s`` counts like a measurement whose noise has ``1 / s`` times the variance.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from posepipe.types import PoseStream

__all__ = ["MAX_GAP", "OneEuro", "one_euro", "zero_phase"]

Array = NDArray[np.float64]

#: Seconds without a keypoint after which nothing before them counts any more.
MAX_GAP = 0.5


class OneEuro:
    """The One Euro filter (Casiez, Roussel, Vogel 2012, algorithm 1) of all keypoints of one person, frame by frame.

    A low-pass filter of first order whose cutoff grows with speed: still points are calm, quick ones have little lag.
    Speed is measured in the person's own size, so the same settings do for near and far people.

    Parameters
    ----------
    joints
        Number of keypoints, K.
    min_cutoff
        Cutoff in Hz of a point at rest; lower is calmer.
    beta
        Hz of cutoff for each size of the person (square root of the box's area) a second; higher is quicker.
    speed_cutoff
        Cutoff in Hz of the speed estimate; 1 in the paper.
    max_gap
        Seconds without a keypoint after which its filter starts anew.
    """

    def __init__(
        self,
        joints: int,
        min_cutoff: float = 1.0,
        beta: float = 8.0,
        speed_cutoff: float = 1.0,
        max_gap: float = MAX_GAP,
    ) -> None:
        self.min_cutoff, self.beta, self.speed_cutoff, self.max_gap = min_cutoff, beta, speed_cutoff, max_gap
        self._time: Array = np.full(joints, -np.inf)
        self._place: Array = np.zeros((joints, 2))
        self._speed: Array = np.zeros((joints, 2))

    def update(self, pts: float, xy: NDArray[np.floating], score: NDArray[np.floating], size: float) -> Array:
        """Filter the next frame.

        Parameters
        ----------
        pts
            Seconds, later than those before.
        xy, score
            (K,2) px and (K,); keypoints of score 0 are passed over, and given back as they are.
        size
            Size of the person in px.

        Returns
        -------
        (K,2) float64 px.
        """
        place, weight = np.array(xy, np.float64), np.asarray(score, np.float64)
        seen = weight > 0
        old = seen & (pts - self._time <= self.max_gap)
        dt = (pts - self._time[old])[:, None]
        speed = (place[old] - self._place[old]) / dt
        share = _gain(self.speed_cutoff, dt, weight[old, None])
        speed = self._speed[old] + share * (speed - self._speed[old])
        quickness = np.hypot(speed[:, :1], speed[:, 1:]) / max(size, 1.0)
        share = _gain(self.min_cutoff + self.beta * quickness, dt, weight[old, None])
        place[old] = self._place[old] + share * (place[old] - self._place[old])
        self._speed[seen] = 0.0
        self._speed[old] = speed
        self._place[seen], self._time[seen] = place[seen], pts
        return place


def _gain(cutoff: Array | float, dt: Array, weight: Array) -> Array:
    """Share of a measurement in an exponential filter of this cutoff (Hz), whose noise has 1 / weight the variance."""
    share = 1 / (1 + 1 / (2 * np.pi * cutoff * dt))
    return np.asarray(share * weight / (share * weight + 1 - share))


def one_euro(
    stream: PoseStream, min_cutoff: float = 1.0, beta: float = 8.0, max_gap: float = MAX_GAP
) -> NDArray[np.float32]:
    """(T,K,2) float32 px: the keypoints of a stream after :class:`OneEuro`, each from its past alone."""
    size = np.sqrt(np.clip(stream.boxes[:, 2:] - stream.boxes[:, :2], 0, None).prod(1, dtype=np.float64))
    euro = OneEuro(len(stream.skeleton), min_cutoff, beta, max_gap=max_gap)
    smooth = np.array(stream.xy)
    for t in range(len(stream)):
        smooth[t] = euro.update(float(stream.pts[t]), stream.xy[t], stream.score[t], float(size[t]))
    return smooth


def zero_phase(stream: PoseStream, cutoff: float = 4.0, max_gap: float = MAX_GAP) -> NDArray[np.float32]:
    """Smooth the keypoints of a whole stream without lag.

    A Kalman filter forth and a Rauch-Tung-Striebel smoother back over the integrated Wiener process (constant speed,
    white noise in acceleration), whose estimate is the cubic smoothing spline (Wahba 1978). On even time its response
    is ``1 / (1 + (f / cutoff)^4)``, that of the Butterworth filter of second order run forth and back which is usual
    for human movement (Winter 2009, section 2.2.4); unlike that filter it needs no even time, and no invented samples
    where a keypoint is missing.

    Parameters
    ----------
    stream
        One person.
    cutoff
        Hz at which the amplitude is halved.
    max_gap
        Seconds without a keypoint that are not bridged: both sides are smoothed as streams of their own.

    Returns
    -------
    (T,K,2) float32 px. Missing keypoints (score 0) are estimated inside what is bridged and unchanged elsewhere.
    """
    if len(stream) < 2:
        return np.array(stream.xy)
    weight = np.asarray(stream.score, np.float64)
    rate = (2 * np.pi * cutoff) ** 4 * float(np.median(np.diff(stream.pts)))
    walk = _Walk(stream.pts, np.asarray(stream.xy, np.float64), weight, _starts(stream.pts, weight > 0, max_gap), rate)
    smooth = walk.back()
    known = (weight > 0) | _bridged(weight > 0, walk.starts)
    return np.where(known[..., None], smooth, stream.xy).astype(np.float32)


def _starts(pts: Array, seen: NDArray[np.bool_], max_gap: float) -> NDArray[np.bool_]:
    """(T,K) bool: the keypoint is seen here for the first time, or for the first time after a gap."""
    times = np.where(seen, pts[:, None], -np.inf)
    before = np.concatenate([np.full((1, seen.shape[1]), -np.inf), np.maximum.accumulate(times)[:-1]])
    return np.asarray(seen & (pts[:, None] - before > max_gap))


def _bridged(seen: NDArray[np.bool_], starts: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(T,K) bool: the keypoint is missing here, seen before and after, and no gap too long lies around."""
    part = np.cumsum(starts, axis=0)
    count = len(seen)
    place = np.where(seen, np.arange(count)[:, None], count)
    following = np.minimum.accumulate(place[::-1])[::-1]
    after = np.take_along_axis(part, np.minimum(following, count - 1), axis=0)
    return np.asarray(~seen & (part > 0) & (following < count) & (after == part))


class _Walk:
    """Filtered states of K points with independent covariances, in units in which a sure measurement has variance 1.

    Axes are (T,K) for the entries of the covariance [place, speed], and (T,K,2) for places and speeds.
    """

    def __init__(self, pts: Array, xy: Array, weight: Array, starts: NDArray[np.bool_], rate: float) -> None:
        self.starts, self.step = starts, np.diff(pts)
        shape = weight.shape
        self.place, self.speed = np.zeros((*shape, 2)), np.zeros((*shape, 2))
        self.next_place, self.next_speed = np.zeros((*shape, 2)), np.zeros((*shape, 2))
        self.spread, self.next_spread = np.ones((3, *shape)), np.ones((3, *shape))
        # Nothing is known of the first speed: a thousand times what the walk itself would hold likely.
        loose = 1e6 * np.sqrt(rate)
        noise = np.divide(1.0, weight, out=np.ones(shape), where=weight > 0)
        place, speed = np.array(xy[0]), np.zeros_like(xy[0])
        a, b, c = np.ones(shape[1]), np.zeros(shape[1]), np.ones(shape[1])
        for t in range(len(pts)):
            if t:
                dt = self.step[t - 1]
                place = place + dt * speed
                a, b, c = a + dt * (2 * b + dt * c) + rate * dt**3 / 3, b + dt * c + rate * dt**2 / 2, c + rate * dt
                self.next_place[t - 1], self.next_speed[t - 1], self.next_spread[:, t - 1] = place, speed, (a, b, c)
            gain = np.where(weight[t] > 0, 1 / (a + noise[t]), 0.0)
            near, quick = a * gain, b * gain
            off = xy[t] - place
            place, speed = place + near[:, None] * off, speed + quick[:, None] * off
            a, b, c = a * (1 - near), b * (1 - near), c - quick * b
            new = starts[t]
            place, speed = np.where(new[:, None], xy[t], place), np.where(new[:, None], 0.0, speed)
            a, b, c = np.where(new, noise[t], a), np.where(new, 0.0, b), np.where(new, loose, c)
            self.place[t], self.speed[t], self.spread[:, t] = place, speed, (a, b, c)

    def back(self) -> Array:
        """(T,K,2) px: places in the light of all that came later, up to the next start."""
        place, speed = self.place.copy(), self.speed.copy()
        for t in range(len(place) - 2, -1, -1):
            a, b, c = self.spread[:, t]
            p, q, r = self.next_spread[:, t]
            dt, scale = self.step[t], 1 / (p * r - q * q)
            to_place = ((a + dt * b) * r - b * q) * scale, (b * p - (a + dt * b) * q) * scale
            to_speed = ((b + dt * c) * r - c * q) * scale, (c * p - (b + dt * c) * q) * scale
            off, change = place[t + 1] - self.next_place[t], speed[t + 1] - self.next_speed[t]
            kept = ~self.starts[t + 1][:, None]
            place[t] += np.where(kept, to_place[0][:, None] * off + to_place[1][:, None] * change, 0.0)
            speed[t] += np.where(kept, to_speed[0][:, None] * off + to_speed[1][:, None] * change, 0.0)
        return np.asarray(place)
