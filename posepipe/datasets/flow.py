"""Optical flow of videos for training: worked out once, quantised like pictures, and kept in a file a video.

Both components are cut at a bound and laid on 0..255, 127.5 being no motion, as is usual since Simonyan and Zisserman
2014; the bound is 20 px there, for frames of 256 px.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from posepipe.datasets.jpeg_pile import Pile, open_pile, write_pile
from posepipe.datasets.video_frames import FrameStore, video_key
from posepipe.errors import InputError, UsageError

__all__ = ["METHODS", "FlowStore", "dequantise", "flow_method", "quantise"]

METHODS = ("dis", "farneback", "tvl1")
_VERSION = 1
_QUALITY = 95
_CHUNK = 32

#: two grey pictures (h,w) uint8 to the motion (h,w,2) float32 from the first to the second, px
Method = Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.float32]]


def flow_method(name: str) -> Method:
    """How flow is worked out.

    Parameters
    ----------
    name
        ``dis`` (Kroeger et al. 2016, arXiv 1603.03590: fast and good), ``farneback`` (Farneback 2003), or ``tvl1``
        (Zach, Pock and Bischof 2007, the field's usual one: slow, and only in opencv-contrib-python).

    Raises
    ------
    UsageError
        There is no such method in this OpenCV.
    """
    match name:
        case "dis":
            dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
            return lambda one, other: np.asarray(dis.calc(one, other, np.zeros((*one.shape, 2), np.float32)))
        case "farneback":
            return lambda one, other: np.asarray(
                cv2.calcOpticalFlowFarneback(
                    one, other, np.zeros((*one.shape, 2), np.float32), 0.5, 3, 15, 3, 5, 1.2, 0
                )
            )
        case "tvl1" if hasattr(cv2, "optflow"):
            tvl1 = cv2.optflow.DualTVL1OpticalFlow_create()
            return lambda one, other: np.asarray(tvl1.calc(one, other, np.zeros((*one.shape, 2), np.float32)))
        case "tvl1":
            raise UsageError(
                "this OpenCV has no TV-L1 flow",
                hint="Take dis or farneback, or put opencv-contrib-python-headless in opencv-python-headless's place",
            )
    raise UsageError(f"there is no flow {name!r}", expected=", ".join(METHODS))


def quantise(flow: NDArray[np.float32], bound: float) -> NDArray[np.uint8]:
    """Motion in px to 0..255: -bound and less is 0, bound and more is 255."""
    return np.asarray(np.rint((np.clip(flow, -bound, bound) + bound) * (255 / (2 * bound))), np.uint8)


def dequantise(flow: NDArray[np.uint8], bound: float) -> NDArray[np.float32]:
    """The motion in px that quantised values stand for."""
    return np.asarray(flow * (2 * bound / 255) - bound, np.float32)


class FlowStore:
    """Flow fields of videos by number, from a cache that fills itself; field i goes from frame i to frame i + 1.

    As with `FrameStore`, files are written a video at a time, whole or not at all, and what was broken off goes on
    where it was.

    Parameters
    ----------
    frames
        Where the frames come from; flow is worked out, and measured in px, at their size.
    method
        A name of `METHODS`.
    bound
        Largest motion that is kept, px a frame.
    folder
        Of the cache; made when needed.

    Raises
    ------
    UsageError
        There is no such method in this OpenCV.
    """

    def __init__(self, frames: FrameStore, method: str, bound: float, folder: Path) -> None:
        flow_method(method)
        self.frames = frames
        self.method = method
        self.bound = bound
        self.folder = folder
        self._piles: dict[Path, Pile] = {}

    def count(self, video: Path) -> int:
        """Flow fields of a video: one less than it has frames. Raises `InputError` for a video without any."""
        return len(self._opened(video))

    def fields(self, video: Path, indices: Iterable[int]) -> NDArray[np.uint8]:
        """Flow fields of a video.

        Parameters
        ----------
        video
            The file.
        indices
            T numbers from 0.

        Returns
        -------
        (T,h,w,2) uint8: motion to the right and down, quantised by `quantise`.

        Raises
        ------
        InputError
            The video cannot be decoded, has one frame only, or no field of that number.
        """
        stacked = np.stack(self._opened(video).read(list(indices), grey=True))
        count, height, width = stacked.shape
        return np.asarray(stacked.reshape(count, 2, height // 2, width).transpose(0, 2, 3, 1), np.uint8)

    def _opened(self, video: Path) -> Pile:
        if video not in self._piles:
            about = f"flow {_VERSION} {self.frames.side} {self.method} {self.bound}"
            path = self.folder / f"{video_key(video, about)}.jpegs"
            if not path.is_file():
                if self.frames.count(video) < 2:
                    raise InputError(f"{video} has one frame only, so nothing moves in it")
                write_pile(path, self._work_out(video), lambda: self.frames.fault(video), quality=_QUALITY)
            self._piles[video] = open_pile(path)
        return self._piles[video]

    def _work_out(self, video: Path) -> Iterator[tuple[float, NDArray[np.uint8]]]:
        """Time of the first frame of each pair, and its field as one grey picture: right above down."""
        method, count, pts = flow_method(self.method), self.frames.count(video), self.frames.pts(video)
        last: NDArray[np.uint8] | None = None
        for start in range(0, count, _CHUNK):
            for index, image in enumerate(self.frames.frames(video, range(start, min(start + _CHUNK, count))), start):
                grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
                if last is not None:
                    field = quantise(method(last, grey), self.bound)
                    yield float(pts[index - 1]), np.concatenate((field[..., 0], field[..., 1]))
                last = grey
