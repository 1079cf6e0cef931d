"""The values that flow through the pipeline: frozen, checked on construction, with read-only arrays.

Letters are fixed: N persons, K keypoints, T frames, A actions; H, W image, h, w map. A missing keypoint has score 0 and
finite coordinates, never NaN. Empty values have the same fields and dtypes as full ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posepipe.skeleton import COCO17, Skeleton

__all__ = [
    "Action",
    "Clip",
    "Detections",
    "Frame",
    "FrameResult",
    "HeatmapVolume",
    "PoseStream",
    "Poses",
    "Refinement",
    "Tracks",
]


def _fix(owner: object, name: str, dtype: type[np.generic], *shape: int | str) -> None:
    """Cast a field to ``dtype``, check its shape and finiteness, and make it read-only.

    Letters in ``shape`` are free sizes; a letter that occurs twice is not tied here.
    """
    value = np.ascontiguousarray(getattr(owner, name))
    cast = value.astype(dtype, copy=value is getattr(owner, name))
    fits = cast.ndim == len(shape) and all(isinstance(s, str) or s == n for s, n in zip(shape, cast.shape, strict=True))
    if not fits:
        want = "(" + ",".join(map(str, shape)) + ")"
        raise ValueError(f"{type(owner).__name__}.{name} has shape {cast.shape}, expected {want}")
    if np.issubdtype(cast.dtype, np.floating) and not np.isfinite(cast).all():
        raise ValueError(f"{type(owner).__name__}.{name} holds NaN or infinity; drop or repair such values first")
    cast.setflags(write=False)
    object.__setattr__(owner, name, cast)


def _same_length(owner: object, *names: str) -> None:
    sizes = {n: len(getattr(owner, n)) for n in names}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"{type(owner).__name__}: fields differ in length: {sizes}")


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One decoded picture.

    Attributes
    ----------
    index
        Position in decoding order, from 0.
    pts
        Presentation time in seconds, the container's own; never ``index / fps``.
    image
        (H,W,3) uint8 RGB, upright (the container's rotation already applied).
    """

    index: int
    pts: float
    image: NDArray[np.uint8]

    def __post_init__(self) -> None:
        if not isinstance(self.image, np.ndarray):
            raise ValueError(f"a frame is an RGB uint8 array (H,W,3), got {type(self.image).__name__}")
        if self.image.dtype != np.uint8 or self.image.ndim != 3 or self.image.shape[2] != 3 or 0 in self.image.shape:
            raise ValueError(
                f"a frame is an RGB uint8 array (H,W,3), got {self.image.dtype} {self.image.shape}; "
                "grey pictures need np.repeat(image[..., None], 3, axis=2)"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """People found in a frame: ``boxes`` (N,4) float32 xyxy px half-open, ``score`` (N,) float32 in [0,1]."""

    boxes: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    score: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    def __post_init__(self) -> None:
        _fix(self, "boxes", np.float32, "N", 4)
        _fix(self, "score", np.float32, "N")
        _same_length(self, "boxes", "score")

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, pick: Any) -> Detections:
        """Rows by index array, mask or slice."""
        return Detections(self.boxes[pick], self.score[pick])


