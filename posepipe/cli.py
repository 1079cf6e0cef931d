"""The command ``posepipe``: parse, call, print. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, get_type_hints

from posepipe import __version__
from posepipe.config import Config, load_config
from posepipe.errors import PosepipeError, UsageError

__all__ = ["main"]

_EXIT_CODES = """\
exit codes: 0 done, 1 a stage failed, 2 a flag or setting is wrong, 3 an input cannot be read, 4 an input is damaged or
cut short (what was decoded is written and valid), 5 weights, 6 output, 130 and 143 stopped by a signal; of several
inputs, the highest"""


class _Parser(argparse.ArgumentParser):
    """Raises :class:`UsageError`, in one line and with the flag that may have been meant, instead of exiting."""

    def error(self, message: str) -> NoReturn:
        hint = f"See: {self.prog} --help"
        unknown = message.partition("unrecognized arguments: ")[2].split()
        known = sorted(self.flags())
        near = [n for word in unknown for n in difflib.get_close_matches(word.split("=")[0], known, 1)]
        raise UsageError(message, hint=f"Did you mean {near[0]}? {hint}" if near else hint)

    def flags(self) -> set[str]:
        """Every flag of this command and of those below it."""
        found = set(self._option_string_actions)
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                found.update(flag for parser in action.choices.values() for flag in parser.flags())
        return found


def _number(kind: type, low: float | None, high: float | None) -> Callable[[str], float]:
    def read(text: str) -> float:
        expected = f"expected {'a number' if kind is float else 'a whole number'} from {low} to {high}"
        try:
            value: float = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"got {text!r}; {expected}") from None
        if (low is not None and not value >= low) or (high is not None and not value <= high):
            raise argparse.ArgumentTypeError(f"{text} is out of range; {expected}")
        return value

    return read


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """A flag for every field of :class:`Config`, with its help, range and default."""
    group = parser.add_argument_group("settings", "in a --config file the same names, with underscores for the hyphens")
    hints = get_type_hints(Config)
    for field in dataclasses.fields(Config):
        kind, low, high = hints[field.name], field.metadata["low"], field.metadata["high"]
        group.add_argument(
            "--" + field.name.replace("_", "-"),
            type=str if kind is str else _number(kind, low, high),
            default=argparse.SUPPRESS,
            metavar="TEXT" if kind is str else "N" if kind is int else "X",
            help=f"{field.metadata['help']} (default {field.default})".replace("%", "%%"),
        )
    group.add_argument("--config", metavar="FILE", help="TOML file of settings; flags go before it")


def _settings(arguments: argparse.Namespace) -> Config:
    names = {field.name for field in dataclasses.fields(Config)}
    return load_config(arguments.config, **{k: v for k, v in vars(arguments).items() if k in names})


def _run(arguments: argparse.Namespace) -> int:
    from posepipe.pipeline import Pipeline
    from posepipe.report import Outcome, closing_table, engines
    from posepipe.run.batch import run_batch
    from posepipe.run.inputs import plan
    from posepipe.run.video import Options

    options = Options(
        out=Path(arguments.out),
        video=not arguments.no_video,
        resume=arguments.resume,
        overwrite=arguments.overwrite,
        limit_frames=arguments.limit_frames,
        quiet=arguments.quiet,
    )
    # Built before any input is touched: wrong weights or a missing package are no matter of one input.
    pipeline = Pipeline(config=_settings(arguments))
    used = engines({"detector": pipeline.detector, "pose": pipeline.pose})
    say = _say(arguments.quiet)
    for stage, engine in used.items():
        say(f"{stage}: {engine}")

    def tell(outcome: Outcome) -> None:
        if outcome.exit_code:
            _fail(outcome.line(), outcome.exit_code)
        else:
            say(outcome.line())

    outcomes = run_batch(plan(arguments.inputs), pipeline, options, tell)
    if len(outcomes) > 1:
        say(closing_table(outcomes))
    return max(outcome.exit_code for outcome in outcomes)


def _say(quiet: bool) -> Callable[[str], None]:
    return (lambda text: None) if quiet else print


def _render(arguments: argparse.Namespace) -> int:
    from posepipe.run.overlay import render_records

    frames = render_records(
        Path(arguments.records),
        arguments.video,
        Path(arguments.out),
        arguments.keypoint_score,
        overwrite=arguments.overwrite,
        quiet=arguments.quiet,
    )
    _say(arguments.quiet)(f"{frames} frames -> {arguments.out}")
    return 0


def _models(arguments: argparse.Namespace) -> int:
    from posepipe.doctor import models_table

    table, sound = models_table(verify=arguments.action == "verify")
    print(table)
    return 0 if sound else 5


def _doctor(arguments: argparse.Namespace) -> int:
    from posepipe.doctor import examine

    findings = examine()
    for finding in findings:
        print(finding.line())
    return 1 if any(finding.fatal for finding in findings) else 0


def _parser() -> _Parser:
    about = "From a video to people, poses, tracks and pose streams."
    parser = _Parser(prog="posepipe", description=about, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"posepipe {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    run = commands.add_parser(
        "run",
        help="find, pose and track the people in videos",
        description="Find, pose and track the people in videos; OUT/<name>/ holds the results of each.",
        epilog=_EXIT_CODES,
        allow_abbrev=False,
    )
    what = "video, folder or pattern of videos or pictures, webcam index, or URL of a stream"
    run.add_argument("inputs", nargs="+", metavar="INPUT", help=what)
    run.add_argument("-o", "--out", required=True, metavar="OUT", help="folder for the results")
    run.add_argument("--no-video", action="store_true", help="write no overlay.mp4")
    run.add_argument("--resume", action="store_true", help="skip finished inputs and continue the one that broke off")
    run.add_argument("--overwrite", action="store_true", help="replace results that OUT holds already")
    count = _number(int, 1, 10**12)
    run.add_argument("--limit-frames", type=count, metavar="N", help="stop after N frames of each input")
    run.add_argument("--quiet", action="store_true", help="print errors only")
    _add_settings(run)
    run.set_defaults(command=_run)

    render = commands.add_parser("render", help="draw the overlay again from records", allow_abbrev=False)
    render.add_argument("records", metavar="RECORDS", help="records.jsonl of a run")
    render.add_argument("video", metavar="VIDEO", help="the video that they were made from")
    render.add_argument("-o", "--out", required=True, metavar="OUT.mp4", help="the video to write")
    score = _number(float, 0, 1)
    render.add_argument("--keypoint-score", type=score, default=0.3, metavar="X", help="least score that is drawn")
    render.add_argument("--overwrite", action="store_true", help="replace OUT.mp4 where it exists")
    render.add_argument("--quiet", action="store_true", help="print errors only")
    render.set_defaults(command=_render)

    models = commands.add_parser("models", help="the weights at hand", allow_abbrev=False)
    models.add_argument("action", choices=("list", "verify"), help="list them, or compare them with their checksums")
    models.set_defaults(command=_models)

    doctor = commands.add_parser("doctor", help="what is installed, and how to mend what is not", allow_abbrev=False)
    doctor.set_defaults(command=_doctor)
    return parser


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    Errors are printed in one line on standard error. With ``POSEPIPE_DEBUG=1`` in the environment the traceback is
    shown before it.
    """
    try:
        arguments = _parser().parse_args(argv)
        code: int = arguments.command(arguments)
        sys.stdout.flush()
        return code
    except PosepipeError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt as error:
        return _fail(str(error) or "interrupted", getattr(error, "exit_code", 130))
    except BrokenPipeError:
        # The reader of our output has gone: end quietly, as other commands do, without a second error at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except MemoryError:
        return _fail("out of memory; try --batch 1, a smaller --max-people or a smaller video", 1)
    except Exception as error:  # the last net: no traceback reaches a user, whatever went wrong
        what = f"unexpected {type(error).__name__}: {error}"
        return _fail(f"{what}; set POSEPIPE_DEBUG=1 to see where, and please report it", 1)


def _fail(message: str, code: int) -> int:
    if os.environ.get("POSEPIPE_DEBUG") == "1" and sys.exc_info()[0] is not None:
        traceback.print_exc()
    print(f"posepipe: error: {_one_line(message)}", file=sys.stderr)
    return code
