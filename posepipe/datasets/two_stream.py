"""Samples of the two streams: frames of three segments of a video, or stacks of consecutive flow fields.

Which frames are taken, and how views are made of them, is that of the ResNet two-stream baseline on UCF101
(jeffreyyihuang/two-stream-action-recognition), counted from 0 here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from posepipe.datasets.flow import FlowStore
from posepipe.datasets.video_frames import FrameStore
from posepipe.datasets.video_lists import LabelledVideo

__all__ = ["StreamSamples", "TestSamples", "Views", "segment_starts", "spaced_starts"]

#: frames at the end of a video at which no stack of ten fields starts
_TAIL = 9
_NO_MOTION = 255

Image = NDArray[np.uint8]


def segment_starts(frames: int, segments: int, rng: np.random.Generator) -> list[int]:
    """One random frame of each of the equal parts of a video (Wang et al. 2016, Temporal Segment Networks).

    Of n = frames - 9 frames, counted from 1, part i is drawn from i n / S to (i + 1) n / S, both included and rounded
    down, the first from 1 and the last to n + 1.

    Parameters
    ----------
    frames
        Of the video.
    segments
        Parts, S.
    rng
        Source of chance.
    """
    n = max(1, frames - _TAIL)
    edges = [max(1, n * i // segments) for i in range(segments)] + [n + 1]
    return [min(frames, int(rng.integers(a, b + 1))) - 1 for a, b in pairwise(edges)]


def spaced_starts(frames: int, count: int) -> list[int]:
    """Frames at even distances over a video: 0, d, 2 d ... with d the whole part of (frames - 9) / count.

    Videos of fewer than `count` + 9 frames are spread over evenly.
    """
    n = max(1, frames - _TAIL)
    step = n // count
    return [i * step if step else i * n // count for i in range(count)]


@dataclass(frozen=True)
class Views:
    """How a network's input is made of frames or of stacks.

    Attributes
    ----------
    size
        Side of the square views, px.
    crop
        What training views are made of: ``square``, a random square of `size` px (as published); ``frame``, a random
        part of the picture's own shape, from ``size`` over its shorter side up to all of it, which is then squashed;
        ``none``, the whole picture, squashed as in test.
    flip
        Chance that a training view is mirrored.
    """

    size: int
    crop: str
    flip: float

    def random(self, picture: Image, rng: np.random.Generator, *, flow: bool) -> Image:
        """A training view (size,size,C) of a picture (h,w,C); a mirrored flow goes the other way too."""
        if self.crop != "none":
            height, width = picture.shape[:2]
            share = rng.uniform(min(1.0, self.size / min(height, width)), 1.0)
            square = self.crop == "square"
            h, w = (self.size, self.size) if square else (round(share * height), round(share * width))
            top, left = rng.integers(0, max(1, height - h + 1)), rng.integers(0, max(1, width - w + 1))
            picture = picture[top : top + h, left : left + w]
        view = self.whole(picture)
        if rng.random() < self.flip:
            view = view[:, ::-1].copy()
            if flow:
                view[..., 0::2] = _NO_MOTION - view[..., 0::2]
        return view

    def whole(self, picture: Image) -> Image:
        """The picture (h,w,C), squashed to (size,size,C); bilinear."""
        if picture.shape[:2] == (self.size, self.size):
            return picture
        shrinks = picture.shape[0] > self.size
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        # OpenCV resizes up to four channels at once by area, so stacks go in pieces.
        parts = [
            cv2.resize(picture[..., i : i + 4], (self.size, self.size), interpolation=how).reshape(
                self.size, self.size, -1
            )
            for i in range(0, picture.shape[2], 4)
        ]
        return np.concatenate(parts, 2).astype(np.uint8)


class _Stream:
    """Pictures at places of a video: a frame (h,w,3), or `stack` fields from there on as (h,w,2 stack)."""

    def __init__(self, frames: FrameStore, flow: FlowStore | None, stack: int) -> None:
        self.frames, self.flow, self.stack = frames, flow, stack

    def pictures(self, video: LabelledVideo, starts: Sequence[int]) -> list[Image]:
        """The pictures that start at frames of a video; beyond its end, its last field is repeated."""
        if self.flow is None:
            return list(self.frames.frames(video.path, starts))
        last = self.flow.count(video.path) - 1
        places = [min(start + i, last) for start in starts for i in range(self.stack)]
        fields = self.flow.fields(video.path, places)
        parts = fields.reshape(len(starts), self.stack, *fields.shape[1:])
        return [np.concatenate(list(part), 2) for part in parts]


class StreamSamples:
    """Training samples, indexed by (index, seed).

    Parameters
    ----------
    videos
        What to learn from.
    frames, flow
        Where pictures come from; with `flow` they are stacks of it, else frames.
    views
        How they are varied.
    segments
        Pictures of a sample, one from each part of the video.
    stack
        Flow fields of a picture.
    """

    def __init__(
        self,
        videos: Sequence[LabelledVideo],
        frames: FrameStore,
        flow: FlowStore | None,
        views: Views,
        *,
        segments: int,
        stack: int,
    ) -> None:
        self.videos, self.views, self.segments = videos, views, segments
        self._stream = _Stream(frames, flow, stack)

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        """``image`` (S,C,size,size) uint8 and ``label``."""
        index, seed = key
        rng, video = np.random.default_rng(seed), self.videos[index]
        starts = segment_starts(self._stream.frames.count(video.path), self.segments, rng)
        moving = self._stream.flow is not None
        views = [self.views.random(p, rng, flow=moving) for p in self._stream.pictures(video, starts)]
        return {"image": _channels_first(views), "label": video.label}


class TestSamples:
    """All test samples of a video at once, videos in order, indexed by number.

    Parameters
    ----------
    videos, frames, flow, views, stack
        As for `StreamSamples`; views are whole pictures.
    count
        Samples of a video, at even distances.
    """

    __test__ = False  # no test of pytest's

    def __init__(
        self,
        videos: Sequence[LabelledVideo],
        frames: FrameStore,
        flow: FlowStore | None,
        views: Views,
        *,
        count: int,
        stack: int,
    ) -> None:
        self.videos, self.views, self.count = videos, views, count
        self._stream = _Stream(frames, flow, stack)

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """``image`` (count,C,size,size) uint8 and ``label``."""
        video = self.videos[index]
        starts = spaced_starts(self._stream.frames.count(video.path), self.count)
        views = [self.views.whole(picture) for picture in self._stream.pictures(video, starts)]
        return {"image": _channels_first(views), "label": video.label}


def _channels_first(views: Sequence[Image]) -> Image:
    return np.ascontiguousarray(np.stack(views).transpose(0, 3, 1, 2))
