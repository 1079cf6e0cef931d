"""Networks that find people and their keypoints in one pass, in the place of two stages."""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from posepipe.geometry import iou
from posepipe.skeleton import COCO17, Skeleton
from posepipe.types import Detections, Frame, Poses

__all__ = ["OneStage"]

# Frames whose keypoints are remembered: more than a pipeline has in flight.
_REMEMBERED = 64
# A box that was not found by this network is given the keypoints of the person found there, from this IoU on.
_SAME_PERSON = 0.5


class OneStage(ABC):
    """A detector that is a pose estimator too: what it finds in ``detect`` is handed out in ``estimate``.

    Boxes that came from elsewhere (carried over from the frame before) get the keypoints of the person that this
    network finds at their place; where there is none, the keypoints are missing.
    """

    skeleton: Skeleton = COCO17

    def __init__(self) -> None:
        self._found: OrderedDict[int, tuple[weakref.ref[NDArray[np.uint8]], Poses]] = OrderedDict()

    @abstractmethod
    def find(self, frame: Frame) -> Poses:
        """People of one frame with their keypoints, best box score first."""

    def detect(self, frame: Frame) -> Detections:
        """People of one frame, best score first; empty where there are none."""
        poses = self.find(frame)
        self._found[frame.index] = (weakref.ref(frame.image), poses)
        while len(self._found) > _REMEMBERED:
            self._found.popitem(last=False)
        return Detections(poses.boxes, poses.box_score)

    def estimate(self, frames: Sequence[Frame], detections: Sequence[Detections]) -> list[Poses]:
        """Poses of the people of each frame, row for row with their detections; empty in, empty out."""
        return [self._match(frame, wanted) for frame, wanted in zip(frames, detections, strict=True)]

    def _match(self, frame: Frame, wanted: Detections) -> Poses:
        if not len(wanted):
            return Poses.empty(self.skeleton)
        picture, found = self._found.get(frame.index, (None, None))
        # Another video has frames of the same number: only the very same picture counts.
        if found is None or picture is None or picture() is not frame.image:
            found = self.find(frame)
        poses = Poses.unseen(wanted, self.skeleton)
        if not len(found):
            return poses
        overlap = iou(wanted.boxes, found.boxes)
        best = overlap.argmax(1)
        near = overlap[np.arange(len(wanted)), best] >= _SAME_PERSON
        xy = np.where(near[:, None, None], found.xy[best], poses.xy)
        score = np.where(near[:, None], found.score[best], poses.score)
        return Poses(xy, score, wanted.boxes, wanted.score, self.skeleton)
