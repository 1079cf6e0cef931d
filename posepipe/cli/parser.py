"""What every command shares: a parser that raises, numbers with ranges, flags derived from the settings."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, get_type_hints

from posepipe.config import Config, load_config
from posepipe.errors import UsageError, near_names

if TYPE_CHECKING:
    from posepipe.io.records import Records

__all__ = ["Commands", "Parser", "add_settings", "fail", "number", "say", "settings", "warn", "warn_of_end"]

#: what `add_subparsers` returns: a command group adds its parsers to it
Commands = Any


class Parser(argparse.ArgumentParser):
    """Raises :class:`UsageError`, in one line and with the flag that may have been meant, instead of exiting."""

    #: adds flags that are costly to know, when the command is parsed
    fill: Callable[[Parser], None] | None = None
    #: what to do instead of giving a flag that there is not, where that is not to give another one
    advise: Callable[[str], str | None] | None = None

    def error(self, message: str) -> NoReturn:
        """Raise `UsageError`."""
        hint = f"See: {self.prog} --help"
        unknown = message.partition("unrecognized arguments: ")[2].split()
        for flag in (word.split("=")[0] for word in unknown if word.startswith("-")):
            advice = self.advise(flag) if self.advise else None
            # Of settings in sections the last part may be given: --epochs for --engine.epochs.
            known = {one.lstrip("-"): one for one in sorted(self.flags())}
            near = [known[name] for name in near_names(flag.lstrip("-"), known, 1)]
            if advice or near:
                raise UsageError(message, hint=f"{advice or f'Did you mean {near[0]}?'} {hint}")
        raise UsageError(message, hint=hint)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does, after the flags that `fill` adds: of all commands only the one that was named needs its."""
        fill, self.fill = self.fill, None
        if fill is not None:
            fill(self)
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:  # said here, by the command that was named, not by the whole command line
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown

    def flags(self) -> set[str]:
        """Every flag of this command and of those below it."""
        found = set(self._option_string_actions)
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                found.update(flag for parser in action.choices.values() for flag in parser.flags())
        return found


def number(kind: type, low: float | None, high: float | None) -> Callable[[str], float]:
    """An argparse type: a number from `low` to `high`."""

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


def add_settings(parser: argparse.ArgumentParser) -> None:
    """A flag for every field of :class:`Config`, with its help, range and default."""
    group = parser.add_argument_group("settings", "in a --config file the same names, with underscores for the hyphens")
    hints = get_type_hints(Config)
    for field in dataclasses.fields(Config):
        kind, low, high = hints[field.name], field.metadata["low"], field.metadata["high"]
        flag = "--" + field.name.replace("_", "-")
        if kind is bool:
            switch = argparse.BooleanOptionalAction
            text = f"{field.metadata['help']} (default {field.default})"
            group.add_argument(flag, action=switch, default=argparse.SUPPRESS, help=text)
            continue
        group.add_argument(
            flag,
            type=str if kind is str else number(kind, low, high),
            default=argparse.SUPPRESS,
            metavar="TEXT" if kind is str else "N" if kind is int else "X",
            help=f"{field.metadata['help']} (default {field.default})".replace("%", "%%"),
        )
    group.add_argument("--config", metavar="FILE", help="TOML file of settings; flags go before it")


def settings(arguments: argparse.Namespace) -> Config:
    """The settings that the flags of `add_settings` and the --config file give; raises `ConfigError`."""
    names = {field.name for field in dataclasses.fields(Config)}
    return load_config(arguments.config, **{k: v for k, v in vars(arguments).items() if k in names})


def say(quiet: bool) -> Callable[[str], None]:
    """`print`, or nothing."""
    return (lambda text: None) if quiet else print


def warn(text: str, quiet: bool = False) -> None:
    """Print a warning in one line on standard error, unless ``quiet``."""
    if not quiet:
        print(f"posepipe: warning: {' '.join(text.split())}", file=sys.stderr)


def warn_of_end(records: Records, quiet: bool) -> None:
    """Say it where records hold less than their video, or do not say."""
    summary = records.summary
    if summary is None:
        warn(f"{records.path} has no end: its run broke off (run --resume goes on with it)", quiet)
    elif summary.get("status") != "ok" or summary.get("reason"):
        warn(f"the run of {records.path} ended with {summary.get('status')}: {summary.get('reason')}", quiet)


def fail(message: str, code: int) -> int:
    """Print an error in one line on standard error; returns `code`."""
    if os.environ.get("POSEPIPE_DEBUG") == "1" and sys.exc_info()[0] is not None:
        traceback.print_exc()
    print(f"posepipe: error: {' '.join(str(message).split())}", file=sys.stderr)
    return code
