"""Weights that others published: what they are, under which terms, and where they lie once they were fetched.

They are listed in ``zoo.toml`` and lie in the cache folder (``POSEPIPE_CACHE``), each beside a receipt that says where
it came from. Nothing here uses the network: that is :mod:`posepipe.io.download`.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from posepipe.config import cache_root, read_toml
from posepipe.errors import WeightsError
from posepipe.io.atomic import sha256_of
from posepipe.io.weights import read_card

__all__ = ["PublicWeights", "Receipt", "Terms", "fetched", "problem_of", "public_weights", "read_receipt", "terms_of"]

_ZOO = Path(__file__).with_name("zoo.toml")
_WHOLE = 64
_MAX_RECEIPT = 100_000


@dataclass(frozen=True)
class PublicWeights:
    """One published file.

    Attributes
    ----------
    name, kind
        As users write it; ``detector`` or ``sppe``.
    adapter
        What runs it: ``yolox``, ``rtmdet``, ``torchvision``; ``heatmap``, ``simcc``, ``checkpoint``.
    urls
        The publisher's address first, then mirrors.
    licence, trained_on, note
        Terms of the file, what it was trained on and the terms of that, and what else one should know.
    sha256
        Of the network, 64 hex digits; the first digits only where no more is published; empty where nothing is.
    member
        Name of the network in an archive, empty where it comes alone.
    size
        Bytes of the network; 0 where that is not known.
    input_size
        (height, width) px; None where it is free.
    extra
        The extra of posepipe that it needs, or empty.
    """

    name: str
    kind: str
    adapter: str
    urls: tuple[str, ...]
    licence: str
    trained_on: str
    note: str = ""
    sha256: str = ""
    member: str = ""
    size: int = 0
    input_size: tuple[int, int] | None = None
    extra: str = ""

    @property
    def path(self) -> Path:
        """Where the file lies once it was fetched."""
        suffix = PurePosixPath(self.member or urlsplit(self.urls[0]).path).suffix
        return cache_root() / "weights" / f"{self.name}{suffix}"

    @property
    def receipt(self) -> Path:
        """Where it is written down what was fetched."""
        return cache_root() / "weights" / f"{self.name}.json"


@dataclass(frozen=True)
class Receipt:
    """What was fetched: ``sha256`` of the file, the ``source`` it came from, whether it was ``pinned`` by hand."""

    sha256: str
    source: str
    pinned: bool


@dataclass(frozen=True)
class Terms:
    """Under which terms a file may be used: its ``licence``, and what it was ``trained_on``; None = it does not say."""

    licence: str | None
    trained_on: str | None


@cache
def public_weights() -> Mapping[str, PublicWeights]:
    """Every published file by its name, in the order of the list."""
    found = {}
    for name, row in read_toml(_ZOO).items():
        if "urls" in row:
            size = row.pop("input_size", None)
            row["urls"] = tuple(row["urls"])
            found[name] = PublicWeights(name=name, input_size=None if size is None else (size[0], size[1]), **row)
    return found


def read_receipt(entry: PublicWeights) -> Receipt | None:
    """What was fetched under this name, or None: nothing, or the receipt cannot be read."""
    try:
        if entry.receipt.stat().st_size > _MAX_RECEIPT:
            return None
        values: Any = json.loads(entry.receipt.read_text("utf-8"))
        receipt = Receipt(values["sha256"], values["source"], values["pinned"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    sound = isinstance(receipt.sha256, str) and len(receipt.sha256) == _WHOLE
    return receipt if sound and isinstance(receipt.source, str) and type(receipt.pinned) is bool else None


def problem_of(entry: PublicWeights, path: Path | None = None) -> str | None:
    """What is wrong with a file, or None: it is there, and is what was published or pinned.

    Parameters
    ----------
    entry
        The entry it should be.
    path
        The file; by default where `entry` lies once it was fetched.
    """
    path = path or entry.path
    try:
        if entry.size and path.stat().st_size != entry.size and not is_pinned(entry):
            return f"{path} has {path.stat().st_size} bytes, not {entry.size}"
        found = sha256_of(path)
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    receipt = read_receipt(entry)
    expected = entry.sha256
    if receipt is not None and (receipt.pinned or receipt.sha256.startswith(expected)):
        expected = receipt.sha256
    if not expected:
        return f"the receipt of {path} is missing, which says what was fetched"
    if not found.startswith(expected):
        what = "what was published" if expected == entry.sha256 else "what was pinned"
        return f"{path} differs from {what}: sha256 {found[:12]}..., not {expected[:12]}..."
    return None


def is_pinned(entry: PublicWeights) -> bool:
    """Whether the file in the cache is one that a user put there in place of the published one."""
    receipt = read_receipt(entry)
    return receipt is not None and receipt.pinned


def fetched(name: str) -> Path:
    """Path of published weights that were fetched, once their checksum was found right. Uses no network.

    Raises
    ------
    WeightsError
        There are none of that name, they were not fetched, or the file was changed: the message names the command.
    """
    entries = public_weights()
    if name not in entries:
        near = difflib.get_close_matches(name, entries, n=1, cutoff=0.5)
        raise WeightsError(
            f"there are no weights called {name!r}",
            expected=f"one of {', '.join(entries)}",
            hint=f"Did you mean {near[0]!r}?" if near else None,
        )
    entry = entries[name]
    if not entry.path.is_file():
        raise WeightsError(f"{name} was not fetched yet", hint=f"Fetch it with: posepipe models fetch {name}")
    problem = problem_of(entry)
    if problem:
        way = " --from FILE --pin" if is_pinned(entry) else ""
        raise WeightsError(problem, hint=f"Fetch it again with: posepipe models fetch {name}{way}")
    return entry.path


def terms_of(path: Path, sha256: str | None = None) -> Terms:
    """The terms of a weights file: from its card, or from the list where its checksum is that of a published file.

    Parameters
    ----------
    path
        The file.
    sha256
        Its checksum, where it is known already.
    """
    try:
        card = read_card(path)
    except WeightsError:
        return _published(path, sha256)
    trained_on = card.values.get("trained_on")
    if isinstance(trained_on, list):
        trained_on = "; ".join(map(str, trained_on))
    return Terms(card.licence or None, str(trained_on) if trained_on else None)


def _published(path: Path, sha256: str | None) -> Terms:
    try:
        found = sha256 or sha256_of(path)
    except OSError:
        return Terms(None, None)
    for entry in public_weights().values():
        receipt = read_receipt(entry)
        if entry.sha256 and found.startswith(entry.sha256):
            return Terms(entry.licence, entry.trained_on)
        if receipt is not None and receipt.sha256 == found:
            if receipt.pinned:
                return Terms(f"not known: a file of the user's, pinned as {entry.name} ({entry.licence})", None)
            return Terms(entry.licence, entry.trained_on)
    return Terms(None, None)
