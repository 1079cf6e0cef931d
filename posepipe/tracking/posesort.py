"""PoseSORT: the project's own tracker, by motion, boxes and poses.

It builds on SORT (Bewley et al. 2016) and takes from ByteTrack (Zhang et al. 2022) that weak detections may continue a
track but not found one. Its own: a predicted pose is compared with the observed one by object keypoint similarity, and
the camera's motion is read from the people themselves. No pixels are looked at, so recorded poses replay to the same
ids.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from posepipe.geometry import iou
from posepipe.skeleton import COCO17, Skeleton
from posepipe.tracking import kalman
from posepipe.tracking.association import Pairs, assign
from posepipe.tracking.base import Array, BoxTracker, Seen, track_fields
from posepipe.types import Poses, Tracks

__all__ = ["PoseSort"]

# State [cx, cy, width, height] and velocities; noise in shares of the height, those of DeepSORT (Wojke et al. 2017).
_POSITION, _VELOCITY = 1 / 20, 1 / 160

# Least similarity (times score, where the detection is strong) in the three rounds of association.
_STRONG, _WEAK, _PROBATION = 0.2, 0.4, 0.3
# The camera's motion is read from at least this many people, over boxes that are widened by half on every side.
_WITNESSES, _WIDENED, _WITNESS_IOU = 3, 0.5, 0.2


class PoseSort(BoxTracker):
    """Boxes and poses followed by a Kalman filter whose noise grows with the person, matched in three rounds.

    Strong detections meet the confirmed tracks first, then weak ones those that were seen in the frame before, then
    the strong ones that are left the tracks on probation. A track once confirmed stays so; on probation it dies with
    the first miss. Poses that neither match a track nor are strong come back unconfirmed, each with an id that is
    never seen again.

    Parameters
    ----------
    max_age
        Frames that a confirmed track lives on without a match.
    min_hits
        Detections in a row, with the founding one, that confirm a track; in the first frame one is enough.
    strong
        Box score from which a detection is strong.
    skeleton
        What the poses consist of.
    """

    def __init__(self, max_age: int = 60, min_hits: int = 3, strong: float = 0.6, skeleton: Skeleton = COCO17) -> None:
        joints = len(skeleton)
        self._fields = track_fields(
            ("lasting", np.bool_),
            ("box", np.float64, 4),
            ("xy", np.float64, (joints, 2)),
            ("xy_score", np.float64, joints),
        )
        super().__init__(max_age, min_hits)
        self.strong = strong
        self.skeleton = skeleton

    def update(self, poses: Poses, image: NDArray[np.uint8] | None = None) -> Tracks:
        """As :meth:`BoxTracker.update`; raises ``ValueError`` for poses of another skeleton."""
        if poses.skeleton != self.skeleton:
            raise ValueError(f"PoseSort follows {self.skeleton.name!r}, got poses of {poses.skeleton.name!r}")
        return super().update(poses, image)

    def _predict(self) -> None:
        tracks = self._tracks
        # A person who is lost is taken to keep their size.
        tracks["mean"][tracks["unseen"] > 0, 6:] = 0.0
        noise = _noise(tracks["mean"][:, 3], _POSITION, _VELOCITY)
        mean, tracks["covariance"] = kalman.predict(tracks["mean"], tracks["covariance"], noise)
        np.maximum(mean[:, 2:4], 1.0, out=mean[:, 2:4])
        tracks["mean"] = mean
        tracks["unseen"] += 1
        tracks["age"] += 1

    def _match(self, seen: Seen) -> Pairs:
        tracks = self._tracks
        tracks["mean"][:, :2] += self._camera_shift(seen.boxes)
        likeness = self._likeness(seen)
        trusted = likeness * seen.score[:, None]
        strong, lasting = seen.score >= self.strong, tracks["lasting"]
        pairs = np.zeros((0, 2), np.int64)
        free = (np.ones(len(strong), bool), np.ones(len(tracks), bool))
        for gain, detections, candidates, least in (
            (trusted, strong, lasting, _STRONG),
            (likeness, ~strong, lasting & (tracks["unseen"] == 1), _WEAK),
            (trusted, strong, ~lasting, _PROBATION),
        ):
            d, t = np.flatnonzero(detections & free[0]), np.flatnonzero(candidates & free[1])
            found = assign(1.0 - gain[np.ix_(d, t)], limit=1.0 - least)
            found = np.column_stack([d[found[:, 0]], t[found[:, 1]]])
            free[0][found[:, 0]] = free[1][found[:, 1]] = False
            pairs = np.concatenate([pairs, found])
        return pairs

    def _camera_shift(self, boxes: Array) -> Array:
        """The shift (2,) px that most people share beyond their predicted motion: that of the camera."""
        near = self._boxes(self._tracks[self._tracks["unseen"] <= 2])
        pairs = assign(1.0 - iou(_widen(boxes), _widen(near)), limit=1.0 - _WITNESS_IOU)
        if len(pairs) < _WITNESSES:
            return np.zeros(2)
        residual = boxes[pairs[:, 0]] - near[pairs[:, 1]]
        return np.asarray(np.median((residual[:, :2] + residual[:, 2:]) / 2, axis=0))

    def _likeness(self, seen: Seen) -> Array:
        """Likeness (N,M) in [0,1] of what was seen and the tracks: IoU, or its mean with OKS where both have poses."""
        tracks = self._tracks
        predicted = self._boxes(tracks)
        likeness = iou(seen.boxes, predicted)
        # Of all pairs only those whose boxes touch are worth a look at their joints.
        n, m = np.nonzero(likeness)
        both = (seen.xy_score[n] > 0) & (tracks["xy_score"][m] > 0)
        posed = both.any(-1)
        n, m, both = n[posed], m[posed], both[posed]
        # The last pose goes with its box.
        old, corner = tracks["box"][m, None], predicted[m, None, :2]
        size = predicted[m, None, 2:] - corner
        xy = corner + (tracks["xy"][m] - old[..., :2]) / (old[..., 2:] - old[..., :2]) * size
        variance = 2 * (2 * np.array(self.skeleton.sigmas)) ** 2 * size.prod(-1)
        near = np.exp(-((seen.xy[n] - xy) ** 2).sum(-1) / variance) * both
        likeness[n, m] = (likeness[n, m] + near.sum(-1) / both.sum(-1)) / 2
        return likeness

    def _correct(self, rows: Pairs, seen: Seen) -> None:
        tracks = self._tracks
        mean, covariance = tracks["mean"][rows], tracks["covariance"][rows]
        noise = (_POSITION * mean[:, 3, None]) ** 2
        mean, covariance = kalman.update(mean, covariance, _measure(seen.boxes), noise)
        mean[:, 2:4] = np.maximum(mean[:, 2:4], 1.0)
        tracks["mean"][rows], tracks["covariance"][rows] = mean, covariance
        tracks["streak"][rows] += 1
        tracks["unseen"][rows] = 0
        tracks["lasting"][rows] |= tracks["streak"][rows] >= self.min_hits
        for name, column in (("score", seen.score), ("box", seen.boxes), ("xy", seen.xy), ("xy_score", seen.xy_score)):
            tracks[name][rows] = column

    def _first(self, boxes: Array) -> kalman.States:
        places = _measure(boxes)
        return kalman.begin(places, _noise(places[:, 3], 2 * _POSITION, 10 * _VELOCITY))

    def _found(self, seen: Seen) -> NDArray[np.void]:
        founded = super()._found(seen)
        founded["box"], founded["xy"], founded["xy_score"] = seen.boxes, seen.xy, seen.xy_score
        founded["streak"] = 1
        founded["lasting"] = (seen.score >= self.strong) & ((self._frame == 1) | (self.min_hits <= 1))
        return founded

    def _boxes(self, tracks: NDArray[np.void]) -> Array:
        centre, half = tracks["mean"][:, :2], tracks["mean"][:, 2:4] / 2
        return np.concatenate([centre - half, centre + half], 1)

    def _confirmed(self, tracks: NDArray[np.void]) -> NDArray[np.bool_]:
        return np.asarray(tracks["lasting"])

    def _alive(self) -> NDArray[np.bool_]:
        tracks = self._tracks
        followed = np.where(tracks["lasting"], tracks["unseen"] <= self.max_age, tracks["unseen"] == 0)
        return np.asarray(followed & ((tracks["age"] > 0) | (tracks["score"] >= self.strong)))


def _measure(boxes: Array) -> Array:
    """Boxes (N,4) xyxy px -> (N,4) [cx, cy, width, height]."""
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1)


def _noise(height: Array, position: float, velocity: float) -> Array:
    """Variances (N,1,2) of places and velocities whose deviations are shares of the height."""
    return np.asarray(np.multiply.outer(height[:, None], np.array([position, velocity])) ** 2)


def _widen(boxes: Array) -> Array:
    """Boxes (N,4) made wider and higher about their centre."""
    grow = _WIDENED * (boxes[:, 2:] - boxes[:, :2])
    return np.concatenate([boxes[:, :2] - grow, boxes[:, 2:] + grow], 1)
