"""``posepipe streams``: smoother, at a fixed rate, with angles and states, from records that are there."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from posepipe.cli.parser import Commands, number, say, warn_of_end

if TYPE_CHECKING:
    from posepipe.streams.shaping import Wanted

__all__ = ["add", "add_wishes", "wanted"]


def add(commands: Commands) -> None:
    """Put the command on the command line."""
    streams = commands.add_parser("streams", help="pose streams of each person, from records", allow_abbrev=False)
    streams.add_argument("records", metavar="RECORDS", help="records.jsonl or streams.npz of a run")
    streams.add_argument("-o", "--out", required=True, metavar="OUT", help="file to write: OUT.npz or OUT.csv")
    add_wishes(streams)
    streams.add_argument("--overwrite", action="store_true", help="replace OUT where it exists")
    streams.add_argument("--quiet", action="store_true", help="print errors only")
    streams.set_defaults(command=_streams)


def add_wishes(parser: argparse.ArgumentParser) -> None:
    """The flags that say what streams are to be."""
    group = parser.add_argument_group("pose streams")
    smooth = ("none", "one-euro", "zero-phase")
    text = "put smooth keypoints beside the raw ones: one-euro (as they come) or zero-phase (without lag)"
    group.add_argument("--smooth", choices=smooth, default="none", help=text)
    rate = number(float, 0.01, 1000)
    group.add_argument("--rate", type=rate, metavar="HZ", help="resample to a fixed rate (default: the video's frames)")
    group.add_argument("--kinematics", action="store_true", help="add joint angles, speeds, standing and sitting")
    count = number(int, 1, 10**9)
    text = "leave out people seen in fewer frames (default 1)"
    group.add_argument("--min-frames", type=count, default=1, metavar="N", help=text)


def wanted(arguments: argparse.Namespace) -> Wanted:
    """What the flags of :func:`add_wishes` ask for."""
    from posepipe.streams.shaping import Wanted

    return Wanted(arguments.smooth, arguments.rate, arguments.kinematics, arguments.min_frames)


def _streams(arguments: argparse.Namespace) -> int:
    from posepipe.errors import OutputError, UsageError
    from posepipe.io.records import read_records
    from posepipe.io.streams import read_streams_and_skeleton, save_streams, write_streams, write_streams_csv

    out, source = Path(arguments.out), Path(arguments.records)
    if out.suffix.lower() not in (".npz", ".csv"):
        raise UsageError(f"{out} is not the name of a file of streams", expected="OUT.npz or OUT.csv")
    if out.exists() and (not arguments.overwrite or (source.exists() and out.samefile(source))):
        raise OutputError(f"{out} already exists", hint="--overwrite replaces it, -o names another file")
    wish = wanted(arguments)
    if source.suffix.lower() == ".npz":
        save_streams(out, *read_streams_and_skeleton(source), wish)
    else:
        records = read_records(source)
        warn_of_end(records, arguments.quiet)
        write = write_streams_csv if out.suffix.lower() == ".csv" else write_streams
        write(out, records, records.skeleton, wish)
    say(arguments.quiet)(f"{arguments.records} -> {out}")
    return 0
