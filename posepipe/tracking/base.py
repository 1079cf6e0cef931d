"""What the trackers of the SORT family share: a table of living tracks, and one way through a frame."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from posepipe.tracking import kalman
from posepipe.tracking.association import Pairs, canonical_order, others
from posepipe.types import Poses, Tracks

__all__ = ["Array", "BoxTracker", "Seen", "track_fields"]

Array = NDArray[np.float64]


class Seen(NamedTuple):
    """What was seen in a frame, in canonical order: boxes (N,4) and xy (N,K,2) px, scores (N,) and (N,K), float64."""

    boxes: Array
    score: Array
    xy: Array
    xy_score: Array

    def pick(self, rows: Pairs) -> Seen:
        """Some of the rows."""
        return Seen(*(column[rows] for column in self))


def track_fields(*more: Any) -> np.dtype[np.void]:
    """One row of the table: the filter's state, counters, and ``more`` fields of a tracker's own.

    ``score`` is that of the newest box, ``streak`` counts matches in a row (founding is none), ``unseen`` frames since
    the last match and ``age`` frames since the founding.
    """
    gaussian = [("mean", np.float64, 8), ("covariance", np.float64, (4, 3)), ("score", np.float64)]
    counters = [(name, np.int64) for name in ("id", "streak", "unseen", "age")]
    return np.dtype([*gaussian, *counters, *more])


class BoxTracker(ABC):
    """A tracker of boxes, by default with SORT's filter and rules; what is left is how detections meet tracks.

    Every pose matches a track or founds one, so every row comes back with an id. Ids count every track that was
    founded, from 1, as in SORT's published numbering; those that never pass their probation leave gaps in the ids
    that are shown.

    Parameters
    ----------
    max_age
        Frames that a track lives on without a match.
    min_hits
        A track is confirmed in a frame where it has had this many matches in a row (founding it is none), or in the
        first ``min_hits`` frames of the run.
    """

    _fields = track_fields()

    def __init__(self, max_age: int, min_hits: int) -> None:
        self.max_age = max_age
        self.min_hits = min_hits
        self.reset()

    def reset(self) -> None:
        """Forget everything; ids start again at 1."""
        self._tracks = np.zeros(0, self._fields)
        self._founded = 0
        self._frame = 0

    def cut(self) -> None:
        """Begin anew with the next frame, since another shot begins with it; ids go on counting."""
        self._tracks = self._tracks[:0]
        self._frame = 0

    def update(self, poses: Poses, image: NDArray[np.uint8] | None = None) -> Tracks:
        """Take the next frame's poses, empty ones too, and return them row for row with ids.

        ``boxes`` of the result are the tracker's own estimates. Inverted and empty boxes are repaired with a warning.
        """
        self._frame += 1
        order = canonical_order(poses.boxes, poses.box_score)
        columns = (kalman.sound_boxes(poses.boxes), poses.box_score, poses.xy, poses.score)
        seen = Seen(*(column[order].astype(np.float64) for column in columns))
        self._predict()
        pairs = self._match(seen)
        self._correct(pairs[:, 1], seen.pick(pairs[:, 0]))
        strangers = others(len(poses), pairs[:, 0])
        # Row of the table for each pose: a matched track's, or one of those founded at its end.
        row = np.empty(len(poses), np.int64)
        row[order[pairs[:, 0]]] = pairs[:, 1]
        row[order[strangers]] = len(self._tracks) + np.arange(len(strangers))
        if len(strangers):
            self._tracks = np.concatenate([self._tracks, self._found(seen.pick(strangers))])
        tracks = self._tracks[row]
        alive = self._alive()
        if not alive.all():
            self._tracks = self._tracks[alive]
        return Tracks(
            poses=poses,
            boxes=self._boxes(tracks).astype(np.float32),
            track_id=tracks["id"],
            confirmed=self._confirmed(tracks),
            age=tracks["age"].astype(np.int32),
        )

    @abstractmethod
    def _match(self, seen: Seen) -> Pairs:
        """Pairs (P,2) of what was seen and tracks."""

    def _predict(self) -> None:
        """Carry all tracks on to this frame."""
        tracks = self._tracks
        tracks["mean"], tracks["covariance"] = kalman.predict_boxes(tracks["mean"], tracks["covariance"])
        tracks["streak"][tracks["unseen"] > 0] = 0
        tracks["unseen"] += 1
        tracks["age"] += 1

    def _correct(self, rows: Pairs, seen: Seen) -> None:
        """Take what was seen (P) of the tracks ``rows`` (P,) into their states."""
        tracks = self._tracks
        mean, covariance = kalman.update_boxes(tracks["mean"][rows], tracks["covariance"][rows], seen.boxes)
        tracks["mean"][rows], tracks["covariance"][rows] = mean, covariance
        tracks["score"][rows] = seen.score
        tracks["streak"][rows] += 1
        tracks["unseen"][rows] = 0

    def _found(self, seen: Seen) -> NDArray[np.void]:
        """Rows of new tracks that begin with what was seen (P)."""
        count = len(seen.boxes)
        founded = np.zeros(count, self._fields)
        founded["mean"], founded["covariance"] = self._first(seen.boxes)
        founded["score"] = seen.score
        founded["id"] = self._founded + 1 + np.arange(count)
        self._founded += count
        return founded

    def _first(self, boxes: Array) -> kalman.States:
        """States and covariances of tracks that begin with these boxes (P,4)."""
        return kalman.first_states(boxes)

    def _boxes(self, tracks: NDArray[np.void]) -> Array:
        """Estimated boxes (P,4) xyxy px of rows of the table."""
        return kalman.states_to_boxes(tracks["mean"])

    def _confirmed(self, tracks: NDArray[np.void]) -> NDArray[np.bool_]:
        """Which of these matched or founded tracks are past their probation (P,)."""
        return np.asarray((tracks["streak"] >= self.min_hits) | (self._frame <= self.min_hits))

    def _alive(self) -> NDArray[np.bool_]:
        """Which tracks go on to the next frame."""
        return np.asarray(self._tracks["unseen"] <= self.max_age)
