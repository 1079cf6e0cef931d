"""``posepipe refine``: a second pass over the records of a finished run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from posepipe.cli.actions import add_no_actions, add_recogniser, recogniser
from posepipe.cli.parser import Commands, say, warn_of_end

if TYPE_CHECKING:
    from posepipe.io.records import Records

__all__ = ["add"]

_ABOUT = """\
Go over a finished run once more, with what came later in view: broken tracks are joined, short gaps filled, people that
are hardly ever seen set aside. OUT/refined.jsonl holds the ids of the run beside the final ones; poses.csv, tracks.txt,
streams.npz and coco_results.json follow from it, and actions.csv where the run named actions. `posepipe run
--track-refine` does the same at the end of a run."""


def add(commands: Commands) -> None:
    """Put the command on the command line."""
    refine = commands.add_parser(
        "refine", help="join broken tracks in the records of a run", description=_ABOUT, allow_abbrev=False
    )
    refine.add_argument("records", metavar="RECORDS", help="records.jsonl of a finished run")
    refine.add_argument("-o", "--out", required=True, metavar="OUT", help="folder for the results")
    add_recogniser(refine, None)
    add_no_actions(refine, "name no actions")
    refine.add_argument("--overwrite", action="store_true", help="replace results that OUT holds already")
    refine.add_argument("--quiet", action="store_true", help="print errors only")
    refine.set_defaults(command=_refine)


def _refine(arguments: argparse.Namespace) -> int:
    from posepipe.errors import UsageError
    from posepipe.io.records import read_records
    from posepipe.run.refining import refine_folder

    out, overwrite = Path(arguments.out), arguments.overwrite
    if out.suffix.lower() in (".jsonl", ".csv", ".npz") and not out.is_dir():
        hint = "Name a folder: refined.jsonl and all that follows from it are written into it"
        raise UsageError("posepipe refine writes a folder", got=f"-o {out}", hint=hint)
    records = read_records(arguments.records)
    before = records.summary or {}
    network = recogniser(arguments, records, arguments.actions or _named(records))
    tell = say(arguments.quiet)
    refined = refine_folder(records.path, out, overwrite=overwrite, recogniser=network, tell=tell)
    warn_of_end(records, arguments.quiet)
    after = refined.summary or {}
    tell(f"{before.get('tracks')} tracks -> {after.get('tracks')}, {refined.path}")
    return 0


def _named(records: Records) -> str:
    """The network that the records name; raises `WeightsError` for a file of which they only say name and checksum."""
    from posepipe.errors import WeightsError
    from posepipe.io.atomic import sha256_of

    config, weights = (records.header.get(key) for key in ("config", "weights"))
    said = str(config.get("actions", "none")) if isinstance(config, dict) else "none"
    file, checksum = Path(said), weights.get("actions") if isinstance(weights, dict) else None
    if file.suffix.lower() == ".onnx" and not (file.is_file() and sha256_of(file) == checksum):
        raise WeightsError(
            f"{records.path} holds actions that {said} named, and that file is not here",
            hint="Name it with --actions FILE, or leave actions out with --no-actions",
        )
    return said
