"""Frames out of picture files and cameras."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from posepipe.errors import InputError, UsageError
from posepipe.io.reader import VideoInfo, VideoReader, check_size, display_matrix, size_guard, upright
from posepipe.types import Frame

__all__ = ["CameraReader", "PictureReader", "is_picture", "natural_order", "read_picture"]

_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_CODERS = ((b"\xff\xd8\xff", "mjpeg"), (b"\x89PNG", "png"), (b"BM", "bmp"), (b"II*\0", "tiff"), (b"MM\0*", "tiff"))
# FFmpeg's TIFF decoder takes harmless tags for errors when it is strict.
_STRICT = ("mjpeg", "png", "bmp", "webp")
_CAMERA_PATIENCE = 50


def is_picture(path: Path) -> bool:
    """Whether a file is a picture by its name; hidden files are none."""
    return path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")


def natural_order(path: Path) -> tuple[list[tuple[int, int | str]], str]:
    """Sorting key by which ``frame2`` comes before ``frame10``."""
    parts = re.split(r"(\d+)", path.name.casefold(), flags=re.ASCII)
    return [(0, int(p)) if p.isdecimal() and p.isascii() else (1, p) for p in parts], path.name


def read_picture(path: Path, max_pixels: int) -> NDArray[np.uint8]:
    """A picture as (H,W,3) uint8 RGB, upright: the turn that cameras note in EXIF is applied.

    Grey becomes RGB, 16 bit becomes 8, transparency is dropped.

    Raises
    ------
    InputError
        It cannot be read, is damaged, or has more than ``max_pixels``, which is found out before it is decoded.
    """
    try:
        if path.stat().st_size > 8 * max_pixels + (1 << 24):
            raise InputError(f"{path.name} is too large for a picture", hint="Raise the setting max_pixels")
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", hint="Check the path") from error
    kind = next((name for start, name in _CODERS if data.startswith(start)), None)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        kind = "webp"
    if kind is None:
        raise InputError(f"{path.name} is not a picture", expected="JPEG, PNG, WebP, BMP or TIFF")
    coder: Any = av.CodecContext.create(kind, "r")
    coder.thread_count = 1
    coder.options = {**size_guard(max_pixels), **({"err_detect": "explode"} if kind in _STRICT else {})}
    try:
        frames = coder.decode(av.Packet(data)) or coder.decode(None)
    except (av.FFmpegError, ValueError) as error:
        check_size(path.name, coder.width or 1, coder.height or 1, max_pixels)
        raise InputError(
            f"{path.name} is damaged or of a kind not known here, or has more than {max_pixels} pixels",
            hint="Get the picture anew, or convert it to 8 bits",
        ) from error
    if not frames:
        raise InputError(f"{path.name} holds no picture", hint="Get the picture anew")
    frame = frames[0]
    check_size(path.name, frame.width, frame.height, max_pixels)
    try:
        return upright(np.asarray(frame.reformat(format="rgb24").to_ndarray(), np.uint8), display_matrix(frame))[0]
    except (av.FFmpegError, ValueError) as error:
        # This PyAV cannot show the matrix beside EXIF data; OpenCV reads EXIF itself.
        picture = _by_opencv(data)
        if picture is None:
            what = f"{path.name} is a picture of a kind not known here ({frame.format.name})"
            raise InputError(what, hint="Convert it to 8 bits") from error
        return picture


def _by_opencv(data: bytes) -> NDArray[np.uint8] | None:
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return None if picture is None else np.ascontiguousarray(picture[..., ::-1], np.uint8)


class PictureReader(VideoReader):
    """Pictures as frames, in the order given; they may differ in size.

    A picture's time is its place in the list divided by ``fps``. One that cannot be read is left out, which the status
    and the reason tell; its time stays empty.

    Parameters
    ----------
    paths
        Files, at least one.
    name
        Name of the whole.
    max_pixels
        Larger pictures are left out too.
    fps
        Pictures a second.

    Raises
    ------
    InputError
        None of the pictures can be read.
    UsageError
        ``fps`` is not above 0 and finite.
    """

    def __init__(self, paths: Sequence[Path], name: str, max_pixels: int, fps: float = 25.0) -> None:
        super().__init__()
        if not (math.isfinite(fps) and fps > 0):
            raise UsageError("fps of pictures is no rate", got=fps, expected="a finite number above 0")
        self._left = list(enumerate(paths))[::-1]
        self._max_pixels = max_pixels
        self._lost: list[str] = []
        self._first = self._next()
        if self._first is None:
            one = f"; {self._lost[0]}" if self._lost else ""
            raise InputError(f"none of the {len(paths)} pictures of {name} can be read{one}", hint="Check the files")
        height, width = self._first[1].shape[:2]
        self._fps = fps
        self.info = VideoInfo(
            name, width, height, fps=fps, frames_declared=len(paths), duration_s=len(paths) / fps, codec="pictures"
        )

    def _next(self) -> tuple[int, NDArray[np.uint8]] | None:
        while self._left:
            place, path = self._left.pop()
            try:
                return place, read_picture(path, self._max_pixels)
            except InputError as error:
                self._lost.append(str(error))
        return None

    def _read(self) -> Iterator[Frame]:
        index, item = 0, self._first
        del self._first
        while item is not None:
            yield Frame(index, item[0] / self._fps, item[1])
            index, item = index + 1, self._next()
        if self._lost:
            self._fault("damaged", f"{len(self._lost)} pictures were left out; {self._lost[0]}")


class CameraReader(VideoReader):
    """Frames of a camera by its number, until it stops or the reader is closed; times count from the first frame.

    Raises
    ------
    InputError
        There is no such camera, or it gives no picture.
    """

    live = True

    def __init__(self, number: int, max_pixels: int) -> None:
        super().__init__()
        self._camera = cv2.VideoCapture(number)
        picture = self._wait(1)
        if picture is None:
            self._camera.release()
            raise InputError(
                f"camera {number} gives no picture",
                hint="Check that it is connected, that no other program uses it, and that you may use it",
            )
        height, width = picture.shape[:2]
        check_size(f"camera {number}", width, height, max_pixels)
        self._start = time.monotonic()
        self._first = picture
        fps = self._camera.get(cv2.CAP_PROP_FPS)
        self.info = VideoInfo(f"camera {number}", width, height, fps=fps if fps > 0 else None, codec="camera")

    def close(self) -> None:
        """Switch the camera off."""
        super().close()
        self._camera.release()

    def _read(self) -> Iterator[Frame]:
        index, seconds = 0, 0.0
        picture: NDArray[np.uint8] | None = self._first
        del self._first
        while picture is not None:
            yield Frame(index, seconds, np.ascontiguousarray(picture[..., ::-1]))
            picture = self._wait(_CAMERA_PATIENCE)
            # Two pictures never share a time, however coarse the clock.
            index, seconds = index + 1, max(time.monotonic() - self._start, seconds + 1e-6)
        self._fault("truncated", f"the camera stopped after {index} frames")

    def _wait(self, tries: int) -> NDArray[np.uint8] | None:
        for _ in range(tries):
            ok, picture = self._camera.read()
            if ok and picture is not None:
                return np.asarray(picture, np.uint8)
            time.sleep(0.02)
        return None
