"""The stages of the pipeline: anything that has these methods can stand in for one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from posepipe.skeleton import Skeleton
from posepipe.types import Detections, Frame, Poses, Tracks

__all__ = ["Detector", "PoseEstimator", "Tracker"]


@runtime_checkable
class Detector(Protocol):
    """Finds people."""

    def detect(self, frame: Frame) -> Detections:
        """People of one frame, best score first; empty where there are none."""
        ...


@runtime_checkable
class PoseEstimator(Protocol):
    """Reads keypoints of detected people."""

    @property
    def skeleton(self) -> Skeleton:
        """The keypoints it gives."""
        ...

    def estimate(self, frames: Sequence[Frame], detections: Sequence[Detections]) -> list[Poses]:
        """Poses of the people of each frame, row for row with their detections; empty in, empty out.

        Several frames may come in one call, so that crops can be batched across them; results must not depend on
        how frames are grouped.
        """
        ...


@runtime_checkable
class Tracker(Protocol):
    """Gives people ids that last."""

    def update(self, poses: Poses, image: NDArray[np.uint8] | None = None) -> Tracks:
        """Take the next frame's poses (empty ones too) and return them, row for row, with ids.

        ``image`` (H,W,3) uint8 RGB is for trackers that look at pixels; others ignore it.
        """
        ...

    def reset(self) -> None:
        """Forget everything; ids start again at 1."""
        ...
