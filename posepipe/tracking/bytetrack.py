"""ByteTrack: associating every detection box (Zhang, Sun, Jiang, Yu et al., ECCV 2022)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from posepipe.geometry import iou
from posepipe.tracking import kalman
from posepipe.tracking.association import Pairs, assign
from posepipe.tracking.base import Array, BoxTracker, Seen, track_fields

__all__ = ["ByteTrack"]

# State [cx, cy, aspect, height] and velocities, noise in shares of the height, as in DeepSORT (Wojke et al. 2017).
_POSITION, _VELOCITY = 1 / 20, 1 / 160

# Detections below this are noise.
_FAINT = 0.1
# A new track needs this much more score than a detection that continues one, or half of what is left to 1 where that is
# less: no score reaches more.
_FOUNDING_MARGIN = 0.1
_SECOND_IOU, _PROBATION_IOU, _DUPLICATE_IOU = 0.5, 0.3, 0.85


class ByteTrack(BoxTracker):
    """Strong detections first, then weak ones for the tracks that are left.

    A track is confirmed by its second match, or when it begins in the first frame. Poses that neither match a track nor
    are strong enough to found one come back unconfirmed, each with an id that is never seen again.

    Parameters
    ----------
    track_threshold
        Box score above which a detection is strong. A new track begins with at least 0.1 more, or, where the threshold
        is above 0.8, half-way between it and 1.
    max_age
        Frames that a confirmed track lives on without a match.
    match_iou
        Least product of IoU and score in the first association.
    """

    _fields = track_fields(("lasting", np.bool_))

    def __init__(self, track_threshold: float = 0.6, max_age: int = 30, match_iou: float = 0.1) -> None:
        super().__init__(max_age, min_hits=1)
        self.track_threshold = track_threshold
        self.founding_threshold = track_threshold + min(_FOUNDING_MARGIN, (1.0 - track_threshold) / 2)
        self.match_iou = match_iou

    def _match(self, seen: Seen) -> Pairs:
        tracks, boxes, score = self._tracks, seen.boxes, seen.score
        overlap = iou(boxes, self._boxes(tracks))
        fused = overlap * score[:, None]
        strong = score > self.track_threshold
        weak = (score > _FAINT) & ~strong
        lasting, followed = tracks["lasting"], tracks["lasting"] & (tracks["unseen"] == 1)
        pairs = np.zeros((0, 2), np.int64)
        free = (np.ones(len(boxes), bool), np.ones(len(tracks), bool))
        for gain, detections, candidates, least in (
            (fused, strong, lasting, self.match_iou),
            (overlap, weak, followed, _SECOND_IOU),
            (fused, strong, ~lasting, _PROBATION_IOU),
        ):
            d, t = np.flatnonzero(detections & free[0]), np.flatnonzero(candidates & free[1])
            found = assign(1.0 - gain[np.ix_(d, t)], limit=1.0 - least)
            found = np.column_stack([d[found[:, 0]], t[found[:, 1]]])
            free[0][found[:, 0]] = free[1][found[:, 1]] = False
            pairs = np.concatenate([pairs, found])
        return pairs

    def _predict(self) -> None:
        tracks = self._tracks
        # A person who is lost is taken to keep their size.
        tracks["mean"][tracks["unseen"] > 0, 7] = 0.0
        height = tracks["mean"][:, 3]
        noise = np.stack([_noise(height, _POSITION, 1e-2), _noise(height, _VELOCITY, 1e-5)], -1)
        tracks["mean"], tracks["covariance"] = kalman.predict(tracks["mean"], tracks["covariance"], noise)
        tracks["unseen"] += 1
        tracks["age"] += 1

    def _correct(self, rows: Pairs, seen: Seen) -> None:
        tracks = self._tracks
        mean, covariance = tracks["mean"][rows], tracks["covariance"][rows]
        noise = _noise(mean[:, 3], _POSITION, 1e-1)
        mean, covariance = kalman.update(mean, covariance, _measure(seen.boxes), noise)
        tracks["mean"][rows], tracks["covariance"][rows] = mean, covariance
        tracks["score"][rows] = seen.score
        tracks["unseen"][rows] = 0
        tracks["lasting"][rows] = True

    def _first(self, boxes: Array) -> kalman.States:
        places = _measure(boxes)
        height = places[:, 3]
        noise = np.stack([_noise(height, 2 * _POSITION, 1e-2), _noise(height, 10 * _VELOCITY, 1e-5)], -1)
        return kalman.begin(places, noise)

    def _found(self, seen: Seen) -> NDArray[np.void]:
        founded = super()._found(seen)
        founded["lasting"] = (self._frame == 1) & self._founding(seen.score)
        return founded

    def _founding(self, score: Array) -> NDArray[np.bool_]:
        return score >= self.founding_threshold

    def _boxes(self, tracks: NDArray[np.void]) -> Array:
        centre, height = tracks["mean"][:, :2], tracks["mean"][:, 3]
        half = np.column_stack([tracks["mean"][:, 2] * height, height]) / 2
        return np.concatenate([centre - half, centre + half], 1)

    def _confirmed(self, tracks: NDArray[np.void]) -> NDArray[np.bool_]:
        return np.asarray(tracks["lasting"])

    def _alive(self) -> NDArray[np.bool_]:
        tracks = self._tracks
        seen = tracks["unseen"] == 0
        alive = np.where(tracks["lasting"], tracks["unseen"] <= self.max_age, seen)
        alive &= (tracks["age"] > 0) | self._founding(tracks["score"])
        # A lost track that lies on a followed one is the same person twice: the older stays.
        double = np.triu(iou(self._boxes(tracks), self._boxes(tracks)) > _DUPLICATE_IOU, 1) & (seen[:, None] != seen)
        for one, other in np.argwhere(double & alive & alive[:, None]):
            lived = tracks["age"] - tracks["unseen"]
            alive[one if lived[one] < lived[other] else other] = False
        return np.asarray(alive)


def _measure(boxes: Array) -> Array:
    """Boxes (N,4) xyxy px -> (N,4) [cx, cy, width / height, height]."""
    size = boxes[:, 2:] - boxes[:, :2]
    return np.column_stack([boxes[:, :2] + size / 2, size[:, 0] / size[:, 1], size[:, 1]])


def _noise(height: Array, share: float, aspect: float) -> Array:
    """Variances (N,4) of noise whose deviation is a share of the height, and ``aspect`` for the aspect."""
    deviation = np.repeat(share * height[:, None], 4, 1)
    deviation[:, 2] = aspect
    return np.asarray(deviation**2)
