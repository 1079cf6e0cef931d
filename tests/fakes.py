"""Stages without networks and pictures without cameras, for tests of what happens around them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from posepipe.skeleton import COCO17, Skeleton
from posepipe.types import Detections, Frame, Poses, Tracks

HEIGHT, WIDTH = 48, 64


def picture(number: int, people: int = 1) -> NDArray[np.uint8]:
    """A picture in which ``people`` bright squares stand, moved right by ``number`` px; pixel (0,0) says how many."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[0, 0] = people
    image[0, 1] = number % 256
    return image


def pictures(count: int, people: int = 1) -> list[NDArray[np.uint8]]:
    return [picture(i, people) for i in range(count)]


class SquareDetector:
    """Finds as many people as pixel (0,0) says, side by side, moving right by pixel (0,1) tenths of a px."""

    def __init__(self) -> None:
        self.looked: list[int] = []

    def detect(self, frame: Frame) -> Detections:
        self.looked.append(frame.index)
        count, shift = int(frame.image[0, 0, 0]), int(frame.image[0, 1, 0]) / 10
        left = np.arange(count) * 12.0 + shift
        boxes = np.stack([left, np.full(count, 4.0), left + 10, np.full(count, 44.0)], axis=1)
        return Detections(boxes, np.linspace(0.9, 0.5, count) if count else np.zeros(0))


class GridPose:
    """Spreads the keypoints over the box; remembers how many frames came in each call."""

    skeleton: Skeleton = COCO17

    def __init__(self, score: float = 0.8) -> None:
        self.score = score
        self.calls: list[int] = []

    def estimate(self, frames: Sequence[Frame], detections: Sequence[Detections]) -> list[Poses]:
        self.calls.append(len(frames))
        return [self._pose(found) for found in detections]

    def _pose(self, found: Detections) -> Poses:
        across = np.linspace(0.1, 0.9, len(self.skeleton))
        size = found.boxes[:, 2:] - found.boxes[:, :2]
        xy = found.boxes[:, None, :2] + across[None, :, None] * size[:, None] + 1 / 3
        score = np.full(xy.shape[:2], self.score)
        return Poses(xy, score, found.boxes, found.score, self.skeleton)


class CountingTracker:
    """Every row of a frame keeps its place as its id; age counts the updates, so that replay and order show."""

    def __init__(self) -> None:
        self.updates = 0
        self.seen: list[Poses] = []

    def update(self, poses: Poses, image: NDArray[np.uint8] | None = None) -> Tracks:
        self.updates += 1
        self.seen.append(poses)
        count = len(poses)
        ids = np.arange(1, count + 1)
        return Tracks(poses, poses.boxes, ids, np.ones(count, bool), np.full(count, self.updates))

    def reset(self) -> None:
        self.updates = 0
        self.seen.clear()
