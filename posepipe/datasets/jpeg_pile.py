"""Many pictures of one video in one file: JPEGs one after another, then where each begins and when it was shown.

A folder of small files would cost an inode and a look-up a picture; a pile is written picture by picture, so that
memory holds one of them, and any picture of it is one seek and one read.

::

    JPEG ... JPEG | .npz of offsets, pts and fault | length of the .npz, 8 bytes, little-endian
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from posepipe.errors import InputError
from posepipe.io.atomic import atomic_path, output_errors
from posepipe.io.npz import UNREADABLE_NPZ

__all__ = ["Pile", "open_pile", "write_pile"]

_LENGTH_BYTES = 8
_LARGEST_TRAILER = 1 << 28


@dataclass(frozen=True)
class Pile:
    """A file of n pictures of a video.

    Attributes
    ----------
    path
        The file.
    offsets
        (n+1,) int64: picture i is the bytes from ``offsets[i]`` to ``offsets[i + 1]``.
    pts
        (n,) float64, when each was shown, seconds.
    fault
        What was wrong with the video; empty where nothing was.
    """

    path: Path
    offsets: NDArray[np.int64]
    pts: NDArray[np.float64]
    fault: str

    def __len__(self) -> int:
        return len(self.pts)

    def read(self, indices: Iterable[int], *, grey: bool = False) -> list[NDArray[np.uint8]]:
        """Decode pictures: (h,w,3) RGB each, or (h,w) where `grey`. Raises `InputError` for damaged or absent ones."""
        mode = cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR_RGB
        found = []
        with self.path.open("rb") as file:
            for index in indices:
                if not 0 <= index < len(self):
                    raise InputError(f"{self.path.name} has no picture {index}", expected=f"0 to {len(self) - 1}")
                file.seek(int(self.offsets[index]))
                coded = file.read(int(self.offsets[index + 1] - self.offsets[index]))
                picture = cv2.imdecode(np.frombuffer(coded, np.uint8), mode) if coded else None
                if picture is None:
                    raise InputError(
                        f"picture {index} of {self.path} is damaged", hint="Delete the file; it is made again."
                    )
                found.append(np.asarray(picture, np.uint8))
        return found


def write_pile(
    path: Path, pictures: Iterable[tuple[float, NDArray[np.uint8]]], fault: Callable[[], str], *, quality: int = 92
) -> None:
    """Write a pile, whole or not at all.

    Parameters
    ----------
    path
        The file to make; its folder is made too.
    pictures
        When each is shown (seconds), and the picture: (h,w,3) uint8 RGB or (h,w) uint8.
    fault
        Asked after the last picture: what was wrong with the video, or an empty text.
    quality
        Of the JPEGs, 0 to 100.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    offsets, pts = [0], []
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as unfinished, unfinished.open("wb") as file:
        for seconds, picture in pictures:
            bgr = picture[..., ::-1] if picture.ndim == 3 else picture
            _, coded = cv2.imencode(".jpg", np.ascontiguousarray(bgr), [cv2.IMWRITE_JPEG_QUALITY, quality])
            file.write(coded.tobytes())
            offsets.append(offsets[-1] + len(coded))
            pts.append(seconds)
        trailer = io.BytesIO()
        about = np.frombuffer(fault().encode("utf-8"), np.uint8)
        np.savez(trailer, offsets=np.array(offsets, np.int64), pts=np.array(pts, np.float64), fault=about)
        file.write(trailer.getvalue())
        file.write(len(trailer.getvalue()).to_bytes(_LENGTH_BYTES, "little"))


def open_pile(path: Path) -> Pile:
    """Read where the pictures of a pile are. Raises `InputError` where the file is missing or no pile."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            file.seek(-_LENGTH_BYTES, os.SEEK_END)
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            if not 0 < length <= min(size - _LENGTH_BYTES, _LARGEST_TRAILER):
                raise ValueError("it has no end")
            file.seek(size - _LENGTH_BYTES - length)
            with np.load(io.BytesIO(file.read(length)), allow_pickle=False) as content:
                return Pile(path, content["offsets"], content["pts"], content["fault"].tobytes().decode("utf-8"))
    except UNREADABLE_NPZ as error:
        raise InputError(f"{path} is no file of pictures: {error}", hint="Delete it; it is made again.") from error
