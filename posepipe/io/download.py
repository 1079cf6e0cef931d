"""Fetching published weights: checked for size and checksum, whole or absent, and never without being asked."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any
from urllib.error import URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from posepipe.errors import UsageError, WeightsError
from posepipe.io.atomic import atomic_path, output_errors, sha256_of
from posepipe.io.zoo import PublicWeights, is_pinned, problem_of, read_receipt

__all__ = ["fetch", "offline"]

_TIMEOUT_S = 30.0
_CHUNK = 1 << 18
# The largest network whose size is not published, and what an archive may hold beside its network.
_LARGEST, _BESIDE = 1 << 30, 1 << 24
_ZIP = b"PK\x03\x04"
_WEB = ("https://", "http://")

#: told of bytes done, and of all bytes where their number is known
Progress = Callable[[int, "int | None"], None]


class _BadSourceError(Exception):
    """The source does not give the file; another may."""


def offline() -> bool:
    """Whether ``POSEPIPE_OFFLINE`` forbids the network."""
    return os.environ.get("POSEPIPE_OFFLINE", "") not in ("", "0")


def fetch(
    entry: PublicWeights,
    source: str | None = None,
    *,
    no_network: bool = False,
    pin: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Get a published file into the cache folder.

    The addresses of the entry are tried in their order. What comes is compared with the published size and checksum
    before it gets its name; where no checksum is published, that of the first download is kept and later ones must
    have it too. A download that broke off leaves nothing and starts anew.

    Parameters
    ----------
    entry
        What to get.
    source
        A file or address to take it from instead: the network itself, or the archive it is published in.
    no_network
        Touch no network, as with ``POSEPIPE_OFFLINE=1``.
    pin
        Keep what `source` gives under this name even though it is not what was published.
    progress
        Told how far it is.

    Returns
    -------
    Path of the file. Where it lies there already it is left as it is.

    Raises
    ------
    UsageError
        The network is needed and forbidden, or ``pin`` without a source.
    WeightsError
        No source gave the published file; the message says why each did not.
    OutputError
        The cache folder cannot be written.
    """
    if pin and source is None:
        raise UsageError("a pin needs a file to pin", hint="Name it with --from")
    forbidden = no_network or offline()
    # The published file takes the place of a pinned one, where it can be had.
    if source is None and problem_of(entry) is None and (forbidden or not is_pinned(entry)):
        return entry.path
    sources = list(entry.urls) if source is None else [source]
    if forbidden:
        _refuse_network(entry, sources)
    with output_errors(entry.path.parent):
        entry.path.parent.mkdir(parents=True, exist_ok=True)
    failures = []
    for place in sources:
        try:
            return _take(entry, place, progress or (lambda done, total: None), pin=pin)
        except _BadSourceError as error:
            failures.append(f"{place}: {error}")
    way = f"posepipe models fetch {entry.name} --from FILE"
    other = f"To use another file than the published one give its path, or keep it under this name: {way} --pin"
    hint = other if source else f"Get it elsewhere, then: {way}"
    raise WeightsError(f"{entry.name} could not be fetched; " + "; ".join(failures), hint=hint)


def _take(entry: PublicWeights, place: str, progress: Progress, *, pin: bool) -> Path:
    """The file from one place, under its name once it is the right one; raises `_BadSourceError`."""
    with atomic_path(entry.path) as unfinished:
        _bring(place, entry, unfinished, _LARGEST if pin else entry.size or _LARGEST, progress)
        digest = _check(entry, unfinished, pin=pin)
    _write_receipt(entry, digest, place, pin=pin)
    return entry.path


def _refuse_network(entry: PublicWeights, sources: list[str]) -> None:
    if any(place.startswith(_WEB) for place in sources):
        raise UsageError(
            f"{entry.name} is not at hand, and the network is not to be used",
            hint=f"Get {sources[0]} elsewhere, then: posepipe models fetch {entry.name} --from FILE",
        )


def _bring(place: str, entry: PublicWeights, target: Path, limit: int, progress: Progress) -> None:
    """Write the network, of at most `limit` bytes, to `target`, out of its archive where it comes in one."""
    if not entry.member:
        with target.open("wb") as file:
            _copy(place, file, limit, progress)
        return
    with tempfile.TemporaryFile(dir=target.parent) as spool:
        _copy(place, spool, limit + _BESIDE, progress)
        spool.seek(0)
        archive = spool.read(len(_ZIP)) == _ZIP
        spool.seek(0)
        with target.open("wb") as file:
            if archive:
                _unpack(spool, entry.member, file, limit)
            else:
                shutil.copyfileobj(spool, file)


