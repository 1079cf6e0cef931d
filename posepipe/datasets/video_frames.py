"""Frames of videos for training: every video decoded once, made small, and kept as JPEGs in a file of its own.

Training looks at a few frames of a video at a time and in no order, which a video's coding makes slow.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from posepipe.datasets.jpeg_pile import Pile, open_pile, write_pile
from posepipe.errors import InputError
from posepipe.io.atomic import file_state
from posepipe.io.reader import VideoReader
from posepipe.io.video import open_video

__all__ = ["FrameStore", "short_side", "video_key"]

_VERSION = 1
_KEY_DIGITS = 16


def video_key(video: Path, about: str) -> str:
    """A name for what is made of a video: it changes with the file's place, size, time of change, and `about`.

    Raises `InputError` for a file that is not there.
    """
    try:
        state = file_state(video)
    except OSError as error:
        raise InputError(f"there is no video {video}", hint="Check the list and the folder of the videos") from error
    return f"{video.stem}-{hashlib.sha256(f'{about} {state}'.encode()).hexdigest()[:_KEY_DIGITS]}"


def short_side(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Resize (H,W,3) so that its shorter side is `side` px, the aspect kept."""
    height, width = image.shape[:2]
    scale = side / min(height, width)
    size = (max(side, round(width * scale)), max(side, round(height * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return image if size == (width, height) else np.asarray(cv2.resize(image, size, interpolation=how), np.uint8)


class FrameStore:
    """Frames of videos by number, from a cache that fills itself.

    The cache is written a video at a time and each file is whole or absent, so what was broken off goes on where it
    was. Of a video that is damaged or cut, what can be decoded is used, with a warning when it is first read; `fault`
    tells it later. Memory holds a frame while the cache is written, what `frames` gives back, and 16 bytes for every
    frame of the videos that were asked for.

    Parameters
    ----------
    side
        Length of the frames' shorter side, px.
    folder
        Of the cache; made when needed.
    """

    def __init__(self, side: int, folder: Path) -> None:
        self.side = side
        self.folder = folder
        self._piles: dict[Path, Pile] = {}

    def count(self, video: Path) -> int:
        """Frames of a video. Raises `InputError` where none can be decoded."""
        return len(self._opened(video))

    def pts(self, video: Path) -> NDArray[np.float64]:
        """(n,) float64: when each frame is shown, seconds from the video's start. Raises as `count`."""
        return self._opened(video).pts

    def fault(self, video: Path) -> str:
        """What was wrong with a video; empty where it was whole. Raises as `count`."""
        return self._opened(video).fault

    def frames(self, video: Path, indices: Iterable[int]) -> NDArray[np.uint8]:
        """Frames of a video, upright.

        Parameters
        ----------
        video
            The file.
        indices
            T numbers from 0, in decoding order of frames; one may come more than once.

        Returns
        -------
        (T,h,w,3) uint8 RGB, the shorter of h and w being `side`.

        Raises
        ------
        InputError
            Nothing of the video can be decoded, or it has no frame of that number.
        OutputError
            The cache cannot be written.
        """
        pile, wanted = self._opened(video), list(indices)
        if not wanted:
            raise InputError(f"no frames of {video} were asked for", expected="at least one")
        for index in wanted:
            if not 0 <= index < len(pile):
                raise InputError(f"{video} has no frame {index}", expected=f"0 to {len(pile) - 1}")
        once = dict(zip(dict.fromkeys(wanted), pile.read(dict.fromkeys(wanted)), strict=True))
        return np.stack([once[index] for index in wanted])

    def _opened(self, video: Path) -> Pile:
        if video not in self._piles:
            path = self.folder / f"{video_key(video, self._about())}.jpegs"
            if not path.is_file():
                self._write(video, path)
            self._piles[video] = open_pile(path)
        return self._piles[video]

    def _about(self) -> str:
        """What the pictures are, for the names of the cache's files."""
        return f"frames {_VERSION} {self.side}"

    def _write(self, video: Path, path: Path) -> None:
        with open_video(video) as reader:
            write_pile(path, self._small(reader), lambda: reader.reason or "")
            if reader.reason:
                warnings.warn(f"{video}: {reader.reason}; what was decoded is used", stacklevel=4)

    def _small(self, reader: VideoReader) -> Iterator[tuple[float, NDArray[np.uint8]]]:
        """Times and small pictures; some videos change their size on the way, and are taken at that of the start."""
        size: tuple[int, int] | None = None
        for frame in reader:
            image = short_side(frame.image, self.side)
            size = size or (image.shape[1], image.shape[0])
            if size != (image.shape[1], image.shape[0]):
                image = np.asarray(cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA), np.uint8)
            yield frame.pts, image
