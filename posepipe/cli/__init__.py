"""The command ``posepipe``: one module a group of commands; its `add` puts their parsers on the command line.

Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from typing import NoReturn

from posepipe import __version__
from posepipe.cli import actions, data, doctor, heatmaps, models, refine, run, streams, train
from posepipe.cli import eval as evaluation
from posepipe.cli.parser import Parser, fail
from posepipe.errors import InputError, PosepipeError, unexpected

__all__ = ["main", "run_and_exit"]

GROUPS = (run, refine, actions, streams, heatmaps, train, data, evaluation, models, doctor)


def command_line() -> Parser:
    """The parser of the whole command line."""
    about = "From a video to people, poses, tracks, pose streams and actions."
    whole = Parser(prog="posepipe", description=about, allow_abbrev=False)
    whole.add_argument("--version", action="version", version=f"posepipe {__version__}")
    commands = whole.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for group in GROUPS:
        group.add(commands)
    return whole


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    Errors are printed in one line on standard error. With ``POSEPIPE_DEBUG=1`` in the environment the traceback is
    shown before it.
    """
    try:
        arguments = command_line().parse_args(argv)
        code: int = arguments.command(arguments)
        sys.stdout.flush()
        return code
    except PosepipeError as error:
        return fail(str(error), error.exit_code)
    except KeyboardInterrupt as error:
        return fail(str(error) or "interrupted", getattr(error, "exit_code", 130))
    except BrokenPipeError:
        # The reader of our output has gone: end quietly, as other commands do, without a second error at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except PermissionError as error:  # of what is read: what is written has errors of its own
        return fail(
            f"cannot read {error.filename}: {error.strerror}. Ask for the right to read it", InputError.exit_code
        )
    except MemoryError:
        return fail("out of memory; try --batch 1, a smaller --max-people or a smaller video", 1)
    except Exception as error:  # the last net: no traceback reaches a user, whatever went wrong
        return fail(unexpected(error), 1)


def run_and_exit() -> NoReturn:
    """What the command ``posepipe`` calls: `main`, then the end of the process.

    A reader that hangs (a stream without data) cannot be woken, and its thread would come to itself in an interpreter
    that is being taken down, which crashes now and then. Everything is written by then, so the process ends at once.
    """
    code = main()
    if any(thread.daemon and thread.name == "decode" for thread in threading.enumerate()):
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)
    sys.exit(code)