def _copy(place: str, file: IO[bytes], limit: int, progress: Progress) -> None:
    """Copy a source of at most `limit` bytes; errors of reading are the source's, those of writing are not."""
    with _opened(place) as (stream, length):
        if length is not None and length > limit:
            raise _BadSourceError(f"it has {length} bytes, more than the {limit} that it may have")
        done = 0
        while True:
            try:
                chunk = stream.read(_CHUNK)
            except (OSError, HTTPException) as error:
                raise _BadSourceError(f"it broke off after {done} bytes ({error})") from error
            if not chunk:
                break
            done += len(chunk)
            if done > limit:
                raise _BadSourceError(f"it has more than the {limit} bytes that it may have")
            file.write(chunk)
            progress(done, length)
        if length is not None and done != length:
            raise _BadSourceError(f"it broke off after {done} of {length} bytes")


class _SameSafety(HTTPRedirectHandler):
    """Follows redirections, but from https to https only."""

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
        """Refuse what is less safe than what was asked for."""
        if not newurl.startswith("https://" if req.type == "https" else _WEB):
            raise URLError(f"it leads to {newurl[:200]}, which is less safe")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@contextmanager
def _opened(place: str) -> Iterator[tuple[IO[bytes], int | None]]:
    """A source as a stream, and its length where it says so."""
    if not place.startswith(_WEB):
        try:
            file = Path(place).open("rb")  # noqa: SIM115 - closed below; errors of use are not of opening
        except OSError as error:
            raise _BadSourceError(f"it cannot be read: {error.strerror}") from error
        with file:
            yield file, os.fstat(file.fileno()).st_size
        return
    try:
        request = Request(place, headers={"User-Agent": "posepipe"})  # noqa: S310 - http and https only, see above
        response = build_opener(_SameSafety).open(request, timeout=_TIMEOUT_S)
    except (OSError, HTTPException, ValueError) as error:
        raise _BadSourceError(str(error)) from error
    with response:
        length = response.headers.get("Content-Length") or ""
        yield response, int(length) if length.isdecimal() else None


def _unpack(archive: IO[bytes], member: str, file: IO[bytes], limit: int) -> None:
    """Write one member of a zip archive to `file`; its names never become paths, so none can lead elsewhere."""
    try:
        with zipfile.ZipFile(archive) as opened:
            found = [info for info in opened.infolist() if info.filename.replace("\\", "/").split("/")[-1] == member]
            if len(found) != 1:
                raise _BadSourceError(f"the archive holds {len(found)} files called {member}")
            info, parts = found[0], found[0].filename.replace("\\", "/").split("/")
            kind = stat.S_IFMT(info.external_attr >> 16)
            if ".." in parts or parts[0] in ("", "~") or ":" in parts[0] or kind not in (0, stat.S_IFREG):
                raise _BadSourceError(f"{info.filename[:100]!r} in the archive is no plain file inside it")
            if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise _BadSourceError("the archive is encrypted or packed in an unusual way")
            with opened.open(info) as stream:
                left = limit
                while chunk := stream.read(_CHUNK):
                    left -= len(chunk)
                    if left < 0:
                        raise _BadSourceError(f"{member} in the archive is larger than the {limit} bytes it may have")
                    file.write(chunk)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, RuntimeError) as error:
        raise _BadSourceError(f"the archive is damaged: {error}") from error


def _check(entry: PublicWeights, path: Path, *, pin: bool) -> str:
    """The checksum of what came, if it is what was published."""
    digest = sha256_of(path)
    if pin:
        return digest
    size = path.stat().st_size
    if entry.size and size != entry.size:
        raise _BadSourceError(f"it has {size} bytes, not {entry.size}")
    receipt = read_receipt(entry)
    known = entry.sha256
    if receipt is not None and not receipt.pinned and receipt.sha256.startswith(known):
        known = receipt.sha256
    if not digest.startswith(known):
        first = "" if known == entry.sha256 else f" as at the first download (remove {entry.receipt} to take it anew)"
        raise _BadSourceError(f"its sha256 is {digest[:12]}..., not {known[:12]}...{first}")
    with path.open("rb") as file:
        if file.read(256).lstrip()[:1] in (b"", b"<"):
            raise _BadSourceError("it is a web page, not a network")
    return digest


def _write_receipt(entry: PublicWeights, digest: str, source: str, *, pin: bool) -> None:
    place = source if source.startswith(_WEB) else Path(source).name
    text = json.dumps({"name": entry.name, "sha256": digest, "source": place, "pinned": pin}, indent=2)
    with atomic_path(entry.receipt) as unfinished:
        unfinished.write_text(text + "\n", "utf-8")
