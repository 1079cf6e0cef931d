"""A few frames of many videos in one file: enough to train on where the videos themselves cannot be taken along."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from posepipe.datasets.rows import label_errors
from posepipe.errors import InputError
from posepipe.io.atomic import atomic_path

__all__ = ["FramePack", "write_frame_pack"]


class FramePack:
    """Frames of a pack; stands for a `posepipe.datasets.video_frames.FrameStore`.

    For a frame that is not in the pack the nearest one that is comes back.

    Parameters
    ----------
    path
        What `write_frame_pack` wrote.

    Raises
    ------
    InputError
        The file is something else.
    """

    def __init__(self, path: Path) -> None:
        with label_errors(path, "a pack of frames", "a file of write_frame_pack"), np.load(path) as data:
            names, owner, self._index = data["names"], data["owner"], data["index"]
            self._offsets, self._bytes = data["offsets"], data["bytes"]
            self._rows = {str(name): np.flatnonzero(owner == number) for number, name in enumerate(names)}

    def frames(self, video: Path, indices: Iterable[int]) -> NDArray[np.uint8]:
        """(T,h,w,3) uint8 RGB; raises `InputError` for a video that is not in the pack."""
        if video.name not in self._rows:
            raise InputError(f"the pack has no frames of {video.name}")
        rows = self._rows[video.name]
        nearest = [rows[np.abs(self._index[rows] - index).argmin()] for index in indices]
        once = {row: self._picture(row) for row in set(nearest)}
        return np.stack([once[row] for row in nearest])

    def _picture(self, row: int) -> NDArray[np.uint8]:
        coded = self._bytes[self._offsets[row] : self._offsets[row + 1]]
        return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR_RGB), np.uint8)


def write_frame_pack(path: Path, videos: Sequence[Path], count: int, side: int, *, quality: int = 85) -> None:
    """Write `count` frames of each video, spread evenly, their shorter side `side` px, as JPEGs.

    Videos are told apart by the names of their files. Raises `InputError` for a video that cannot be read.
    """
    from posepipe.datasets.video_frames import short_side
    from posepipe.io.video import open_video

    stream, owner, index, offsets = io.BytesIO(), [], [], [0]
    for number, video in enumerate(videos):
        with open_video(video) as reader:
            total = reader.info.frames_declared or sum(1 for _ in open_video(video))
            wanted = set(np.linspace(0, total - 1, count).round().astype(int).tolist())
            for frame in reader:
                if frame.index in wanted:
                    small = np.ascontiguousarray(short_side(frame.image, side)[..., ::-1])
                    coded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
                    offsets.append(offsets[-1] + stream.write(coded.tobytes()))
                    owner.append(number)
                    index.append(frame.index)
    with atomic_path(path) as unfinished, unfinished.open("wb") as file:
        np.savez(
            file,
            names=np.array([video.name for video in videos]),
            owner=np.array(owner, np.int64),
            index=np.array(index, np.int64),
            offsets=np.array(offsets, np.int64),
            bytes=np.frombuffer(stream.getvalue(), np.uint8),
        )
