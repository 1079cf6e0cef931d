"""The folder that the results of one input go to: made, taken up again, or refused."""

from __future__ import annotations

import json
from collections.abc import Collection
from contextlib import suppress
from itertools import count, takewhile
from pathlib import Path
from typing import Any

from posepipe.errors import InputError, OutputError
from posepipe.io.atomic import output_errors
from posepipe.io.records import read_records, resume_point
from posepipe.run.inputs import Job

__all__ = [
    "OUTPUTS",
    "clear_outputs",
    "continue_in",
    "discard",
    "find_folder",
    "finished",
    "has_records",
    "held_header",
    "leave",
    "remove_others",
    "start_in",
]

_RECORDS = "records.jsonl"
#: What a run writes into the folder of an input.
OUTPUTS = (
    _RECORDS,
    "refined.jsonl",
    "poses.csv",
    "tracks.txt",
    "streams.npz",
    "streams.csv",
    "coco_results.json",
    "actions.csv",
    "overlay.mp4",
    "overlay.part.mp4",
    "run.json",
)
_MAX_HEADER = 1 << 24
_ACTIONS_HINT = (
    ". A run without actions goes on with --no-actions; `posepipe actions RECORDS` adds them to a finished one"
)


def start_in(folder: Path, job: Job, *, overwrite: bool) -> None:
    """Make a folder ready for new results; those that are there stay until there are new ones (`clear_outputs`).

    Raises
    ------
    OutputError
        It holds results, finished or not, and ``overwrite`` is not asked for; or it cannot be written; or the input is
        one of the files that would be replaced.
    """
    held = [name for name in OUTPUTS if (folder / name).exists()]
    if held and not overwrite:
        raise OutputError(
            f"{folder} already holds results ({held[0]})",
            hint="--resume continues or skips them, --overwrite replaces them, -o names another folder",
        )
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    _refuse_input(folder, job)
    _sweep(folder)


def find_folder(out: Path, job: Job, header: dict[str, Any]) -> Path:
    """Where an earlier run put the results of an input: the folder of its name, or a numbered one beside it.

    Which number an input of the same name as another got depends on what else was named with it; its checksum does not.
    """
    own, base = out / job.name, job.base or job.name
    checksum = header["video"]["sha256"]
    if checksum is None or _checksum(own) == checksum:
        return own
    numbered = (out / (base if number == 1 else f"{base}-{number}") for number in count(1))
    return next((folder for folder in takewhile(Path.exists, numbered) if _checksum(folder) == checksum), own)


def _checksum(folder: Path) -> object:
    """The checksum of the input that the records in a folder were made from; None where there are none."""
    if not has_records(folder):
        return None
    try:
        video = read_records(folder / _RECORDS).header.get("video")
    except InputError:
        return None
    return video.get("sha256") if isinstance(video, dict) else None


def has_records(folder: Path) -> bool:
    """Whether the folder has records whose first line is whole: a kill may have come before that."""
    try:
        with (folder / _RECORDS).open("rb") as file:
            return file.readline(_MAX_HEADER).endswith(b"\n")
    except OSError:
        return False


def held_header(folder: Path, header: dict[str, Any]) -> dict[str, Any]:
    """The header of the records of an earlier run, where they may be continued by one whose header is ``header``.

    Raises
    ------
    OutputError
        They are of another input, or of settings that change them.
    InputError
        They have no header that can be read.
    """
    path = folder / _RECORDS
    held = read_records(path).header
    differing = _differences(_identity(header), _identity(held))
    if "actions" not in held.get("config", {}) and finished(folder):
        # Of a version that named no actions: it has all that was asked for then.
        differing = [name for name in differing if name not in ("actions", "action weights")]
    if differing:
        hint = "Use the input and settings of the first run, or --overwrite, or another folder with -o"
        if "video" in differing:
            hint = f"Name another folder with -o; --overwrite would replace the results of {_source(folder, held)}"
        raise OutputError(
            f"{path} cannot be continued: it was made with another {', another '.join(differing)}",
            hint=hint + (_ACTIONS_HINT if "actions" in differing else ""),
        )
    return held


def _source(folder: Path, header: dict[str, Any]) -> str:
    """What the results in a folder were made from, as far as they say."""
    video = header.get("video")
    name = video.get("name") if isinstance(video, dict) else None
    return str((finished(folder) or {}).get("source") or name or "another input")


def continue_in(folder: Path, job: Job) -> tuple[dict[str, Any], int]:
    """Take up the results of an earlier run: its records stay, what was made from them will be made anew.

    Returns
    -------
    The header that the records have, and how many frames they hold.

    Raises
    ------
    OutputError
        A file cannot be changed or removed, or the input is one of them.
    InputError
        The records are damaged elsewhere than at their end.
    """
    _refuse_input(folder, job)
    point = resume_point(folder / _RECORDS)
    _sweep(folder)
    remove_others(folder, [_RECORDS])
    return point.header, point.frames


def finished(folder: Path) -> dict[str, Any] | None:
    """The ``run.json`` of a run that was finished; None where it was not."""
    try:
        summary: dict[str, Any] = json.loads((folder / "run.json").read_text("utf-8"))
        return summary if summary["finished"] is True else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _identity(header: dict[str, Any]) -> dict[str, Any]:
    """What of a header decides the results: not the version, nor what the networks run on."""
    config = {k: v for k, v in header.get("config", {}).items() if k not in ("device", "threads", "batch")}
    config.setdefault("actions", "none")  # of versions that knew none
    kept = {k: header.get(k) for k in ("video", "skeleton")}
    weights = dict(header.get("weights") or {})
    flat = {**kept, "action weights": weights.pop("actions", None), "weights": weights, **config}
    decoded: dict[str, Any] = json.loads(json.dumps(flat))
    return decoded


def _differences(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    return sorted(key for key in a.keys() | b.keys() if a.get(key) != b.get(key))


def _sweep(folder: Path) -> None:
    """Remove the unfinished files that a kill left."""
    for name in map(Path, OUTPUTS):
        for left in folder.glob(f".{name.stem}.*.tmp{name.suffix}"):
            with output_errors(left):
                left.unlink(missing_ok=True)


def clear_outputs(folder: Path, job: Job) -> None:
    """Remove what an earlier run wrote into a folder, and nothing else.

    Raises
    ------
    OutputError
        A file cannot be removed, or the input itself is one of them.
    """
    _refuse_input(folder, job)
    remove_others(folder, ())


def remove_others(folder: Path, kept: Collection[str]) -> list[str]:
    """Remove what runs write into a folder, but for what is ``kept``; returns the names of what was there."""
    found = [name for name in OUTPUTS if name not in kept and (folder / name).exists()]
    for name in found:
        with output_errors(folder / name):
            (folder / name).unlink()
    return found


def _refuse_input(folder: Path, job: Job) -> None:
    if job.path is not None and job.path.resolve() in [(folder / name).resolve() for name in OUTPUTS]:
        raise OutputError(f"{job.path} is the input and would be replaced", hint="Name another folder with -o")


def discard(folder: Path, job: Job) -> None:
    """Take away what a run wrote that recorded nothing, and the folder if nothing else is in it."""
    clear_outputs(folder, job)
    leave(folder)


def leave(folder: Path) -> None:
    """Take the folder away if nothing is in it."""
    with suppress(OSError):
        folder.rmdir()
