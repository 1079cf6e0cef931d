"""Files that are whole or absent."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from posepipe.errors import OutputError

__all__ = ["atomic_path", "file_state", "output_errors", "sha256_of"]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn an ``OSError`` of the block into an :class:`OutputError` that names ``path`` and a way out."""
    try:
        yield
    except OSError as error:
        full = error.errno in _FULL
        hint = "Free some space, or name another folder" if full else "Name a folder that exists and can be written"
        raise OutputError(f"cannot write {path}: {error.strerror or error}", hint=hint) from error


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; when the block ends well it becomes ``path``, else it is removed.

    The file is on the disk before it gets its name, so that a crash, a kill or a full disk leaves either the old file
    or the new one. The temporary name keeps the suffix, by which many writers choose a format.

    Raises
    ------
    OutputError
        No space, no permission, no folder, or ``path`` is there and is no file, but a folder or a device.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise OutputError(f"cannot write {path}: it is there and is no file", hint="Name a file")
    unfinished = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.tmp{path.suffix}")
    try:
        with output_errors(path):
            yield unfinished
            with unfinished.open("rb+") as file:
                os.fsync(file.fileno())
            unfinished.replace(path)
            _sync_folder(path.parent)
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


def file_state(path: Path) -> str:
    """Place, size and time of change of a file: what was made of it is good for as long as these stay.

    Raises ``OSError`` for a file that is not there.
    """
    status = path.stat()
    return f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"


def sha256_of(path: str | Path, check: Callable[[], None] = lambda: None) -> str:
    """SHA-256 of a file as 64 hex digits. Raises ``OSError`` where it cannot be read.

    ``check`` is called with every megabyte; it may raise to stop the work.
    """
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
            check()
    return digest.hexdigest()


def _sync_folder(folder: Path) -> None:
    """Put the new name on the disk; systems that cannot open folders (Windows) write names by themselves."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
