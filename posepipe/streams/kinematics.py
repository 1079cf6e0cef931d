"""Joint angles, speeds, and whether somebody stands, sits or lies, from the keypoints of one person over time.

Angles are those of the picture: a limb that points at the camera is shorter in it, and its angles are not those of the
body. Keypoints are found by the names of the skeleton; what a skeleton does not name is not known anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posepipe.streams.smoothing import MAX_GAP
from posepipe.types import PoseStream

__all__ = ["COLUMNS", "STATES", "Kinematics", "kinematics", "transitions"]

Array = NDArray[np.float64]

#: Joint angles in degrees: name -> the keypoint before, the joint, the keypoint after.
_ANGLES = {
    f"{side}_{joint}_deg": tuple(f"{side}_{part}" for part in parts)
    for joint, parts in {
        "knee": ("hip", "knee", "ankle"),
        "hip": ("shoulder", "hip", "knee"),
        "elbow": ("shoulder", "elbow", "wrist"),
        "shoulder": ("elbow", "shoulder", "hip"),
    }.items()
    for side in ("left", "right")
}
#: Names of the columns of :attr:`Kinematics.values`.
COLUMNS = (*_ANGLES, "trunk_deg", "height_px", "speed_px_s", "speed_heights_s")
#: Names of the numbers of :attr:`Kinematics.state`.
STATES = ("unknown", "standing", "sitting", "lying")

# Shares of the body's height (Drillis and Contini 1966, in Winter 2009, figure 4.1): hip to shoulder, knee to hip,
# ankle to knee.
_TRUNK, _THIGH, _SHANK = 0.288, 0.245, 0.246
# Height is measured over this many seconds: whoever leans to the camera for a moment does not shrink.
_HEIGHT_S = 1.0
# How far the knees are below the hips, as a share of how far the ankles are below the knees. Standing it is the thigh
# by the shank from every side and from above: 1.0, or somewhat more, since keypoints mark hips above the joint. Sitting
# it is 0 at the height of the seat, and grows as the camera that faces the knees looks down: tan(25 deg) = 0.47 by the
# joints, up to 0.9 by keypoints. Both thresholds were set between the two after looking at all of UP-Fall's clips of
# walking, standing and sitting and at all of UTKinect: neither is a held-out test of them.
_STAND, _SIT = 0.98, 0.9
# Shanks that reach down by less than this share of the trunk (0.85 on a body that stands or sits) are cut off by the
# picture, hidden, or stretched out: they say nothing.
_SHORT = 0.4
# Inclination of the trunk from which somebody lies, and below which they no longer do.
_LIE, _RISE = 60.0, 45.0
# A state that does not last this long is none.
_HOLD_S = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class Kinematics:
    """Columns beside a stream of T rows.

    Attributes
    ----------
    values
        (T,C) float32, in the order of :data:`COLUMNS`: angles in degrees (joints 0 to 180, 180 is straight;
        ``trunk_deg`` 0 upright, 90 level), height of the standing body in px, speed of the hips in px and in heights
        of the body a second. 0 where not known.
    known
        (T,C) bool.
    state
        (T,) int8, a position in :data:`STATES`.
    """

    values: NDArray[np.float32]
    known: NDArray[np.bool_]
    state: NDArray[np.int8]


def kinematics(stream: PoseStream, keypoint_score: float = 0.3, max_gap: float = MAX_GAP) -> Kinematics:
    """What the keypoints of a stream say of the body; best read from a smoothed one.

    Parameters
    ----------
    stream
        One person.
    keypoint_score
        Least score of a keypoint that counts.
    max_gap
        Seconds over which speed is measured and a state is believed at most.
    """
    body = _Body(stream, keypoint_score)
    columns = [body.angle(*parts) for parts in _ANGLES.values()]
    trunk = body.inclination()
    height = _height(body)
    speed, moving = _speed(stream.pts, *body.middle("hip"), max_gap)
    columns += [trunk, height, (speed, moving)]
    relative = np.divide(speed, height[0], out=np.zeros(len(stream)), where=moving & height[1])
    columns.append((relative, moving & height[1]))
    known = np.stack([k for _, k in columns], 1)
    values = np.where(known, np.stack([v for v, _ in columns], 1), 0.0)
    state = _states(stream.pts, _labels(body, *trunk), max_gap)
    return Kinematics(values.astype(np.float32), known, state)


def transitions(stream: PoseStream, state: NDArray[np.int8]) -> list[tuple[int, str, str]]:
    """Rows of a stream at which a known state gives way to another: (row, name before, name after)."""
    rows = np.flatnonzero((state[1:] != state[:-1]) & (state[1:] > 0) & (state[:-1] > 0)) + 1
    return [(int(row), STATES[state[row - 1]], STATES[state[row]]) for row in rows]


class _Body:
    """Keypoints by name: places (T,2) px and whether they are known (T,)."""

    def __init__(self, stream: PoseStream, keypoint_score: float) -> None:
        self.stream, self.least = stream, keypoint_score

    def point(self, name: str) -> tuple[Array, NDArray[np.bool_]]:
        """One keypoint."""
        count = len(self.stream)
        if name not in self.stream.skeleton.keypoints:
            return np.zeros((count, 2)), np.zeros(count, bool)
        k = self.stream.skeleton.index(name)
        known = (self.stream.score[:, k] >= self.least) & (self.stream.score[:, k] > 0)
        return np.asarray(self.stream.xy[:, k], np.float64), known

    def middle(self, part: str) -> tuple[Array, NDArray[np.bool_]]:
        """The middle of the left and the right one; the one that is known where only one is."""
        (left, a), (right, b) = self.point(f"left_{part}"), self.point(f"right_{part}")
        total = left * a[:, None] + right * b[:, None]
        return total / np.maximum(a.astype(float) + b, 1)[:, None], a | b

    def length(self, one: str, other: str) -> tuple[Array, NDArray[np.bool_]]:
        """Distance px between the middles of two parts, taken on either side and averaged."""
        total, count = np.zeros(len(self.stream)), np.zeros(len(self.stream))
        for side in ("left", "right"):
            (p, a), (q, b) = self.point(f"{side}_{one}"), self.point(f"{side}_{other}")
            total += np.where(a & b, np.hypot(*(p - q).T), 0.0)
            count += a & b
        return total / np.maximum(count, 1), count > 0

    def drop(self, upper: str, lower: str) -> tuple[Array, NDArray[np.bool_]]:
        """How far (T,) px the lower of two parts is below the upper one, the mean of both sides."""
        total, count = np.zeros(len(self.stream)), np.zeros(len(self.stream))
        for side in ("left", "right"):
            (p, a), (q, b) = self.point(f"{side}_{upper}"), self.point(f"{side}_{lower}")
            total += np.where(a & b, q[:, 1] - p[:, 1], 0.0)
            count += a & b
        return total / np.maximum(count, 1), count > 0

    def angle(self, before: str, joint: str, after: str) -> tuple[Array, NDArray[np.bool_]]:
        """Angle (T,) degrees, 0 to 180, between the limbs that meet in a joint."""
        (p, a), (q, b), (r, c) = self.point(before), self.point(joint), self.point(after)
        one, other = p - q, r - q
        cross = one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]
        degrees = np.degrees(np.arctan2(np.abs(cross), (one * other).sum(1)))
        return degrees, a & b & c & (one != 0).any(1) & (other != 0).any(1)

    def inclination(self) -> tuple[Array, NDArray[np.bool_]]:
        """Angle (T,) degrees of the trunk from upright: 0 to 180, 90 is level, 180 head down."""
        (shoulder, a), (hip, b) = self.middle("shoulder"), self.middle("hip")
        up = shoulder - hip
        return np.degrees(np.arctan2(np.abs(up[:, 0]), -up[:, 1])), a & b & (up != 0).any(1)


def _height(body: _Body) -> tuple[Array, NDArray[np.bool_]]:
    """Height (T,) px of the standing body: of what trunk, thigh and shank say, the most within a second.

    Limbs are never longer in a picture than in the plane of the picture, only shorter; the ninetieth percentile stands
    for the most, which noise would raise.
    """
    parts = [body.length("shoulder", "hip"), body.length("hip", "knee"), body.length("knee", "ankle")]
    shares = np.array([_TRUNK, _THIGH, _SHANK])
    lengths, known = np.stack([v for v, _ in parts], 1), np.stack([k for _, k in parts], 1)
    # The legs alone say little of somebody who sits; with the trunk everything that is there counts.
    sure = known[:, 0]
    share = (shares * known).sum(1)
    now = np.divide((lengths * known).sum(1), share, out=np.zeros(len(sure)), where=sure)
    pts = body.stream.pts
    first = np.searchsorted(pts, pts - _HEIGHT_S / 2, "left")
    last = np.searchsorted(pts, pts + _HEIGHT_S / 2, "right")
    height, found = np.zeros(len(pts)), np.zeros(len(pts), bool)
    for t, (a, b) in enumerate(zip(first, last, strict=True)):
        values = np.sort(now[a:b][sure[a:b]])
        if len(values):
            height[t], found[t] = values[int(0.9 * (len(values) - 1))], True
    return height, found & (height > 0)


def _speed(pts: Array, place: Array, known: NDArray[np.bool_], max_gap: float) -> tuple[Array, NDArray[np.bool_]]:
    """Speed (T,) px/s between the nearest rows before and after that are known, or to this one at an end."""
    rows = np.flatnonzero(known)
    speed, moving = np.zeros(len(pts)), np.zeros(len(pts), bool)
    if len(rows) < 2:
        return speed, moving
    joined = np.diff(pts[rows]) <= max_gap
    here = np.arange(len(rows))
    before = np.where(np.append(False, joined), here - 1, here)
    after = np.where(np.append(joined, False), here + 1, here)
    time = pts[rows[after]] - pts[rows[before]]
    way = np.hypot(*(place[rows[after]] - place[rows[before]]).T)
    speed[rows] = np.divide(way, time, out=np.zeros(len(rows)), where=time > 0)
    moving[rows] = time > 0
    return speed, moving


def _labels(body: _Body, trunk: Array, upright: NDArray[np.bool_]) -> NDArray[np.int8]:
    """What each row (T,) says by itself and the one before: a position in STATES, 0 where it says nothing."""
    length, _ = body.length("shoulder", "hip")
    thigh, shank = body.drop("hip", "knee"), body.drop("knee", "ankle")
    legs = thigh[1] & shank[1] & (shank[0] > _SHORT * length)
    ratio = np.divide(thigh[0], shank[0], out=np.zeros(len(trunk)), where=legs)
    labels = np.zeros(len(trunk), np.int8)
    unknown, standing, sitting, lying = range(len(STATES))
    label = unknown
    for t in np.flatnonzero(upright):
        if trunk[t] > _LIE or (label == lying and trunk[t] > _RISE):
            label = lying
        elif not legs[t]:
            continue
        elif ratio[t] > _STAND or (label == standing and ratio[t] >= _SIT):
            label = standing
        elif ratio[t] < _SIT or (label == sitting and ratio[t] <= _STAND):
            label = sitting
        else:
            continue
        labels[t] = label
    return labels


def _states(pts: Array, labels: NDArray[np.int8], max_gap: float) -> NDArray[np.int8]:
    """States (T,): labels that last, from where they began; between labels the last one holds, for so long."""
    states = np.zeros(len(labels), np.int8)
    state, wish, since, last = 0, 0, 0, -np.inf
    for t, label in enumerate(labels.tolist()):
        if pts[t] - last > max_gap:
            state = wish = 0
        if label:
            last = float(pts[t])
            if label != wish:
                wish, since = label, t
            if wish != state and pts[t] - pts[since] >= _HOLD_S:
                state = wish
                states[since:t] = state
        states[t] = state
    return states
