"""Weights that come with the package: where they lie, what they are, and whether they are what was published.

Weights are ONNX files. What is needed to use them stands in the file itself, as JSON in the metadata property
``posepipe`` (the card); here only those few bytes are read, by rules strict enough for hostile files, and nothing in
them is ever run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

from posepipe.config import read_toml
from posepipe.errors import WeightsError
from posepipe.io.atomic import atomic_path, sha256_of

__all__ = ["WeightsCard", "WeightsEntry", "list_weights", "pin_weights", "read_card", "verify_weights", "weights_path"]

_ZOO = Path(__file__).with_name("zoo.toml")
_FOLDER = Path(__file__).parents[1] / "weights"
_MEND = (
    "Install the package again: pip install --force-reinstall --no-deps posepipe "
    "(after training new weights: posepipe.io.weights.pin_weights())"
)
# Field numbers and wire types of onnx.proto: ModelProto.metadata_props and its entries' key and value.
_METADATA, _KEY, _VALUE = 14, 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_CARD = 1 << 20


@dataclass(frozen=True)
class WeightsEntry:
    """One line of the zoo: ``name``, ``path``, ``kind``, ``licence`` and the published ``sha256``."""

    name: str
    path: Path
    kind: str
    licence: str
    sha256: str


@dataclass(frozen=True)
class WeightsCard:
    """What a weights file says of itself.

    Attributes
    ----------
    name, kind, version, licence
        ``kind`` is ``detector`` or ``sppe``; empty texts where the card does not say.
    input_size
        (height, width) in px, or None.
    values
        Everything on the card.
    """

    name: str
    kind: str
    version: str
    licence: str
    input_size: tuple[int, int] | None
    values: Mapping[str, Any]


def list_weights() -> list[WeightsEntry]:
    """The weights that come with the package, present or not; those of others are :mod:`posepipe.io.zoo`'s."""
    return [
        WeightsEntry(name, _FOLDER / str(row["file"]), str(row["kind"]), str(row["licence"]), str(row["sha256"]))
        for name, row in read_toml(_ZOO).items()
        if "file" in row
    ]


def verify_weights(entry: WeightsEntry) -> str | None:
    """What is wrong with a weights file, or None: it is there and has the published checksum."""
    try:
        found = sha256_of(entry.path)
    except OSError as error:
        return f"{entry.path} cannot be read: {error.strerror}"
    if found != entry.sha256:
        return f"{entry.path} differs from what was published: sha256 {found[:12]}..., not {entry.sha256[:12]}..."
    return None


@cache
def weights_path(name: str) -> Path:
    """Path of embedded weights, once their checksum was found right.

    Raises
    ------
    WeightsError
        There are none of that name, the file is missing, or it was changed or cut short.
    """
    entries = {entry.name: entry for entry in list_weights()}
    if name not in entries:
        raise WeightsError(f"there are no weights called {name!r}", hint=f"Known: {', '.join(sorted(entries))}")
    problem = verify_weights(entries[name])
    if problem:
        raise WeightsError(problem, hint=_MEND)
    return entries[name].path


def pin_weights() -> None:
    """Write the checksums of the weights at hand into ``zoo.toml``, for a release."""
    text = _ZOO.read_text("utf-8")
    for entry in list_weights():
        row = re.compile(rf'(\[{re.escape(entry.name)}\][^\[]*?\nsha256 = )"[^"]*"')
        text = row.sub(rf'\g<1>"{sha256_of(entry.path)}"', text)
    with atomic_path(_ZOO) as unfinished:
        unfinished.write_text(text, "utf-8")
    weights_path.cache_clear()


def read_card(path: str | Path) -> WeightsCard:
    """Read the card of an ONNX file, without the network.

    Raises
    ------
    WeightsError
        The file cannot be read, is not ONNX, is cut short, or has no valid card.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            text = _property(file, b"posepipe")
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}", hint="Check the path") from error
    except ValueError as error:
        raise WeightsError(f"{path} is not a whole ONNX file: {error}", hint="Get it anew") from error
    if text is None:
        raise WeightsError(f"{path} has no card", hint="Its export did not write the metadata property 'posepipe'")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"the card of {path} is not valid JSON: {error}", hint="Get the file anew") from error
    if not isinstance(values, dict):
        raise WeightsError(f"the card of {path} is not an object", got=type(values).__name__)
    return _card(path, values)


def _card(path: Path, values: dict[str, Any]) -> WeightsCard:
    size = values.get("input_size")
    if size is not None and not (
        isinstance(size, list) and len(size) == 2 and all(type(n) is int and 0 < n < 1 << 16 for n in size)
    ):
        raise WeightsError(
            f"the card of {path} has no usable input_size", got=repr(size)[:60], expected="[height, width]"
        )
    name, kind, version, licence = (str(values.get(k, "")) for k in ("name", "kind", "version", "licence"))
    pair = None if size is None else (size[0], size[1])
    return WeightsCard(name, kind, version, licence, pair, MappingProxyType(values))


def _property(file: BinaryIO, key: bytes) -> str | None:
    """Value of a metadata property; the rest is stepped over. Raises ``ValueError`` for what is not ONNX."""
    size = file.seek(0, 2)
    file.seek(0)
    found: str | None = None
    fields = 0
    for number, kind, length in _fields(file, size):
        fields += 1
        if number != _METADATA or kind != _BYTES:
            file.seek(length, 1)
            continue
        if length > _MAX_CARD:
            raise ValueError("a metadata property is too large")
        end = file.tell() + length
        entry: dict[int, bytes] = {}
        for inner, inner_kind, inner_length in _fields(file, end):
            data = file.read(inner_length)
            if inner_kind == _BYTES:
                entry[inner] = data
        if entry.get(_KEY) == key:
            found = entry.get(_VALUE, b"").decode("utf-8")
    if not fields:
        raise ValueError("it is empty")
    return found


def _fields(file: BinaryIO, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, wire type and length of each field up to ``end``; the caller reads or steps over the content."""
    while file.tell() < end:
        tag = _varint(file)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            _varint(file)
            length = 0
        elif kind == _BYTES:
            length = _varint(file)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"there is no field of type {kind}")
        # ModelProto counts its fields to 26 (2026); what is far beyond is no ONNX.
        if not 0 < number < 1000 or file.tell() + length > end:
            raise ValueError("a field is out of bounds")
        yield number, kind, length


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise ValueError("it breaks off")
        value |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return value
    raise ValueError("a number is too long")
