"""Where the files of a set lie that is written as a folder: inside it, one for each image, none left of another set."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import TypeVar

from posepipe.datasets.labels import KeypointSet
from posepipe.errors import InputError, OutputError, UsageError

__all__ = ["numbered_frames", "places", "plain_videos", "refuse_others", "refuse_two"]

K = TypeVar("K", bound=Hashable)

_SUFFIXES = (".csv", ".json", ".txt", ".yaml", ".yml")


def places(folder: Path, files: Iterable[tuple[str, Path]], name: str) -> list[Path]:
    """The files of a set in its folder, after a look that each can be written without harm.

    Parameters
    ----------
    folder
        The folder of the set.
    files
        What each file is of (an image, a video), and its path in the folder.
    name
        Name of the set.

    Raises
    ------
    InputError
        A file would lie outside the folder: a name is absolute, holds ``..``, or leads through a link.
    UsageError
        Two images would be one file, or the folder has the name of a file.
    """
    if folder.suffix.lower() in _SUFFIXES:
        raise UsageError(f"{folder} is called like a file, and {name} becomes a folder", hint="Name it without suffix")
    inside = folder.resolve()
    found: dict[Path, str] = {}
    for what, relative in files:
        file = folder / relative
        if relative.is_absolute() or ".." in relative.parts or not file.resolve().is_relative_to(inside):
            raise InputError(f"a file of {name} would lie outside {folder}", got=what, expected="a name relative to it")
        refuse_two(found, file, what, name, relative.as_posix())
    return list(found)


def refuse_two(taken: dict[K, str], place: K, what: str, name: str, told: str) -> None:
    """Note in `taken` what stands in a place; raises :class:`UsageError` where something of the set stands there."""
    if place in taken:
        both = f"{taken[place]} and {what} of {name} would both be {told}"
        raise UsageError(both, hint="Write the set as COCO")
    taken[place] = what


def refuse_others(folder: Path, found: Iterable[Path], files: Iterable[Path]) -> None:
    """Raise :class:`OutputError` where a folder holds files of labels (`found`) that are none of those to be written.

    They would be read as part of the set. None is removed here: they may be somebody's only copy.
    """
    other = min(set(found) - set(files), default=None)
    if other is not None:
        what = f"{folder} holds {other.relative_to(folder).as_posix()}, which is no part of what is written"
        raise OutputError(what, hint="Remove that folder if nobody needs it, or name another one")


def plain_videos(people: KeypointSet) -> None:
    """Raise :class:`UsageError` where a video lies in a folder, for formats that know videos by name only."""
    nested = next((video for video in people.video_names() if len(Path(video).parts) != 1 or video == ".."), None)
    if nested is not None:
        raise UsageError(f"set {people.name!r} has videos in folders", got=nested, hint="Write them as COCO")


def numbered_frames(people: KeypointSet) -> None:
    """Raise :class:`UsageError` where a frame of a video has no number, or that of another one."""
    taken: dict[tuple[str, int], str] = {}
    for image, video, frame in zip(people.images, people.videos, people.frames.tolist(), strict=True):
        if video and frame < 0:
            what = f"set {people.name!r} has frames of videos without a number"
            raise UsageError(what, got=image, hint="Write them as COCO")
        if video:
            refuse_two(taken, (video, frame), image, people.name, f"frame {frame} of {video}")
