"""Labelled people of pictures or video frames in one form, whatever file they came out of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from posepipe.skeleton import Skeleton

__all__ = ["AREA_SHARE", "KeypointSet", "area_of", "concatenate"]

#: share of its box that a person's segment covers on average (COCO), used where no segment was drawn
AREA_SHARE = 0.53

_SHAPES: dict[str, tuple[type[np.generic], str]] = {
    "sizes": (np.int32, "I2"),
    "frames": (np.int64, "I"),
    "image": (np.int64, "P"),
    "boxes": (np.float32, "P4"),
    "xy": (np.float32, "PK2"),
    "visibility": (np.int8, "PK"),
    "score": (np.float32, "PK"),
    "person_score": (np.float32, "P"),
    "area": (np.float32, "P"),
    "area_known": (np.bool_, "P"),
    "iscrowd": (np.bool_, "P"),
    "track_id": (np.int64, "P"),
}


@dataclass(frozen=True, eq=False)
class KeypointSet:
    """Labelled people of a set of pictures or video frames, one row a person.

    Letters: I pictures, P people, K keypoints. Arrays become read-only.

    Attributes
    ----------
    name
        What the set is called in tables.
    skeleton
        Names and order of the K keypoints.
    images
        I file names relative to ``root``, each once; of frames of videos ``VIDEO/000123.jpg``.
    sizes
        (I,2) int32 width and height, px; 0 where unknown.
    videos
        I names of the video (the group) that an image belongs to; "" for a still picture.
    frames
        (I,) int64 frame number in the video, from 0; -1 for a still picture.
    image
        (P,) int64 row of ``images``.
    boxes
        (P,4) float32 xyxy px, half-open.
    xy
        (P,K,2) float32 px; 0 where not labelled.
    visibility
        (P,K) int8: 0 not labelled, 1 labelled but hidden, 2 labelled and seen.
    score
        (P,K) float32 confidence in [0,1]; 1 for labels by people, 0 where not labelled.
    person_score
        (P,) float32 as the label file gives it (AlphaPose: up to 3.25); 1 where it gives none.
    area, area_known
        (P,) float32 segment area, px^2, and (P,) bool whether it was measured; else `AREA_SHARE` of the box.
    iscrowd
        (P,) bool: the row is a crowd, not a person.
    track_id
        (P,) int64; -1 where unknown.
    root
        Folder of the pictures; None where they are not at hand.

    Raises
    ------
    ValueError
        A field has another shape, holds NaN, or contradicts another one.
    """

    name: str
    skeleton: Skeleton
    images: tuple[str, ...]
    sizes: NDArray[np.int32]
    videos: tuple[str, ...]
    frames: NDArray[np.int64]
    image: NDArray[np.int64]
    boxes: NDArray[np.float32]
    xy: NDArray[np.float32]
    visibility: NDArray[np.int8]
    score: NDArray[np.float32]
    person_score: NDArray[np.float32]
    area: NDArray[np.float32]
    area_known: NDArray[np.bool_]
    iscrowd: NDArray[np.bool_]
    track_id: NDArray[np.int64]
    root: Path | None = None

    def __post_init__(self) -> None:
        lengths = {"I": len(self.images), "P": len(self.image), "K": len(self.skeleton), "2": 2, "4": 4}
        for name, (dtype, letters) in _SHAPES.items():
            self._fix(name, dtype, tuple(lengths[letter] for letter in letters))
        if len(self.videos) != len(self.images):
            raise ValueError(f"set {self.name!r}: {len(self.images)} images but {len(self.videos)} videos")
        if len(set(self.images)) != len(self.images):
            twice = Counter(self.images).most_common(1)[0][0]
            raise ValueError(f"set {self.name!r} names the image {twice!r} twice")
        if len(self) and not (self.image.min() >= 0 and self.image.max() < len(self.images)):
            raise ValueError(f"set {self.name!r}: KeypointSet.image points outside its {len(self.images)} images")
        if ((self.visibility < 0) | (self.visibility > 2)).any():
            raise ValueError(f"set {self.name!r}: visibility is 0, 1 or 2; confidences belong in the score")
        if ((self.score < 0) | (self.score > 1)).any():
            raise ValueError(f"set {self.name!r}: joint scores lie in [0,1]; larger ones are person scores")
        unlabelled = self.visibility == 0
        if self.xy[unlabelled].any() or self.score[unlabelled].any():
            raise ValueError(f"set {self.name!r}: joints that are not labelled have xy 0 and score 0")

    def _fix(self, name: str, dtype: type[np.generic], shape: tuple[int, ...]) -> None:
        given = getattr(self, name)
        array = np.ascontiguousarray(given)
        # Safe to cast only while nothing is lost: visibility 0.87 must not become 0 in silence.
        if np.issubdtype(dtype, np.integer) and array.size and (array.astype(dtype) != array).any():
            raise ValueError(f"set {self.name!r}: KeypointSet.{name} holds values that are not {dtype.__name__}")
        with np.errstate(over="ignore"):  # what overflows becomes infinite, and is refused below
            cast = array.astype(dtype, copy=array is given and array.flags.writeable)
        if cast.shape != shape:
            raise ValueError(f"set {self.name!r}: KeypointSet.{name} has shape {cast.shape}, expected {shape}")
        if np.issubdtype(dtype, np.floating) and not np.isfinite(cast).all():
            raise ValueError(f"set {self.name!r}: KeypointSet.{name} holds NaN or infinity")
        cast.setflags(write=False)
        object.__setattr__(self, name, cast)

    def __len__(self) -> int:
        return len(self.image)

    @cached_property
    def labelled(self) -> NDArray[np.int64]:
        """(P,) int64: labelled keypoints of each person (COCO's ``num_keypoints``)."""
        return np.asarray((self.visibility > 0).sum(1), np.int64)

    def video_names(self) -> tuple[str, ...]:
        """The videos, each once, in order of appearance; without the still pictures' ""."""
        return tuple(dict.fromkeys(v for v in self.videos if v))

    def path(self, row: int) -> Path | None:
        """Where the picture of a row of ``images`` lies; None where the pictures are not at hand."""
        return None if self.root is None else self.root / self.images[row]

    def select(self, people: ArrayLike) -> KeypointSet:
        """Some of the people, by a (P,) bool mask or by rows; all images stay."""
        rows = np.asarray(people)
        rows = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows.astype(np.int64)
        return replace(self, **{n: getattr(self, n)[rows] for n, (_, s) in _SHAPES.items() if s[0] == "P"})

    def of_images(self, rows: ArrayLike) -> KeypointSet:
        """Some of the images, by a (I,) bool mask or by rows, and the people in them."""
        keep = np.asarray(rows)
        keep = np.flatnonzero(keep) if keep.dtype == np.bool_ else np.unique(keep.astype(np.int64))
        place = np.full(len(self.images), -1, np.int64)
        place[keep] = np.arange(len(keep))
        people = np.flatnonzero(place[self.image] >= 0)
        columns = {n: getattr(self, n)[people] for n, (_, s) in _SHAPES.items() if s[0] == "P"}
        columns["image"] = place[columns["image"]]
        names, videos = (tuple(column[i] for i in keep) for column in (self.images, self.videos))
        return replace(self, images=names, videos=videos, sizes=self.sizes[keep], frames=self.frames[keep], **columns)

    def of_videos(self, names: Iterable[str]) -> KeypointSet:
        """The images of some videos and the people in them."""
        wanted = set(names)
        return self.of_images(np.array([video in wanted for video in self.videos], bool))


def area_of(boxes: NDArray[np.floating]) -> NDArray[np.float32]:
    """Segment areas to be expected of (P,4) xyxy boxes: `AREA_SHARE` of the box, (P,) float32 px^2."""
    span = np.clip(np.asarray(boxes, np.float64)[:, 2:] - np.asarray(boxes, np.float64)[:, :2], 0, None)
    return np.asarray(AREA_SHARE * span.prod(1), np.float32)


def concatenate(sets: Sequence[KeypointSet], name: str, root: Path | None = None) -> KeypointSet:
    """Sets of one skeleton as one set. Raises ``ValueError`` where skeletons differ or an image stands in two."""
    if not sets or any(s.skeleton != sets[0].skeleton for s in sets):
        raise ValueError(f"only sets of one skeleton can be joined, got {[s.skeleton.name for s in sets]}")
    columns = {n: np.concatenate([getattr(s, n) for s in sets]) for n in _SHAPES}
    starts = np.cumsum([0, *(len(s.images) for s in sets)])
    columns["image"] = np.concatenate([s.image + start for s, start in zip(sets, starts[:-1], strict=True)])
    images = tuple(image for s in sets for image in s.images)
    videos = tuple(video for s in sets for video in s.videos)
    return KeypointSet(name=name, skeleton=sets[0].skeleton, images=images, videos=videos, root=root, **columns)
