"""What the commands of ``posepipe data`` share: the flags that name a set, and reading it without a silent loss."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from posepipe.cli.parser import Commands

if TYPE_CHECKING:
    from posepipe.datasets.labels import KeypointSet

__all__ = ["add_command", "read_labels"]


def add_command(kinds: Commands, name: str, text: str) -> argparse.ArgumentParser:
    """A command that takes a set: PATH, --images."""
    parser: argparse.ArgumentParser = kinds.add_parser(name, help=text, description=text, allow_abbrev=False)
    parser.add_argument("path", metavar="PATH", type=Path, help="label file or folder (docs/datasets.md)")
    parser.add_argument("--images", metavar="DIR", type=Path, help="folder of the pictures (default: near the labels)")
    return parser


def read_labels(arguments: argparse.Namespace, *, whole: bool = False, keep_duplicates: bool = False) -> KeypointSet:
    """The set that `arguments` name, after a line for everything that its reading found.

    Parameters
    ----------
    arguments
        As of `add_command`.
    whole
        Refuse a set some of whose label files cannot be read; else it is what can be read.
    keep_duplicates
        As of `load_alphapose`.

    Raises
    ------
    InputError
        It cannot be read, or not the whole of it.
    """
    from posepipe.datasets.findings import Code
    from posepipe.datasets.formats import load_set
    from posepipe.errors import InputError

    people, found = load_set(arguments.path, arguments.images, keep_duplicates=keep_duplicates)
    unreadable = found.of(Code.UNREADABLE_LABELS)
    if whole and unreadable.count:
        raise InputError(f"{arguments.path}: {unreadable.line()}", hint="Mend or remove the files that are named")
    for finding in found.all():
        print(finding.line())
    return people
