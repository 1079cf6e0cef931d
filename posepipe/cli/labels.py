"""What the commands of ``posepipe data`` share: the flags that name a set, and reading it without a silent loss."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from posepipe.cli.parser import Commands, number

if TYPE_CHECKING:
    from posepipe.datasets.findings import Findings
    from posepipe.datasets.formats import Form
    from posepipe.datasets.labels import KeypointSet

__all__ = ["add_command", "load_labels", "near_videos", "read_labels"]


def add_command(kinds: Commands, name: str, text: str) -> argparse.ArgumentParser:
    """A command that takes a set: PATH, --images, --first-frame."""
    parser: argparse.ArgumentParser = kinds.add_parser(name, help=text, description=text, allow_abbrev=False)
    parser.add_argument("path", metavar="PATH", type=Path, help="label file or folder (docs/datasets.md)")
    parser.add_argument("--images", metavar="DIR", type=Path, help="folder of the pictures (default: near the labels)")
    text = "number in AlphaPose's image names of a video's first frame (default 0; of FFmpeg's frames 1)"
    parser.add_argument("--first-frame", type=number(int, 0, 10**9), default=0, metavar="N", help=text)
    return parser


def load_labels(
    arguments: argparse.Namespace, form: Form | None = None, *, keep_duplicates: bool = False
) -> tuple[KeypointSet, Findings]:
    """The set that `arguments` name, as far as it can be read, and what was found.

    Raises
    ------
    InputError
        Nothing known lies there, or nothing of it can be read.
    UsageError
        A first frame is given for another format than AlphaPose's.
    """
    from posepipe.datasets.formats import Form, load_set, recognise
    from posepipe.errors import UsageError

    first = arguments.first_frame
    if first and (form or recognise(arguments.path)[0]) is not Form.ALPHAPOSE:
        raise UsageError(f"--first-frame {first} is for AlphaPose's results", hint="Other formats number their frames")
    people, found = load_set(arguments.path, arguments.images, form, first_frame=first, keep_duplicates=keep_duplicates)
    # A folder of videos holds no pictures.
    return (replace(people, root=None) if near_videos(arguments, people) else people), found


def read_labels(arguments: argparse.Namespace, *, whole: bool = False, keep_duplicates: bool = False) -> KeypointSet:
    """The set that `arguments` name, after a line for everything that its reading found.

    Parameters
    ----------
    arguments
        As of `add_command`.
    whole
        Refuse a set some of whose label files cannot be read, or that holds values to be guessed; else it is what can
        be read.
    keep_duplicates
        As of `load_alphapose`.

    Raises
    ------
    InputError
        It cannot be read, or not the whole of it.
    UsageError
        As of `load_labels`.
    """
    from posepipe.datasets.coco import refuse_guesses
    from posepipe.datasets.findings import Code
    from posepipe.errors import InputError

    people, found = load_labels(arguments, keep_duplicates=keep_duplicates)
    unreadable = found.of(Code.UNREADABLE_LABELS)
    if whole and unreadable.count:
        raise InputError(f"{arguments.path}: {unreadable.line()}", hint="Mend or remove the files that are named")
    if whole:
        refuse_guesses(arguments.path, found)
    for finding in found.all():
        print(finding.line())
    return people


def near_videos(arguments: argparse.Namespace, people: KeypointSet) -> dict[str, Path]:
    """The videos that the set's frames must be taken from, by name; none where its pictures are at hand."""
    from posepipe.datasets.frames import pictures_at_hand, videos_of_set

    if pictures_at_hand(people) or not people.video_names():
        return {}
    return videos_of_set(arguments.path, arguments.images)