@dataclass(frozen=True, slots=True, eq=False)
class Poses:
    """Keypoints of N people in one frame.

    Attributes
    ----------
    xy
        (N,K,2) float32 px.
    score
        (N,K) float32, 0 = missing.
    boxes, box_score
        (N,4) float32 xyxy px and (N,) float32: the detections that the poses were read from.
    skeleton
        Names and order of the K keypoints.
    """

    xy: NDArray[np.float32]
    score: NDArray[np.float32]
    boxes: NDArray[np.float32]
    box_score: NDArray[np.float32]
    skeleton: Skeleton = COCO17

    def __post_init__(self) -> None:
        joints = len(self.skeleton)
        _fix(self, "xy", np.float32, "N", joints, 2)
        _fix(self, "score", np.float32, "N", joints)
        _fix(self, "boxes", np.float32, "N", 4)
        _fix(self, "box_score", np.float32, "N")
        _same_length(self, "xy", "score", "boxes", "box_score")

    def __len__(self) -> int:
        return len(self.xy)

    def __getitem__(self, pick: Any) -> Poses:
        """Rows by index array, mask or slice."""
        return Poses(self.xy[pick], self.score[pick], self.boxes[pick], self.box_score[pick], self.skeleton)

    @classmethod
    def empty(cls, skeleton: Skeleton = COCO17) -> Poses:
        """Nobody."""
        return cls.unseen(Detections(), skeleton)

    @classmethod
    def unseen(cls, detections: Detections, skeleton: Skeleton = COCO17) -> Poses:
        """Boxes whose keypoints are all missing: score 0, placed at the box centre."""
        centre = detections.boxes.reshape(-1, 2, 2).mean(1, dtype=np.float32)
        xy = np.repeat(centre[:, None], len(skeleton), axis=1)
        score = np.zeros(xy.shape[:2], np.float32)
        return cls(xy, score, detections.boxes, detections.score, skeleton)


@dataclass(frozen=True, slots=True, eq=False)
class Refinement:
    """What a second pass over a finished run knows of the N people of one frame.

    Attributes
    ----------
    raw_id, raw_confirmed
        (N,) int64 and (N,) bool: what the tracker itself said; id 0 where the row was filled in.
    id_confidence
        (N,) float32 in [0,1]: how likely the row shows the person that most rows of its final id show.
    seen
        (N,) bool: observed; False where box and pose were filled in.
    """

    raw_id: NDArray[np.int64]
    raw_confirmed: NDArray[np.bool_]
    id_confidence: NDArray[np.float32]
    seen: NDArray[np.bool_]

    def __post_init__(self) -> None:
        _fix(self, "raw_id", np.int64, "N")
        _fix(self, "raw_confirmed", np.bool_, "N")
        _fix(self, "id_confidence", np.float32, "N")
        _fix(self, "seen", np.bool_, "N")
        _same_length(self, "raw_id", "raw_confirmed", "id_confidence", "seen")


@dataclass(frozen=True, slots=True, eq=False)
class Tracks:
    """The people of one frame and who they are: every pose that was handed to the tracker, each with an id.

    Attributes
    ----------
    poses
        The poses, unchanged; ``poses.boxes`` are the boxes they were read from.
    boxes
        (N,4) float32 xyxy px: the tracker's own estimate of the boxes.
    track_id
        (N,) int64, unique in the frame and never reused in a run; counts from 1.
    confirmed
        (N,) bool: the track is past its probation; only such people are exported and drawn.
    age
        (N,) int32 frames since the track was created.
    refinement
        What a second pass knows of them; None before there was one. The fields above then hold its final say.
    """

    poses: Poses
    boxes: NDArray[np.float32]
    track_id: NDArray[np.int64]
    confirmed: NDArray[np.bool_]
    age: NDArray[np.int32]
    refinement: Refinement | None = None

    def __post_init__(self) -> None:
        _fix(self, "boxes", np.float32, "N", 4)
        _fix(self, "track_id", np.int64, "N")
        _fix(self, "confirmed", np.bool_, "N")
        _fix(self, "age", np.int32, "N")
        _same_length(self, "poses", "boxes", "track_id", "confirmed", "age")
        if len(np.unique(self.track_id)) != len(self.track_id):
            raise ValueError(f"Tracks.track_id repeats an id in one frame: {self.track_id.tolist()}")
        if self.refinement is not None and len(self.refinement.raw_id) != len(self.track_id):
            raise ValueError(f"Tracks.refinement has {len(self.refinement.raw_id)} rows for {len(self.track_id)}")

    @property
    def seen(self) -> NDArray[np.bool_]:
        """(N,) bool: observed, not filled in by a second pass."""
        return np.ones(len(self), bool) if self.refinement is None else self.refinement.seen

    def __len__(self) -> int:
        return len(self.track_id)

    @classmethod
    def empty(cls, skeleton: Skeleton = COCO17) -> Tracks:
        """Nobody."""
        nobody = Poses.empty(skeleton)
        return cls(nobody, nobody.boxes, np.zeros(0, np.int64), np.zeros(0, bool), np.zeros(0, np.int32))


