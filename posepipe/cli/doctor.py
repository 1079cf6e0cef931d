"""``posepipe doctor``: what is installed, and how to mend what is not."""

from __future__ import annotations

import argparse

from posepipe.cli.parser import Commands

__all__ = ["add"]


def add(commands: Commands) -> None:
    """Put the command on the command line."""
    doctor = commands.add_parser("doctor", help="what is installed, and how to mend what is not", allow_abbrev=False)
    doctor.set_defaults(command=_doctor)


def _doctor(_arguments: argparse.Namespace) -> int:
    from posepipe.doctor import examine

    findings = examine()
    for finding in findings:
        print(finding.line())
    return 1 if any(finding.fatal for finding in findings) else 0
