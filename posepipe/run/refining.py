"""The second pass over the records of a finished run, into records of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from posepipe.errors import OutputError, UsageError
from posepipe.io.atomic import atomic_path, output_errors
from posepipe.io.exports import write_coco, write_csv, write_mot
from posepipe.io.records import Records, RecordWriter, read_records
from posepipe.io.streams import write_streams
from posepipe.run.actions import acted_header, seen_doing, video_name, write_action_table
from posepipe.stages import ActionRecogniser
from posepipe.tracking.refine import refine
from posepipe.types import FrameResult

__all__ = ["REFINED", "refine_folder", "write_refined"]

#: What the records of a second pass are called.
REFINED = "refined.jsonl"
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
    records_path: Path, out: Path, *, overwrite: bool = False, recogniser: ActionRecogniser | None = None
) -> Records:
    """Refine the records of a run into the folder ``out``, with the exports that are made from them.

    Where there is a ``recogniser``, it says what the people of the final tracks did.

    Raises
    ------
    UsageError
        The run broke off: there is no second pass before the end of the first.
    InputError
        ``records_path`` is not a records file.
    OutputError
        ``out`` holds results already, or cannot be written.
    """
    records = read_records(records_path)
    if records.summary is None:
        raise UsageError(f"{records_path} has no end: its run broke off", hint="Finish it first, with run --resume")
    names = (REFINED, "poses.csv", "tracks.txt", "streams.npz", "coco_results.json", "actions.csv")
    held = [name for name in names if (out / name).exists()]
    if held and not overwrite:
        raise OutputError(
            f"{out} already holds results ({held[0]})", hint="--overwrite replaces them, -o names another folder"
        )
    if records_path.resolve() == (out / REFINED).resolve():
        raise OutputError(f"{records_path} is the input and would be replaced", hint="Name another folder with -o")
    with output_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    refined = write_refined(records, out / REFINED, recogniser=recogniser)
    write_csv(out / "poses.csv", refined, refined.skeleton)
    write_mot(out / "tracks.txt", refined)
    write_streams(out / "streams.npz", refined, refined.skeleton)
    write_coco(out / "coco_results.json", refined)
    if recogniser is not None:
        write_action_table(out / "actions.csv", refined, video_name(refined), recogniser, refined.skeleton)
    return refined
