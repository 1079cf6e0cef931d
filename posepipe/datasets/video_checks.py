"""The videos of a set: are they there, whole, and as long as its labels say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from posepipe.datasets.findings import Code, Findings
from posepipe.datasets.frames import video_frames
from posepipe.datasets.labels import KeypointSet
from posepipe.errors import InputError
from posepipe.io.video import open_video

__all__ = ["check_videos"]


@dataclass(frozen=True)
class _Look:
    """What a video is like: (width, height) px, its frames (None where unknown), and what is wrong with it."""

    size: tuple[int, int]
    frames: int | None
    fault: str | None


def check_videos(people: KeypointSet, videos: Mapping[str, Path], findings: Findings, *, decode: bool = True) -> None:
    """Look at the videos that a set's frames are to be taken from.

    Parameters
    ----------
    people
        The set.
    videos
        Paths by name of the video.
    findings
        Where to put what is found.
    decode
        Decode every frame; else only the first one, and believe the number of frames that a file declares.
    """
    of_video = np.where(video_frames(people), np.array(people.videos, object), "")
    names = [name for name in people.video_names() if (of_video == name).any()]
    total = int((of_video != "").sum())
    for name in names:
        if name not in videos:
            findings.add(Code.MISSING_VIDEO, name, total=len(names))
            continue
        try:
            look = _look(videos[name], decode)
        except InputError as error:
            findings.add(Code.UNREADABLE_VIDEO, f"{name}: {error.what}", total=len(names))
            continue
        if look.fault is not None:
            findings.add(Code.DAMAGED_VIDEO, f"{name}: {look.fault}", total=len(names))
        rows = np.flatnonzero(of_video == name)
        if look.frames is not None:
            late = (f"{people.images[i]}, of {look.frames}" for i in rows[people.frames[rows] >= look.frames])
            findings.add_all(Code.BEYOND_VIDEO, late, total=total)
        said = people.sizes[rows]
        other = rows[said.all(1) & (said != look.size).any(1)]
        wrong = (f"{people.images[i]} in a video of {look.size[0]}x{look.size[1]}" for i in other)
        findings.add_all(Code.IMAGE_SIZE, wrong, total=total)


def _look(path: Path, decode: bool) -> _Look:
    with open_video(path) as reader:
        size, frames = (reader.info.width, reader.info.height), reader.info.frames_declared
        if decode:
            frames = 0
            for frame in reader:
                frames = frame.index + 1
        return _Look(size, frames, reader.reason)
