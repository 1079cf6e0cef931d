"""On which frames the detector runs, and where people are looked for on the others.

Between detections the boxes come from the poses of the people who were followed. Everything here follows from the
pictures and the results of the frames before, so a resumed run, which replays both, decides as the first one did.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from posepipe.config import Config
from posepipe.geometry import iou, nms
from posepipe.types import Detections, Frame, Poses, Tracks

__all__ = ["Anchor", "EveryNth", "OnePerson", "Schedule", "WhenNeeded", "carried_boxes", "make_schedule", "still_there"]

# A keypoint counts from this score on, whatever is drawn; a person whose box was carried, not detected, is dropped when
# fewer of the keypoints than this share count.
_CARRY_SCORE, _CARRY_FOUND = 0.3, 0.25
_CARRY_OVERLAP = 0.8
_CARRY_GROWTH = 0.1
# Fewest keypoints that tell how a body has changed since it was detected, and by how much it may have grown.
_CARRY_KNOWN, _CARRY_SCALE = 4, 2.0


class Anchor(NamedTuple):
    """A person as last detected: box (4,) px, keypoints (K,2) px, which of them were found (K,), their mean score."""

    box: NDArray[np.float32]
    xy: NDArray[np.float32]
    good: NDArray[np.bool_]
    score: float


def still_there(poses: Poses) -> NDArray[np.bool_]:
    """(N,) bool: enough keypoints of the person are found for their box to be carried."""
    return np.asarray((poses.score >= _CARRY_SCORE).mean(1) >= _CARRY_FOUND)


def carried_boxes(
    last: Tracks, before: Tracks, size: tuple[int, int], anchors: Mapping[int, Anchor] | None = None
) -> Detections:
    """Where to look for the people of one frame in the next, when no detector runs on it.

    The sides of a box keep the distances from the keypoints that they had when the person was detected, in proportion
    to the body, and move as the keypoints did from the frame before to this one (median). The box grows, by a tenth of
    its size at most, where keypoints have left it (arms that are spread). Keypoints that were hidden on either of the
    two frames do not count: a body of which less is seen is no smaller. People with too few found keypoints are not
    carried.

    Parameters
    ----------
    last, before
        The people of the latest two frames that were worked on.
    size
        (height, width) of the picture in px.
    anchors
        People as they were last detected, by id; for others their own box in ``last`` stands in.

    Returns
    -------
    At most as many boxes as people in ``last``, in their order; one for people whose boxes nearly coincide.
    """
    poses, ids = last.poses, last.track_id.tolist()
    good = poses.score >= _CARRY_SCORE
    step = np.zeros((len(poses), 2), np.float32)
    boxes = np.array(poses.boxes)
    rows = {int(track): row for row, track in enumerate(before.track_id)}
    for row, track in enumerate(ids):
        if track in rows:
            earlier = rows[track]
            both = good[row] & (before.poses.score[earlier] >= _CARRY_SCORE)
            if both.any():
                step[row] = np.median(poses.xy[row][both] - before.poses.xy[earlier][both], axis=0)
        if anchors is not None and track in anchors:
            boxes[row] = _reframed(anchors[track], poses.xy[row], good[row], boxes[row])
    low, high = boxes[:, :2] + step, boxes[:, 2:] + step
    xy, room = poses.xy + step[:, None], _CARRY_GROWTH * (high - low)
    least = np.maximum(np.where(good[..., None], xy, np.inf).min(1), low - room)
    most = np.minimum(np.where(good[..., None], xy, -np.inf).max(1), high + room)
    boxes = np.concatenate([np.minimum(low, least), np.maximum(high, most)], axis=1)
    height, width = size
    boxes = np.clip(boxes, 0, np.array([width, height, width, height], np.float32))
    keep = still_there(poses) & (boxes[:, 2:] - boxes[:, :2] >= 1).all(1)
    boxes, score = boxes[keep], poses.box_score[keep]
    order = np.sort(nms(boxes, score, _CARRY_OVERLAP))
    return Detections(boxes[order], score[order])


def _reframed(
    anchor: Anchor, xy: NDArray[np.float32], good: NDArray[np.bool_], box: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The box (4,) that lies about the keypoints as the detected one did; ``box`` where too little is known."""
    both = anchor.good & good
    if both.sum() < _CARRY_KNOWN:
        return box
    then, now = anchor.xy[both], xy[both]
    spread = np.sqrt(((then - then.mean(0)) ** 2).sum())
    scale = np.sqrt(((now - now.mean(0)) ** 2).sum()) / spread if spread > 0 else 1.0
    scale = np.float32(np.clip(scale, 1 / _CARRY_SCALE, _CARRY_SCALE))
    low = now.min(0) - scale * (then.min(0) - anchor.box[:2])
    high = now.max(0) + scale * (anchor.box[2:] - then.max(0))
    return np.concatenate([low, high]) if (high - low >= 1).all() else box


