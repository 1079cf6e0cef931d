"""OC-SORT: Observation-Centric SORT (Cao, Pang, Weng, Khirodkar and Kitani, CVPR 2023)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from posepipe.geometry import iou
from posepipe.tracking import kalman
from posepipe.tracking.association import Pairs, assign, match_overlap, others
from posepipe.tracking.base import Array, BoxTracker, Seen, track_fields

__all__ = ["OCSort"]

# A direction is measured over at most this many frames.
_STEPS = 3


class OCSort(BoxTracker):
    """SORT that trusts observations over predictions: momentum of direction, recovery, and re-update after gaps.

    Poses whose box scores at most ``det_threshold`` are not tracked: they come back unconfirmed, each with an id that
    is never seen again.

    Parameters
    ----------
    det_threshold
        Box score that a detection must exceed.
    max_age, min_hits, iou_threshold
        As in :class:`posepipe.tracking.sort.Sort`.
    inertia
        Weight of the agreement of directions beside the IoU.
    """

    # ``recent``: boxes observed 0 to 3 frames ago, ``last``: the newest (the founding box is none), NaN where there is
    # none; ``direction``: unit vector of motion; ``frozen_*``: the filter's state at the first frame of a gap.
    _fields = track_fields(
        ("recent", np.float64, (_STEPS + 1, 4)),
        ("last", np.float64, 4),
        ("direction", np.float64, 2),
        ("frozen_mean", np.float64, 8),
        ("frozen_covariance", np.float64, (4, 3)),
    )

    def __init__(
        self,
        det_threshold: float = 0.6,
        max_age: int = 30,
        min_hits: int = 3,
        iou_threshold: float = 0.3,
        inertia: float = 0.2,
    ) -> None:
        super().__init__(max_age, min_hits)
        self.det_threshold = det_threshold
        self.iou_threshold = iou_threshold
        self.inertia = inertia

    def _match(self, seen: Seen) -> Pairs:
        tracks, boxes, score = self._tracks, seen.boxes, seen.score
        strong = np.flatnonzero(score > self.det_threshold)
        predicted = kalman.states_to_boxes(tracks["mean"])
        agreement = _agreement(tracks["direction"], _direction(self._origin()[None], boxes[strong, None]))
        bonus = self.inertia * agreement * score[strong, None]
        pairs = match_overlap(iou(boxes[strong], predicted), self.iou_threshold, bonus)
        loose, lost = others(len(strong), pairs[:, 0]), others(len(tracks), pairs[:, 1])
        overlap = iou(boxes[strong[loose]], np.nan_to_num(tracks["last"][lost]))
        again = assign(1.0 - overlap)
        again = again[overlap[again[:, 0], again[:, 1]] >= self.iou_threshold]
        pairs = np.concatenate([pairs, np.column_stack([loose[again[:, 0]], lost[again[:, 1]]])])
        return np.column_stack([strong[pairs[:, 0]], pairs[:, 1]])

    def _origin(self) -> Array:
        """Boxes (N,4) from which the present direction is measured: 3 frames ago, else 2, else 1, else the last."""
        origin = self._tracks["last"]
        for step in range(1, _STEPS + 1):
            box = self._tracks["recent"][:, step]
            origin = np.where(np.isnan(box), origin, box)
        return origin

    def _predict(self) -> None:
        super()._predict()
        tracks = self._tracks
        tracks["recent"][:, 1:] = tracks["recent"][:, :-1].copy()
        tracks["recent"][:, 0] = np.nan
        # Any frame may turn out to be the first of a gap.
        fresh = tracks["unseen"] == 1
        tracks["frozen_mean"][fresh] = tracks["mean"][fresh]
        tracks["frozen_covariance"][fresh] = tracks["covariance"][fresh]

    def _correct(self, rows: Pairs, seen: Seen) -> None:
        tracks, boxes = self._tracks, seen.boxes
        tracks["direction"][rows] = np.nan_to_num(_direction(self._origin()[rows], boxes))
        for row, box in zip(rows, boxes, strict=True):
            if tracks["unseen"][row] > 1 and not np.isnan(tracks["last"][row, 0]):
                self._replay(tracks[row : row + 1], box)
        super()._correct(rows, seen)
        tracks["last"][rows] = tracks["recent"][rows, 0] = boxes

    def _replay(self, track: NDArray[np.void], box: Array) -> None:
        """Run the filter of a track (1,) that was found again over its gap, on a straight line to the new box (4,)."""
        steps = int(track["unseen"][0])
        mean, covariance = track["frozen_mean"], track["frozen_covariance"]
        for step in range(1, steps + 1):
            if step > 1:
                mean, covariance = kalman.predict_boxes(mean, covariance)
            virtual = track["last"] + step / steps * (box - track["last"])
            mean, covariance = kalman.update_boxes(mean, covariance, virtual)
        track["mean"], track["covariance"] = mean, covariance

    def _found(self, seen: Seen) -> NDArray[np.void]:
        founded = super()._found(seen)
        founded["last"] = founded["recent"] = np.nan
        return founded

    def _boxes(self, tracks: NDArray[np.void]) -> Array:
        return np.where(np.isnan(tracks["last"]), kalman.states_to_boxes(tracks["mean"]), tracks["last"])

    def _confirmed(self, tracks: NDArray[np.void]) -> NDArray[np.bool_]:
        return super()._confirmed(tracks) & (tracks["score"] > self.det_threshold)

    def _alive(self) -> NDArray[np.bool_]:
        return super()._alive() & (self._tracks["score"] > self.det_threshold)


def _direction(start: Array, end: Array) -> Array:
    """Unit vectors (...,2) between the centres of boxes (...,4); NaN where a box is, 0 without motion."""
    way = (end[..., :2] + end[..., 2:] - start[..., :2] - start[..., 2:]) / 2
    return np.asarray(way / (np.linalg.norm(way, axis=-1, keepdims=True) + 1e-6))


def _agreement(direction: Array, way: Array) -> Array:
    """How well ways (N,M,2) to detections agree with the tracks' directions (M,2): (N,M) in [-0.5,0.5], 0 unknown."""
    cosine = np.clip((direction * np.nan_to_num(way)).sum(-1), -1, 1)
    return np.asarray(0.5 - np.arccos(cosine) / np.pi)
