"""``posepipe models``: the weights at hand."""

from __future__ import annotations

import argparse

from posepipe.cli.parser import Commands

__all__ = ["add"]


def add(commands: Commands) -> None:
    """Put the command on the command line."""
    models = commands.add_parser("models", help="the weights at hand", allow_abbrev=False)
    models.add_argument("action", choices=("list", "verify"), help="list them, or compare them with their checksums")
    models.set_defaults(command=_models)


def _models(arguments: argparse.Namespace) -> int:
    from posepipe.doctor import models_table

    table, sound = models_table(verify=arguments.action == "verify")
    print(table)
    return 0 if sound else 5
