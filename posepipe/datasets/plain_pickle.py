"""Pickles of plain data: numbers, text, containers and numpy arrays, and nothing that could run.

Public skeleton sets come as pickles, which are programs. Here the only names that a pickle may call are those with
which numpy writes its arrays, and behind each of them stands code of this module, not numpy's.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posepipe.errors import InputError

__all__ = ["read_plain_pickle"]

_KIND = re.compile(r"[biufS][0-9]{1,4}|[?bBhHiIlLqQfd]|U[0-9]{1,4}")
_MODULES = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric")


class _Kind:
    """A dtype of numbers or text."""

    def __init__(self, code: str, *_flags: object) -> None:
        if not isinstance(code, str) or not _KIND.fullmatch(code.lstrip("<>=|")):
            raise pickle.UnpicklingError(f"an array of kind {code!r}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """An array whose bytes are still to come."""

    array: NDArray[Any]

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, kind, by_columns, data = state
        self.array = _shaped(data, kind, shape, "F" if by_columns else "C")


def _shaped(data: bytes, kind: _Kind, shape: tuple[int, ...], order: str = "C") -> NDArray[Any]:
    if not isinstance(kind, _Kind) or order not in ("C", "F"):
        raise pickle.UnpicklingError("an array that is not of numbers or text")
    values: NDArray[Any] = np.frombuffer(data, kind.dtype).reshape(shape, order="C" if order == "C" else "F").copy()
    return values


def _begin(kind: object, shape: tuple[int, ...], _code: object) -> _Array:
    if kind != _NDARRAY or tuple(shape) != (0,):
        raise pickle.UnpicklingError("an array of an unknown class")
    return _Array()


def _scalar(kind: _Kind, data: bytes) -> Any:
    return _shaped(data, kind, ())[()]


def _from_buffer(data: bytes, kind: _Kind, shape: tuple[int, ...], order: str) -> NDArray[Any]:
    return _shaped(data, kind, shape, order)


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"text in {encoding!r}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """Old protocols write empty bytes as this call."""
    return b""


#: stands for the class of arrays, which cannot be called
_NDARRAY = "ndarray"
_KNOWN: dict[str, Callable[..., Any] | str] = {
    "ndarray": _NDARRAY,
    "dtype": _Kind,
    "_reconstruct": _begin,
    "scalar": _scalar,
    "_frombuffer": _from_buffer,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):
            return _encode
        if (module, name) in (("__builtin__", "bytes"), ("builtins", "bytes")):
            return _no_bytes
        if module not in _MODULES or name not in _KNOWN:
            raise pickle.UnpicklingError(f"it wants to call {module}.{name}")
        return _KNOWN[name]

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError(f"it refers to something outside it ({pid!r})"[:80])


def read_plain_pickle(path: Path) -> Any:
    """What a pickle of plain data holds: None, numbers, text, bytes, lists, tuples, dicts, sets and numpy arrays.

    Raises
    ------
    InputError
        The file cannot be read, or wants anything but plain data; then nothing of it has been run.
    """
    try:
        with path.open("rb") as file:
            return _plain(_Reader(file).load())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}", hint="Check the path") from error
    # A damaged pickle raises what it pleases; out of the operations above none can do more than raise.
    except Exception as error:
        raise InputError(
            f"{path} is refused as a pickle: {error}"[:300],
            expected="plain data: numbers, text, containers and arrays of numpy",
        ) from error


def _plain(value: Any) -> Any:
    """The same with arrays in the place of what they were read as."""
    if isinstance(value, _Array):
        return value.array
    if isinstance(value, _Kind):
        return value.dtype
    if isinstance(value, dict):
        return {_plain(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(v) for v in value)
    return value
