"""The stages of the pipeline: anything that has these methods can stand in for one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from posepipe.skeleton import Skeleton
from posepipe.streams.spans import SpanRules
from posepipe.types import Action, Detections, Frame, Poses, PoseStream, Tracks

__all__ = ["ActionRecogniser", "Detector", "PoseEstimator", "Tracker", "WindowRecogniser"]


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


@runtime_checkable
class ActionRecogniser(Protocol):
    """Says what a person did, once all of it is there: for networks that look at the whole of a long stream."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the A actions, in the order of ``Action.probs``."""
        ...

    def recognise(self, stream: PoseStream) -> list[Action]:
        """Spans of one person's actions in order of time; empty where nothing is known.

        ``Action.start`` and ``end`` are frames of the video (``stream.frame_index``), half-open; ``start_s`` and
        ``end_s`` seconds (``stream.pts``).
        """
        ...


@runtime_checkable
class WindowRecogniser(ActionRecogniser, Protocol):
    """Says what a person does in a window of a few seconds, so that actions come while the video runs."""

    @property
    def samples(self) -> int:
        """T, samples of a window."""
        ...

    @property
    def rate(self) -> float:
        """Samples a second."""
        ...

    @property
    def step(self) -> int:
        """Samples between the ends of two windows."""
        ...

    @property
    def rules(self) -> SpanRules:
        """How spans are made of what was said of windows."""
        ...

    def classify(self, windows: Sequence[PoseStream]) -> NDArray[np.float32]:
        """(N,A) probabilities for windows of T rows each, N at least 1; a row of zeros where nothing can be said.

        Rows of a window lie ``1 / rate`` seconds apart; one in which the person was not seen has scores of 0.
        """
        ...
