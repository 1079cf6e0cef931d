"""The second pass over the records of a finished run, into records of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from posepipe.errors import OutputError, UsageError
from posepipe.io.atomic import atomic_path, output_errors
from posepipe.io.records import Records, RecordWriter, read_records
from posepipe.report import write_json
from posepipe.run.actions import acted_header, seen_doing
from posepipe.run.exports import exports
from posepipe.run.folder import OUTPUTS, finished, remove_others
from posepipe.run.options import held_streams
from posepipe.stages import ActionRecogniser
from posepipe.tracking.refine import refine
from posepipe.types import FrameResult

__all__ = ["REFINED", "refine_folder", "write_refined"]

#: What the records of a second pass are called.
REFINED = "refined.jsonl"
_OF_THE_RUN = ("records.jsonl", "run.json")
_VERSION = 1

Watch = Callable[[Iterable[FrameResult]], Iterator[FrameResult]]


def write_refined(
    records: Records, out: Path, watch: Watch = iter, recogniser: ActionRecogniser | None = None
) -> Records:
    """Refine records into the file ``out``, which appears whole or not at all.

    Parameters
    ----------
    records
        Those of a run; if they are refined already, what the tracker itself said is refined again.
    out
        The file to write.
    watch
        Is given the frames and gives them on; it may raise to stop the work.
    recogniser
        Says what the people of the final tracks did; None: nobody does, and actions of the tracker's own are left out.

    Raises
    ------
    InputError
        The records are damaged.
    OutputError
        ``out`` cannot be written.
    """
    header = {k: v for k, v in acted_header(records, recogniser).items() if k != "refined"}
    closing = records.summary or {}
    with atomic_path(out) as unfinished, RecordWriter(unfinished, {**header, "refined": _VERSION}) as writer:
        for result in seen_doing(watch(refine(records, records.skeleton)), recogniser, records.skeleton):
            writer.write(result)
        writer.close(str(closing.get("status", "truncated")), closing.get("reason"))
    return read_records(out)


def refine_folder(
    records_path: Path,
    out: Path,
    *,
    overwrite: bool = False,
    recogniser: ActionRecogniser | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Records:
    """Refine the records of a run into the folder ``out``, with the exports that are made from them.

    Where there is a ``recogniser``, it says what the people of the final tracks did. In the folder of the run itself
    the pose streams are again what that run was asked for. What ``out`` holds and is not made anew (an overlay, say)
    no longer fits and is removed, which is told to ``tell``.

    Raises
    ------
    UsageError
        The run broke off: there is no second pass before the end of the first.
    InputError
        ``records_path`` is not a records file.
    OutputError
        ``out`` holds results already, or those of another run, or cannot be written.
    """
    records = read_records(records_path)
    if records.summary is None:
        raise UsageError(f"{records_path} has no end: its run broke off", hint="Finish it first, with run --resume")
    own = out / "records.jsonl"
    held = [name for name in OUTPUTS if name not in _OF_THE_RUN and (out / name).exists()]
    if held and not overwrite:
        raise OutputError(
            f"{out} already holds results ({held[0]})", hint="--overwrite replaces them, -o names another folder"
        )
    if records_path.resolve() == (out / REFINED).resolve():
        raise OutputError(f"{records_path} is the input and would be replaced", hint="Name another folder with -o")
    if own.exists() and not own.samefile(records_path):
        raise OutputError(f"{out} holds the records of another run", hint="Name another folder with -o")
    with output_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    refined = write_refined(records, out / REFINED, recogniser=recogniser)
    summary = finished(out)
    wanted = held_streams(summary or {})
    made = exports(refined, recogniser, wanted)
    removed = remove_others(out, (*_OF_THE_RUN, REFINED, *made))
    if removed:
        tell(f"removed, being made from other tracks: {', '.join(removed)}")
    for name, write in made.items():
        write(out / name, refined)
    if summary is not None:
        counts = {name: (refined.summary or {}).get(name) for name in ("people", "tracks")}
        write_json(out / "run.json", {**summary, **counts, "refined": True, "streams": asdict(wanted)})
    return refined
