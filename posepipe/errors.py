"""What can go wrong, one class a cause, and the exit code that the command line gives it.

::

    PosepipeError            1
    ├── UsageError           2   a flag, an argument or a configuration value is wrong
    │   └── ConfigError      2   a configuration file is wrong
    ├── InputError           3   an input cannot be read at all
    │   └── DamagedInputError 4  an input broke off: what was decoded is written and valid
    ├── WeightsError         5   weights are missing, changed or of the wrong kind
    ├── OutputError          6   an output cannot be written
    ├── MissingExtraError    2   an optional package is not installed
    └── StageError           1   a stage raised: the message names the stage and the frame

Every message says what happened, what was got, what was expected, and what to do; where a stage of the pipeline raises
one of them, it begins with the stage and the frame. ``posepipe data check`` and ``split`` end with 4 where the set, not
the command, is wrong.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "ConfigError",
    "DamagedInputError",
    "InputError",
    "MissingExtraError",
    "OutputError",
    "PosepipeError",
    "StageError",
    "UsageError",
    "WeightsError",
    "near_names",
    "unexpected",
]


class PosepipeError(Exception):
    """Base of every error that posepipe raises on purpose.

    Parameters
    ----------
    what
        What happened, naming the file, flag or field.
    got, expected
        The value that was met and the one that would have been right (optional).
    hint
        A way out (optional).
    """

    exit_code: int = 1

    def __init__(self, what: str, *, got: object = None, expected: object = None, hint: str | None = None) -> None:
        self.what = what
        self.got = got
        self.expected = expected
        self.hint = hint
        parts = [what]
        if got is not None:
            parts.append(f"got {got}")
        if expected is not None:
            parts.append(f"expected {expected}")
        text = "; ".join(parts)
        super().__init__(f"{text}. {hint}" if hint else text)

    def at(self, place: str) -> PosepipeError:
        """The same error, of the same class, whose message begins with where it happened."""
        placed = type(self).__new__(type(self))
        placed.__dict__.update(self.__dict__)
        placed.what, placed.args = f"{place}: {self.what}", (f"{place}: {self}",)
        return placed


class UsageError(PosepipeError):
    """A flag, an argument or a configuration value is wrong."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration file cannot be parsed, or holds an unknown key or a value of the wrong type."""


class MissingExtraError(UsageError):
    """A feature was asked for whose optional packages are not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs packages that are not installed",
            hint=f"Install them with: pip install 'posepipe[{extra}]'",
        )


class InputError(PosepipeError):
    """An input does not exist, is empty, or holds nothing that can be decoded."""

    exit_code = 3


class DamagedInputError(InputError):
    """An input broke off while it was read; everything before that point is usable."""

    exit_code = 4


class WeightsError(PosepipeError):
    """Weights are missing, differ from their checksum, or are not of the kind that was asked for."""

    exit_code = 5


class OutputError(PosepipeError):
    """An output cannot be written: no space, no permission, or it exists already."""

    exit_code = 6


class StageError(PosepipeError):
    """A stage of the pipeline raised; carries the stage's name and the frame it was working on."""

    def __init__(self, stage: str, frame_index: int, cause: BaseException) -> None:
        super().__init__(f"the {stage} stage failed at frame {frame_index}: {type(cause).__name__}: {cause}")
        self.stage = stage
        self.frame_index = frame_index


def near_names(name: str, known: Iterable[str], most: int = 3) -> list[str]:
    """Known names, nearest first, that may have been meant by ``name``, or by the last part of a dotted one."""
    meant: dict[str, list[str]] = {}
    for one in known:
        for key in dict.fromkeys((one, one.rpartition(".")[2])):
            meant.setdefault(key, []).append(one)
    near = difflib.get_close_matches(name, meant, most)
    return list(dict.fromkeys(one for key in near for one in meant[key]))[:most]


def unexpected(error: Exception) -> str:
    """One line about an error that posepipe did not raise on purpose, with a way out."""
    if isinstance(error, ImportError) and not (error.name or "").startswith(__package__):
        return f"a package is missing or broken ({error}); `posepipe doctor` says which, and how to mend it"
    return f"unexpected {type(error).__name__}: {error}; set POSEPIPE_DEBUG=1 to see where, and please report it"