class Schedule(ABC):
    """Decides frame by frame; knows the people of the latest two frames that were worked on.

    For every frame that is worked on :meth:`due` is asked once and :meth:`note` told once, in turn, whether the frame
    is new or replayed from records.
    """

    #: Whether what is decided depends on the results of the frames before: then frames are worked on one by one.
    looks_back = True

    def __init__(self) -> None:
        self.detected = True
        self.forget()

    def forget(self) -> None:
        """Another shot begins: nobody is where somebody was."""
        self.last = self.before = Tracks.empty()
        self.anchors: dict[int, Anchor] = {}

    def due(self, frame: Frame) -> bool:
        """Whether the detector runs on the next frame."""
        self.detected = self._due(frame)
        return self.detected

    @abstractmethod
    def _due(self, frame: Frame) -> bool:
        """As :meth:`due`."""

    def choose(self, found: Detections, frame: Frame) -> Detections:
        """Those of the people who were detected that are of interest."""
        return found

    def boxes(self, frame: Frame) -> Detections:
        """Where people are looked for on a frame without detection."""
        height, width = frame.image.shape[:2]
        return carried_boxes(self.last, self.before, (height, width), self.anchors)

    def note(self, tracks: Tracks) -> None:
        """Take the people of a frame, as records hold them."""
        self.before, self.last = self.last, tracks
        poses, ids = tracks.poses, tracks.track_id.tolist()
        self.anchors = {} if self.detected else {i: a for i, a in self.anchors.items() if i in ids}
        for row, track in enumerate(ids):
            if track not in self.anchors:
                score = float(poses.score[row].mean())
                good = poses.score[row] >= _CARRY_SCORE
                self.anchors[track] = Anchor(poses.boxes[row], poses.xy[row], good, score)

    def faded(self, share: float) -> bool:
        """Whether the keypoints of somebody score less than this share of what they did when last detected."""
        poses = self.last.poses
        return any(
            poses.score[row].mean() < share * self.anchors[track].score
            for row, track in enumerate(self.last.track_id.tolist())
        )


