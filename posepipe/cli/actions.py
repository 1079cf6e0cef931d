"""``posepipe actions``: what the people of a run did, from its records; no video is needed."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from posepipe.cli.parser import Commands, say, warn_of_end

if TYPE_CHECKING:
    from posepipe.io.records import Records
    from posepipe.stages import ActionRecogniser

__all__ = ["add", "add_no_actions", "add_recogniser", "recogniser"]

_ABOUT = """\
Say what the people of a finished run did, from records.jsonl or refined.jsonl. OUT.csv is the table actions.csv that
`posepipe run` writes; OUT.jsonl is the same records with the actions in them, for `posepipe render`."""


def add(commands: Commands) -> None:
    """Put the command on the command line."""
    actions = commands.add_parser(
        "actions", help="what people did, from the records of a run", description=_ABOUT, allow_abbrev=False
    )
    actions.add_argument("records", metavar="RECORDS", help="records.jsonl or refined.jsonl of a run")
    actions.add_argument("-o", "--out", required=True, metavar="OUT", help="file to write: OUT.csv or OUT.jsonl")
    add_recogniser(actions, "small")
    actions.add_argument("--overwrite", action="store_true", help="replace OUT where it exists")
    actions.add_argument("--quiet", action="store_true", help="print errors only")
    actions.set_defaults(command=_actions)


def add_recogniser(parser: argparse.ArgumentParser, default: str | None) -> None:
    """The flags that say which network names actions and what it runs on."""
    what = "small or tad (built in), or an ONNX file of an action network"
    told = f"(default {default})" if default else "(default: as the records say)"
    parser.add_argument("--actions", default=default, metavar="MODEL", help=f"{what} {told}")
    parser.add_argument("--device", default="auto", metavar="TEXT", help="auto, cpu or cuda (default auto)")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="threads, 0 = all cores (default 0)")


def add_no_actions(parser: argparse.ArgumentParser, text: str) -> None:
    """The flag that switches actions off."""
    off = argparse.SUPPRESS
    parser.add_argument("--no-actions", dest="actions", action="store_const", const="none", default=off, help=text)


def recogniser(arguments: argparse.Namespace, records: Records, name: str) -> ActionRecogniser | None:
    """The network that is called ``name``, for the keypoints of some records."""
    from posepipe.config import Config
    from posepipe.stages.build import build_actions

    config = Config(actions=name, device=arguments.device, threads=arguments.threads)
    return build_actions(config, records.skeleton)


def _actions(arguments: argparse.Namespace) -> int:
    from posepipe.errors import UsageError
    from posepipe.io.records import read_records
    from posepipe.report import Progress
    from posepipe.run.actions import act_on_records

    records = read_records(arguments.records)
    network = recogniser(arguments, records, arguments.actions)
    if network is None:
        raise UsageError(
            f"--actions {arguments.actions} names nobody who could say what people did", expected="a network"
        )
    warn_of_end(records, arguments.quiet)
    total = (records.summary or {}).get("frames")
    progress = Progress("actions", total, quiet=arguments.quiet)
    try:
        act_on_records(records, Path(arguments.out), network, overwrite=arguments.overwrite, watch=progress.over)
    finally:
        progress.close()
    say(arguments.quiet)(f"{arguments.records} -> {arguments.out}")
    return 0
