"""``posepipe eval``: score results against ground truth; one module a kind of results."""

from __future__ import annotations

from posepipe.cli import eval_action, eval_forgery, eval_tad, eval_track
from posepipe.cli.parser import Commands

__all__ = ["add"]

KINDS = (eval_track, eval_action, eval_tad, eval_forgery)


def add(commands: Commands) -> None:
    """Put the command on the command line."""
    group = commands.add_parser("eval", help="score results against ground truth", allow_abbrev=False)
    kinds = group.add_subparsers(title="what", metavar="WHAT", required=True)
    for kind in KINDS:
        kind.add(kinds)