class EveryNth(Schedule):
    """Every n-th frame."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.looks_back = self.stride > 1
        self._seen = 0
        self._fresh = False

    def forget(self) -> None:
        """As :meth:`Schedule.forget`; the next frame is detected whatever its number."""
        super().forget()
        self._fresh = True

    def _due(self, frame: Frame) -> bool:
        due = self._seen % self.stride == 0 or self._fresh
        self._seen, self._fresh = self._seen + 1, False
        return due


class WhenNeeded(Schedule):
    """When somebody is lost or unsure, two people meet, something moves where nobody is, or it has been long.

    A frame is compared, as a grey thumbnail, with the last one that was detected, outside the people's boxes. What
    moved and turned out to be nobody is left out of account until the next detection for the sake of time, so a
    flickering screen costs one detection and not all. Where most of the picture changes the camera moves, and only
    time counts.
    """

    #: Frames without detection at most, and at most while the camera moves.
    AT_MOST, MOVING = 15, 5
    _CELLS = 64
    _CHANGE, _FEWEST, _CAMERA = 12.0, 4, 0.4
    _MEET, _FADED, _MARGIN = 0.3, 0.75, 0.15

    def forget(self) -> None:
        """As :meth:`Schedule.forget`; the next frame is detected."""
        super().forget()
        self._wait = 0
        self._lost = True
        self._met: set[tuple[int, int]] = set()
        self._seen = self._reference = np.zeros((0, 0), np.float32)
        self._places = np.zeros((0, 4), np.float32)
        self._moved = self._vain = np.zeros((0, 0), bool)
        self._size = (1, 1)

    def _due(self, frame: Frame) -> bool:
        self._seen, self._size = _thumbnail(frame.image, self._CELLS), frame.image.shape[:2]
        self._moved = np.zeros(self._seen.shape, bool)
        if self._reference.shape != self._seen.shape:
            self._lost = True
        if self._lost or self._wait + 1 >= self.AT_MOST or self.faded(self._FADED) or self._meeting() - self._met:
            return True
        changed = np.abs(self._seen - self._reference - np.median(self._seen - self._reference)) > self._CHANGE
        if changed.mean() > self._CAMERA:
            return self._wait + 1 >= self.MOVING
        changed &= ~self._covered(np.concatenate([self._places, self.last.poses.boxes])) & ~self._vain
        if changed.sum() < self._FEWEST:
            return False
        self._moved = changed
        return True

    def note(self, tracks: Tracks) -> None:
        """As :meth:`Schedule.note`; also what the detection was good for."""
        gone = set(self.last.track_id.tolist()) - set(tracks.track_id.tolist())
        super().note(tracks)
        self._wait = 0 if self.detected else self._wait + 1
        self._lost = bool(gone) and not self.detected
        if self.detected:
            held = self._vain if self._moved.any() else np.zeros(self._seen.shape, bool)
            self._vain = held | (self._moved & ~self._covered(tracks.poses.boxes))
            self._reference, self._places, self._met = self._seen, tracks.poses.boxes, self._meeting()

    def _meeting(self) -> set[tuple[int, int]]:
        """Pairs of ids whose boxes overlap."""
        ids, overlap = self.last.track_id, iou(self.last.poses.boxes, self.last.poses.boxes)
        pairs = np.argwhere(np.triu(overlap, 1) > self._MEET)
        return {(min(a, b), max(a, b)) for a, b in ids[pairs].tolist()}

    def _covered(self, boxes: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Cells of the thumbnail that boxes (N,4), widened a little, touch."""
        covered = np.zeros(self._seen.shape, bool)
        rows, columns = covered.shape
        cell = np.array([self._size[1] / columns, self._size[0] / rows])
        grow = self._MARGIN * (boxes[:, 2:] - boxes[:, :2])
        low = np.clip(np.floor((boxes[:, :2] - grow) / cell), 0, [columns, rows]).astype(int)
        high = np.clip(np.ceil((boxes[:, 2:] + grow) / cell), 0, [columns, rows]).astype(int)
        for (left, top), (right, bottom) in zip(low.tolist(), high.tolist(), strict=True):
            covered[top:bottom, left:right] = True
        return covered


class OnePerson(Schedule):
    """One person, detected at first and whenever their pose is lost: the largest and most central, or the one lost."""

    #: Frames in a row with keypoints that score less than this share of those at the detection: the pose is lost.
    _FRAMES, _FADED = 5, 0.6

    def forget(self) -> None:
        """As :meth:`Schedule.forget`: whoever is there in the new shot is somebody else."""
        super().forget()
        self._place: NDArray[np.float32] | None = None
        self._weak = 0

    def _due(self, frame: Frame) -> bool:
        return len(self.last) == 0 or self._weak >= self._FRAMES

    def choose(self, found: Detections, frame: Frame) -> Detections:
        """The one person to follow, or nobody."""
        if len(found) == 0:
            return found
        height, width = frame.image.shape[:2]
        size = np.clip(found.boxes[:, 2:] - found.boxes[:, :2], 0, None)
        off = (found.boxes[:, :2] + found.boxes[:, 2:]) / (width, height) - 1
        rank = found.score * np.sqrt(size.prod(1)) * (1 - np.hypot(*off.T) / 2)
        if self._place is not None:
            near = iou(found.boxes, self._place[None])[:, 0]
            rank = near if near.any() else rank
        best = int(np.argmax(rank))
        return found[best : best + 1]

    def note(self, tracks: Tracks) -> None:
        """As :meth:`Schedule.note`; also where they are and how sure."""
        super().note(tracks)
        self._weak = self._weak + 1 if not self.detected and self.faded(self._FADED) else 0
        if len(tracks):
            self._place = tracks.poses.boxes[0]


def _thumbnail(image: NDArray[np.uint8], cells: int) -> NDArray[np.float32]:
    """The picture in grey, (h,w) float32 0..255, ``cells`` wide; of large pictures only some pixels are read."""
    height, width = image.shape[:2]
    step = max(1, width // (4 * cells))
    sparse = np.ascontiguousarray(image[::step, ::step])
    rows = max(1, round(cells * height / width))
    small = np.asarray(cv2.resize(sparse, (cells, rows), interpolation=cv2.INTER_AREA), np.float32)
    return np.asarray(small.mean(-1))


def make_schedule(config: Config) -> Schedule:
    """The schedule that the settings ask for."""
    if config.single_person:
        return OnePerson()
    return WhenNeeded() if config.detector_stride == 0 else EveryNth(config.detector_stride)
