"""What every reader of frames has: information, an iterator, and an honest end."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from posepipe.errors import InputError
from posepipe.types import Frame

__all__ = ["VideoInfo", "VideoReader", "check_size", "display_matrix", "size_guard", "upright"]


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video before it is read.

    Attributes
    ----------
    name
        File name without its folder, or the address without user and password.
    width, height
        Size in px of the upright pictures.
    fps
        Average pictures a second; None where the source does not say. Times come from ``Frame.pts``, never from this.
    rotation
        Quarter turn, in degrees clockwise, that the file asks for and that the reader has applied: 0, 90, 180 or 270.
    frames_declared, duration_s
        What the file declares; None where it does not.
    codec
        Name of the coding, such as ``h264``.
    """

    name: str
    width: int
    height: int
    fps: float | None = None
    rotation: int = 0
    frames_declared: int | None = None
    duration_s: float | None = None
    codec: str | None = None


class VideoReader(ABC):
    """Iterate once over the frames of a source; a context manager.

    Attributes
    ----------
    info
        What is known before reading.
    live
        A camera or a stream, whose frames come when they come.
    status
        ``ok``; ``truncated``: the source broke off before its declared end; ``damaged``: parts of it could not be
        read, or are repaired guesses. Final once the iteration has ended.
    reason
        What was wrong, for people; None while ``ok``.
    """

    info: VideoInfo
    live = False

    def __init__(self) -> None:
        self.status = "ok"
        self._faults: list[str] = []
        self._pending = self._read()

    @property
    def reason(self) -> str | None:
        """What was wrong with the source, or None."""
        return "; ".join(self._faults) or None

    def __iter__(self) -> VideoReader:
        return self

    def __next__(self) -> Frame:
        return next(self._pending)

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the source; frames already given stay valid. Nothing more can be read."""
        self._pending = iter(())

    @abstractmethod
    def _read(self) -> Iterator[Frame]:
        """The frames, in order."""

    def _fault(self, status: str, reason: str) -> None:
        """Note what is wrong; the source is truncated if any note says so."""
        if self.status != "truncated":
            self.status = status
        if reason not in self._faults:
            self._faults.append(reason)


def check_size(name: str, width: int, height: int, max_pixels: int) -> None:
    """Refuse pictures without area and pictures of more than ``max_pixels``; raises :class:`InputError`."""
    if width <= 0 or height <= 0:
        raise InputError(
            f"{name} declares pictures without area", got=f"{width}x{height}", hint="The file is damaged; get it anew"
        )
    if width * height > max_pixels:
        raise InputError(
            f"the pictures of {name} are larger than allowed",
            got=f"{width}x{height} = {width * height} pixels",
            expected=f"at most {max_pixels}",
            hint="If they are meant to be so large, raise the setting max_pixels",
        )


def size_guard(max_pixels: int) -> dict[str, str]:
    """Decoder options that keep it from allocating far more than ``max_pixels``; it counts its own margins as well."""
    return {"max_pixels": str(min(max_pixels + max_pixels // 4 + (1 << 16), 2**31 - 1))}


def display_matrix(frame: av.VideoFrame) -> NDArray[np.int64] | None:
    """How a frame is to be laid on the screen, (3,3), or None for as it is.

    Raises ``ValueError`` where the frame also carries data of a kind that this PyAV does not know.
    """
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return None
    return np.frombuffer(bytes(data), np.int32).astype(np.int64).reshape(3, 3)


def upright(image: NDArray[np.uint8], matrix: NDArray[np.int64] | None) -> tuple[NDArray[np.uint8], int]:
    """Turn and mirror a picture as its display matrix says.

    Parameters
    ----------
    image
        (H,W,3).
    matrix
        (3,3) as the container stores it: row vector ``(x, y, 1) @ matrix`` is the place on the screen. It is taken as
        the nearest of the eight ways to lay a picture down. None means as it is.

    Returns
    -------
    The picture (contiguous), and the turn in degrees clockwise.
    """
    if matrix is None:
        return image, 0
    (a, b), (c, d) = matrix[:2, :2].tolist()
    if a * a + d * d < b * b + c * c:
        image = image.transpose(1, 0, 2)
        flip_x, flip_y = c < 0, b < 0
    else:
        flip_x, flip_y = a < 0, d < 0
    image = image[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
    hand = 1 if a * d - b * c >= 0 else -1  # a mirrored picture is turned first, then mirrored left to right
    turn = round(math.degrees(math.atan2(hand * b, hand * a)) / 90) * 90 % 360
    return np.ascontiguousarray(image), turn
