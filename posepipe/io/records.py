"""``records.jsonl``: what was seen in each frame, written frame by frame and safe from a kill.

One compact JSON object a line: a header, one line for every decoded frame, and a closing summary. The file holds no
wall-clock time and no path, so that two runs over the same input give the same bytes. docs/formats.md has the schema.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from posepipe.errors import InputError
from posepipe.io.atomic import output_errors
from posepipe.io.schema import SCHEMA, VERSION, dump, frame_from_json, frame_to_json, parse, skeleton_from_json
from posepipe.skeleton import Skeleton
from posepipe.types import FrameResult

__all__ = ["RecordWriter", "Records", "ResumePoint", "read_records", "resume_point"]

# Room for 10,000 people in a frame; a longer line is not ours.
_MAX_LINE = 1 << 24
_HINT = "It was not written by posepipe, or was changed since; run again to make a new one"


class RecordWriter:
    """Write records line by line; each line is with the operating system before :meth:`write` returns.

    Use as a context manager, or call :meth:`close`. A block that raises closes the file without a summary, as a kill
    would, so that the run can be resumed.

    Parameters
    ----------
    path
        The file; replaced unless ``append``.
    header
        First line; ``type``, ``schema`` and ``version`` are the writer's own, ``skeleton`` is needed for reading.
    append
        Continue a file that :func:`resume_point` prepared; its header must be the same.

    Raises
    ------
    OutputError
        The file cannot be written.
    InputError
        The header of the file to be continued differs.
    """

    def __init__(self, path: str | Path, header: Mapping[str, Any], append: bool = False) -> None:
        self.path = Path(path)
        self.counts = {"frames": 0, "people": 0}
        self._ids: set[int] = set()
        own = {"type": "header", "schema": SCHEMA, "version": VERSION}
        first = {**own, **header, **own}
        held = self.path.stat().st_size if append and self.path.exists() else 0
        if held:
            self._take_up(first)
        with output_errors(self.path):
            self._file: BinaryIO = self.path.open("ab" if held else "wb", buffering=0)
        if not held:
            self._line(first)

    def _take_up(self, first: dict[str, Any]) -> None:
        records = read_records(self.path)
        if records.header != parse(dump(first)):
            raise InputError(
                f"{self.path} was made from another input or with other settings",
                hint="Give the settings of the first run, or start anew in another folder",
            )
        for result in records:
            self._count(result)

    def _count(self, result: FrameResult) -> None:
        self.counts["frames"] += 1
        self.counts["people"] += len(result.tracks)
        self._ids.update(result.tracks.track_id[result.tracks.confirmed].tolist())

    def _line(self, value: dict[str, Any]) -> None:
        data = (dump(value) + "\n").encode("utf-8")
        with output_errors(self.path):
            while data:
                data = data[self._file.write(data) :]

    def write(self, result: FrameResult) -> None:
        """Append one frame. Raises :class:`OutputError` where the disk is full."""
        self._line(frame_to_json(result))
        self._count(result)

    def close(self, status: str | None = None, reason: str | None = None) -> None:
        """Append the summary, unless ``status`` is None, and close; a second call does nothing.

        Parameters
        ----------
        status
            ``ok``, ``truncated`` or ``damaged``: how the input was; None leaves the file open-ended.
        reason
            What was wrong with the input.
        """
        if self._file.closed:
            return
        try:
            if status is not None:
                counts = {**self.counts, "tracks": len(self._ids)}
                self._line({"type": "summary", "status": status, **counts, "reason": reason})
            with output_errors(self.path):
                os.fsync(self._file.fileno())
        finally:
            self._file.close()

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Records:
    """A records file, read line by line: iterate as often as needed, memory stays flat.

    Iteration gives a :class:`FrameResult` for each frame line, in order, and raises :class:`InputError`, naming the
    file and the line, at the first one that is not valid. A last line that a kill cut short is left out.

    Attributes
    ----------
    path
        The file.
    header
        The first line.
    skeleton
        Names and order of the keypoints.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        first = next(self._lines(), None)
        if first is None:
            raise InputError(f"{self.path} is empty or its first line broke off", expected="a header", hint=_HINT)
        number, _, self.header = first
        if self.header.get("type") != "header" or self.header.get("schema") != SCHEMA:
            got = repr(self.header.get("schema"))[:60]
            raise self._wrong(number, "this is not a header of records", got=got, expected=SCHEMA)
        if self.header.get("version") != VERSION:
            got = repr(self.header.get("version"))[:60]
            raise self._wrong(number, "these records are of another version", got=got, expected=VERSION)
        try:
            self.skeleton: Skeleton = skeleton_from_json(self.header.get("skeleton"))
        except ValueError as error:
            raise self._wrong(number, str(error)) from error

    @property
    def frames(self) -> Iterator[FrameResult]:
        """A fresh iterator over the frames."""
        return iter(self)

    @property
    def summary(self) -> dict[str, Any] | None:
        """The closing line, or None where the run broke off."""
        last = self._last_line()
        try:
            value = parse(last)
        except ValueError:
            return None
        return value if value.get("type") == "summary" else None

    def __iter__(self) -> Iterator[FrameResult]:
        before: FrameResult | None = None
        frames, closed = 0, False
        for number, _, line in self._lines():
            if number == 1:
                continue
            if closed:
                raise self._wrong(number, "there is a line after the summary")
            closed = line.get("type") == "summary"
            if closed:
                if line.get("frames") != frames:
                    got, expected = f"{frames} frames", f"{line.get('frames')}, as the summary says"
                    raise self._wrong(number, "lines of frames are missing before it", got=got, expected=expected)
                continue
            if line.get("type") != "frame":
                raise self._wrong(number, "unknown type of line", got=repr(line.get("type"))[:60], expected="frame")
            try:
                result = frame_from_json(line, self.skeleton)
            except ValueError as error:
                raise self._wrong(number, str(error)) from error
            if before is not None and (result.frame_index <= before.frame_index or result.pts <= before.pts):
                raise self._wrong(number, "frames are not in order of time")
            if result.frame_index != frames:
                what = f"the line of frame {frames} is missing"
                raise self._wrong(number, what, got=f"frame {result.frame_index}", expected=f"frame {frames}")
            before, frames = result, frames + 1
            yield result

    def _lines(self) -> Iterator[tuple[int, int, dict[str, Any]]]:
        """Number from 1, byte offset of the end, and content of every whole line."""
        try:
            file = self.path.open("rb")
        except OSError as error:
            raise InputError(f"cannot read {self.path}: {error.strerror}", hint="Check the path") from error
        with file:
            number, end = 0, 0
            while raw := file.readline(_MAX_LINE):
                number, end = number + 1, end + len(raw)
                if not raw.endswith(b"\n"):
                    if len(raw) == _MAX_LINE:
                        raise self._wrong(number, "the line is too long", expected=f"at most {_MAX_LINE} bytes")
                    return  # a kill came while this line was written
                try:
                    yield number, end, parse(raw.decode("utf-8"))
                except ValueError as error:
                    raise self._wrong(number, f"not a line of records ({error})") from error

    def _last_line(self) -> str:
        with self.path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - (1 << 16)))
            tail = file.read()
        last = tail.rsplit(b"\n", 2)[-2:] if tail.endswith(b"\n") else []
        return last[0].decode("utf-8", "replace") if len(last) == 2 else ""

    def _wrong(self, number: int, what: str, **details: Any) -> InputError:
        return InputError(f"{self.path}, line {number}: {what}", hint=_HINT, **details)


def read_records(path: str | Path) -> Records:
    """Open a records file.

    Raises
    ------
    InputError
        The file cannot be read, or is not a records file of a version that is known here.
    """
    return Records(path)


@dataclass(frozen=True)
class ResumePoint:
    """Where a run broke off: its ``header`` and how many whole ``frames`` it recorded."""

    header: dict[str, Any]
    frames: int


def resume_point(path: str | Path) -> ResumePoint:
    """Make a records file ready to be continued: cut off a torn last line and the summary.

    Raises
    ------
    InputError
        The file is not a records file, or a line other than the last is damaged.
    OutputError
        The file cannot be changed.
    """
    records = Records(path)
    keep = frames = 0
    for number, end, line in records._lines():
        if line.get("type") == "summary":
            break
        if number > 1:
            frames += 1
        keep = end
    with output_errors(records.path):
        os.truncate(records.path, keep)
    return ResumePoint(records.header, frames)
