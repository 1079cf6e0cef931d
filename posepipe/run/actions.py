"""What the people of a run did, as a table: from what its records say of windows, or from whole streams."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from posepipe.errors import InputError, OutputError, UsageError
from posepipe.io.atomic import atomic_path
from posepipe.io.exports import write_actions
from posepipe.io.records import Records, RecordWriter
from posepipe.io.streams import spooled_streams
from posepipe.io.weights import list_weights
from posepipe.report import weights_told
from posepipe.skeleton import Skeleton
from posepipe.stages import ActionRecogniser, WindowRecogniser
from posepipe.stages.action import ActionWatch
from posepipe.streams.spans import WindowLog
from posepipe.types import Action, FrameResult

__all__ = ["act_on_records", "acted_header", "seen_doing", "spans_of", "video_name", "write_action_table"]

T = TypeVar("T")


def video_name(records: Records) -> str:
    """What the video of some records is called; empty where they do not say."""
    video = records.header.get("video")
    return str(video.get("name", "")) if isinstance(video, dict) else ""


def acted_header(records: Records, recogniser: ActionRecogniser | None) -> dict[str, Any]:
    """What the same records say first once their actions are a recogniser's, or nobody's (None).

    Labels, weights, their terms and the setting ``actions`` are those of the recogniser; the setting stays as it is
    where the records were made with the same weights, or where the recogniser has none that a setting could name.
    """
    header = {k: v for k, v in records.header.items() if k != "actions"}
    told = weights_told({} if recogniser is None else {"actions": recogniser})
    if recogniser is not None:
        header["actions"] = list(recogniser.labels)
    before = {k: v for k, v in _table(header, "weights").items() if k == "actions"}
    if told["weights"] == before:
        return header
    for name, value in told.items():
        header[name] = {k: v for k, v in _table(header, name).items() if k != "actions"} | value
    setting = "none" if recogniser is None else _setting(recogniser, told["weights"]["actions"])
    if setting is not None:
        header["config"] = {**_table(header, "config"), "actions": setting}
    return header


def _table(header: dict[str, Any], name: str) -> dict[str, Any]:
    value = header.get(name)
    return value if isinstance(value, dict) else {}


def _setting(recogniser: ActionRecogniser, checksum: str | None) -> str | None:
    """The setting ``actions`` that names a recogniser, without a folder."""
    own = [entry.name.removeprefix("action_") for entry in list_weights() if entry.sha256 == checksum]
    file = getattr(recogniser, "weights", None)
    return own[0] if own else None if file is None else Path(file).name


def seen_doing(
    frames: Iterable[FrameResult], recogniser: ActionRecogniser | None, skeleton: Skeleton
) -> Iterator[FrameResult]:
    """Results with the actions that a recogniser sees in windows, in place of those that they had."""
    watch = ActionWatch(recogniser, skeleton) if isinstance(recogniser, WindowRecogniser) else None
    for result in frames:
        yield watch.update(result) if watch is not None else replace(result, actions=())


def spans_of(frames: Iterable[FrameResult], recogniser: ActionRecogniser, skeleton: Skeleton) -> list[Action]:
    """What everybody did from when to when, in order of time.

    Parameters
    ----------
    frames
        Results in order of time; with the actions of their windows where the recogniser looks at windows.
    recogniser
        What saw the windows, or looks at whole streams.
    skeleton
        That of the frames.

    Raises
    ------
    InputError
        The frames hold actions of another recogniser.
    """
    if not isinstance(recogniser, WindowRecogniser):
        with spooled_streams(frames, skeleton) as streams:
            found = [span for stream in streams for span in recogniser.recognise(stream)]
        return sorted(found, key=lambda span: (span.start_s, span.track_id))
    log = WindowLog(recogniser.labels, recogniser.rules)
    for result in frames:
        try:
            log.add(result.actions)
        except ValueError as error:
            raise InputError(f"frame {result.frame_index} of the records: {error}") from error
    return log.spans()


def write_action_table(
    path: Path, frames: Iterable[FrameResult], video: str, recogniser: ActionRecogniser, skeleton: Skeleton
) -> list[Action]:
    """Write ``actions.csv`` from results and return its rows; see `spans_of`. Raises ``OutputError`` too."""
    spans = spans_of(frames, recogniser, skeleton)
    write_actions(path, video, spans)
    return spans


def act_on_records(
    records: Records,
    out: Path,
    recogniser: ActionRecogniser,
    *,
    overwrite: bool = False,
    watch: Callable[[Iterable[FrameResult]], Iterator[FrameResult]] = iter,
) -> None:
    """Say what the people of finished records did.

    Parameters
    ----------
    records
        Of a run, refined or not; actions that they hold are not used.
    out
        ``.csv``: the table of spans. ``.jsonl``: the same records with the actions of windows in them.
    recogniser
        Who says it.
    overwrite
        Replace ``out`` where it exists.
    watch
        Is given the frames and gives them on: for showing progress.

    Raises
    ------
    UsageError
        ``out`` has another suffix, or is ``.jsonl`` and the recogniser looks at no windows.
    OutputError
        ``out`` exists, or cannot be written.
    InputError
        The records are damaged.
    """
    kind = out.suffix.lower()
    if kind not in (".csv", ".jsonl"):
        raise UsageError(f"{out} is not the name of a file of actions", expected="OUT.csv or OUT.jsonl")
    if kind == ".jsonl" and not isinstance(recogniser, WindowRecogniser):
        raise UsageError(
            "records hold what is seen in windows, and this network looks at whole streams", hint="-o OUT.csv"
        )
    if out.exists() and (not overwrite or out.samefile(records.path)):
        raise OutputError(f"{out} already exists", hint="--overwrite replaces it, -o names another file")
    frames = seen_doing(watch(records), recogniser, records.skeleton)
    if kind == ".csv":
        write_action_table(out, frames, video_name(records), recogniser, records.skeleton)
        return
    header = acted_header(records, recogniser)
    closing = records.summary or {}
    with atomic_path(out) as unfinished, RecordWriter(unfinished, header) as writer:
        for result in frames:
            writer.write(result)
        writer.close(str(closing.get("status", "truncated")), closing.get("reason"))