@dataclass(frozen=True, slots=True, eq=False)
class PoseStream:
    """One person over time.

    Attributes
    ----------
    track_id
        The person.
    frame_index, pts
        (T,) int64 and (T,) float64 seconds, both strictly increasing; frames without the person may be absent.
    xy, score, boxes
        (T,K,2) float32 px, (T,K) float32, (T,4) float32 xyxy px.
    seen
        (T,) bool: observed, not filled in.
    skeleton
        Names and order of the K keypoints.
    """

    track_id: int
    frame_index: NDArray[np.int64]
    pts: NDArray[np.float64]
    xy: NDArray[np.float32]
    score: NDArray[np.float32]
    boxes: NDArray[np.float32]
    seen: NDArray[np.bool_]
    skeleton: Skeleton = COCO17

    def __post_init__(self) -> None:
        joints = len(self.skeleton)
        _fix(self, "frame_index", np.int64, "T")
        _fix(self, "pts", np.float64, "T")
        _fix(self, "xy", np.float32, "T", joints, 2)
        _fix(self, "score", np.float32, "T", joints)
        _fix(self, "boxes", np.float32, "T", 4)
        _fix(self, "seen", np.bool_, "T")
        _same_length(self, "frame_index", "pts", "xy", "score", "boxes", "seen")
        for name in ("frame_index", "pts"):
            if (np.diff(getattr(self, name)) <= 0).any():
                raise ValueError(f"PoseStream.{name} of track {self.track_id} is not strictly increasing")

    def __len__(self) -> int:
        return len(self.frame_index)


@dataclass(frozen=True, slots=True, eq=False)
class HeatmapVolume:
    """Maps of T frames: ``data`` (K,T,h,w) float32 in [0,1]; ``crop`` (4,) xyxy px; ``stride`` px a cell."""

    data: NDArray[np.float32]
    crop: NDArray[np.float32]
    stride: float

    def __post_init__(self) -> None:
        _fix(self, "data", np.float32, "K", "T", "h", "w")
        _fix(self, "crop", np.float32, 4)


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """What an action model sees of one person: ``rgb`` (3,T,H,W) uint8, its ``heatmap`` and its ``stream``."""

    rgb: NDArray[np.uint8]
    heatmap: HeatmapVolume
    stream: PoseStream

    def __post_init__(self) -> None:
        _fix(self, "rgb", np.uint8, 3, "T", "H", "W")


@dataclass(frozen=True, slots=True, eq=False)
class Action:
    """What a person did from ``start`` to ``end`` (frames, half-open; ``start_s``, ``end_s`` seconds).

    ``probs`` (A,) float32 are the class probabilities that led to ``label`` (``label_id`` in the model's label list).
    """

    track_id: int
    label: str
    label_id: int
    probs: NDArray[np.float32]
    start: int
    end: int
    start_s: float
    end_s: float

    def __post_init__(self) -> None:
        _fix(self, "probs", np.float32, "A")
        if self.end < self.start or self.end_s < self.start_s:
            raise ValueError(f"Action {self.label!r} ends before it starts: {self.start}..{self.end}")


@dataclass(frozen=True, slots=True, eq=False)
class FrameResult:
    """Everything that is known of one frame, without its pixels: what ``Pipeline.process`` yields and records store.

    ``skipped`` marks a frame that was not looked at (``stride``): its lack of people means nothing. ``cut`` marks one
    with which a new shot begins: nobody's id goes on from before it.
    """

    frame_index: int
    pts: float
    tracks: Tracks
    actions: tuple[Action, ...] = ()
    skipped: bool = False
    cut: bool = False
