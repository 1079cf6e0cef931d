"""SORT: Simple Online and Realtime Tracking (Bewley, Ge, Ott, Ramos and Upcroft, ICIP 2016)."""

from __future__ import annotations

from posepipe.geometry import iou
from posepipe.tracking.association import Pairs, match_overlap
from posepipe.tracking.base import BoxTracker, Seen

__all__ = ["Sort"]


class Sort(BoxTracker):
    """Boxes followed by a constant-velocity Kalman filter and matched by IoU.

    Parameters
    ----------
    max_age
        Frames that a track lives on without a match.
    min_hits
        A track is confirmed in a frame where it has had this many matches in a row (founding it is none), or in the
        first ``min_hits`` frames of the run.
    iou_threshold
        Least IoU between a detection and the predicted box of its track, in [0,1].
    """

    def __init__(self, max_age: int = 1, min_hits: int = 3, iou_threshold: float = 0.3) -> None:
        super().__init__(max_age, min_hits)
        self.iou_threshold = iou_threshold

    def _match(self, seen: Seen) -> Pairs:
        return match_overlap(iou(seen.boxes, self._boxes(self._tracks)), self.iou_threshold)
