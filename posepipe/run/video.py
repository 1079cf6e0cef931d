"""One video into one folder.

The records are written frame by frame; everything else in the folder is made from them and from the pictures, so a run
that broke off loses nothing that was recorded. ``run.json`` is written last: where it says ``finished``, all is there.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any, cast

from posepipe.errors import DamagedInputError, InputError, OutputError, PosepipeError
from posepipe.io.atomic import output_errors
from posepipe.io.records import RecordWriter, read_records
from posepipe.io.video import VideoReader, VideoWriter, open_video
from posepipe.pipeline import Pipeline, Timing
from posepipe.render import Captions, Shown, SpanCaptions, Trails, draw
from posepipe.report import Outcome, Progress, engines, machine, records_header, speeds, versions, write_json
from posepipe.run.exports import ACTIONS, exports
from posepipe.run.feed import Feed, Interrupted, Stop
from posepipe.run.folder import (
    clear_outputs,
    continue_in,
    discard,
    find_folder,
    finished,
    has_records,
    held_header,
    leave,
    start_in,
)
from posepipe.run.inputs import Job
from posepipe.run.options import Options, still_to_make
from posepipe.run.overlay import draw_records
from posepipe.run.refining import REFINED, write_refined
from posepipe.stages import WindowRecogniser
from posepipe.types import Action, Frame, FrameResult

__all__ = ["Options", "run_video"]

# After a signal the exports get this long; the whole process has to be gone five seconds after it.
_STOP_BUDGET_S = 2.0
_LARGE = 10**9  # bytes that take seconds to read


def run_video(job: Job, pipeline: Pipeline, options: Options, stop: Stop) -> Outcome:
    """Run one job into its folder.

    Raises
    ------
    InputError
        The input cannot be read.
    OutputError
        The folder holds results, or those of another input, or cannot be written.
    StageError
        A stage failed before anything was recorded.
    """
    began = perf_counter()
    folder = options.out / job.name
    reader = open_video(job.source, max_pixels=pipeline.config.max_pixels)
    feed: Feed | None = None
    try:
        recorded, header = 0, None
        if options.resume and not options.overwrite:
            header = _header(reader, job, pipeline, options, stop)
            folder = find_folder(options.out, job, header)
        if header is not None and has_records(folder):
            _refuse_live(reader, folder)
            held = held_header(folder, header)
            summary = finished(folder)
            if summary is not None:
                # Nothing can be added to the results of a version that named no actions.
                more = still_to_make(options, folder, summary) if "actions" in held.get("config", {}) else None
                if more is None:
                    return Outcome(job.label(folder), folder, "skipped", 0)
                options = more
            header, recorded = continue_in(folder, job)
        else:
            start_in(folder, job, overwrite=options.overwrite or options.resume)
            header = header or _header(reader, job, pipeline, options, stop)
        feed = Feed(reader, stop, options.limit_frames and max(options.limit_frames, recorded))
        return _Video(job, folder, pipeline, reader, feed, options, stop, recorded).run(header, began)
    except Interrupted as wish:
        leave(folder)
        return Outcome(job.label(folder), folder, "stopped", wish.exit_code, reason=str(wish))
    finally:
        # A reader that hangs in its thread is left to the end of the process.
        if feed is None or feed.close():
            reader.close()


def _header(reader: VideoReader, job: Job, pipeline: Pipeline, options: Options, stop: Stop) -> dict[str, Any]:
    """What the records say first; a large file is read for its checksum, which is told and can be stopped."""
    size = job.path.stat().st_size if job.path is not None else 0
    if size >= _LARGE and not options.quiet:
        print(f"{job.name}: reading {size / 1e9:.1f} GB for the checksum", file=sys.stderr)
    labels = pipeline.actions.labels if pipeline.actions is not None else ()
    skeleton, stages = pipeline.pose.skeleton, pipeline.networks
    return records_header(reader.info, job.path, pipeline.config, skeleton, stages, labels, stop.check)


def _refuse_live(reader: VideoReader, folder: Path) -> None:
    if reader.live:
        raise OutputError(
            f"{folder} holds results of a live source, which cannot be continued",
            hint="--overwrite replaces them, -o names another folder",
        )


@dataclass(frozen=True)
class _Ending:
    """How the frames came to an end: as the records say it, and what the command makes of it."""

    status: str
    reason: str | None = None
    exit_code: int = 0
    stopped: bool = False


class _LateError(Exception):
    """The time for exports is over."""


class _Video:
    """One video on its way into its folder; its first ``recorded`` frames are on record already."""

    def __init__(
        self,
        job: Job,
        folder: Path,
        pipeline: Pipeline,
        reader: VideoReader,
        feed: Feed,
        options: Options,
        stop: Stop,
        recorded: int,
    ) -> None:
        self.job, self.folder, self.pipeline, self.options = job, folder, pipeline, options
        self.reader, self.feed, self.stop = reader, feed, stop
        self.recorded, self.frames = recorded, 0
        self.records_path = folder / "records.jsonl"
        self.final_path = self.records_path  # what everything else is made from
        self.begun = False
        self.records: RecordWriter | None = None  # opened with the first result
        self.clocks = {name: Timing() for name in ("records", "draw", "encode")}
        self.overlay: VideoWriter | None = None
        self.shown, self.trails, self.captions = Shown(), Trails(), Captions()
        self.spans: list[Action] | None = None  # what a recogniser of whole streams said at the end
        self.deadline: float | None = None

    def run(self, header: dict[str, Any], began: float) -> Outcome:
        """All frames, then everything that is made from the records."""
        try:
            with ExitStack() as opened:
                begin = partial(self.begin, header, opened)
                if self.recorded:
                    begin()
                ending = self.work(begin)
                if self.records is not None:
                    self.records.close(ending.status, ending.reason)
            self.close_overlay()
        except Exception:
            with suppress(OutputError):
                self.close_overlay()
            self.leave_nothing()
            raise
        if not self.on_record:
            self.leave_nothing()
            return self.outcome(ending, began)
        missing = self.export()
        if missing and not ending.stopped:
            late = Interrupted(self.stop.signum or signal.SIGINT)
            ending = _Ending(ending.status, f"{late} before {missing[0]} was written", late.exit_code, stopped=True)
        outcome = self.outcome(ending, began)
        self.summarise(header, ending, outcome, missing)
        return outcome

    def begin(self, header: dict[str, Any], opened: ExitStack) -> RecordWriter:
        """Open the records, to be closed with ``opened``; old results go now, when there are new ones."""
        self.begun = True
        if not self.recorded:
            clear_outputs(self.folder, self.job)
        self.records = opened.enter_context(RecordWriter(self.records_path, header, append=self.recorded > 0))
        return self.records

    def leave_nothing(self) -> None:
        """Where nothing is on record, take away what this run wrote."""
        if self.on_record:
            return
        if self.begun:
            discard(self.folder, self.job)
        leave(self.folder)

    @property
    def on_record(self) -> int:
        """Frames that the records hold."""
        return max(self.frames, self.recorded)

    def work(self, begin: Callable[[], RecordWriter]) -> _Ending:
        """Every frame; returns how it ended. Raises what left nothing on record, or keeps it from being written."""
        try:
            self.frame_by_frame(begin)
        except Interrupted as wish:
            return _Ending("truncated", str(wish), wish.exit_code, stopped=True)
        except OutputError:
            raise
        except PosepipeError as error:
            if not self.on_record:
                raise
            return _Ending("truncated", f"stopped: {error}", error.exit_code, stopped=True)
        if not self.on_record:
            raise InputError(f"{self.job.told} holds no picture that can be decoded", hint="Is it whole?")
        limit = self.options.limit_frames
        if limit is not None and self.frames >= limit:
            more = f": {self.recorded} frames were there already" if self.recorded > limit else ""
            return _Ending("ok", f"stopped at --limit-frames {limit}{more}", stopped=True)
        status, reason = self.reader.status, self.reader.reason
        return _Ending(status, reason, 0 if status == "ok" else DamagedInputError.exit_code)

    def frame_by_frame(self, begin: Callable[[], RecordWriter]) -> None:
        """For every frame a result, a record and a picture."""
        earlier = islice(read_records(self.records_path), self.recorded) if self.recorded else ()
        progress = Progress(self.folder.name, self.expected(), quiet=self.options.quiet)
        with closing(progress), closing(self.pipeline.process(self.feed, earlier)) as results:
            for result in results:
                frame = self.feed.take()
                records = self.records or begin()
                if self.frames >= self.recorded:
                    with self.clock("records"):
                        records.write(result)
                self.frames += 1
                if self.draws_at_once:
                    self.draw(frame, result)
                progress.update(len(result.tracks))

    @property
    def draws_at_once(self) -> bool:
        """Whether the overlay grows with the frames: it may wait for what is known at the end, a camera does not."""
        actions = self.pipeline.actions
        late = self.options.refine or not (actions is None or isinstance(actions, WindowRecogniser))
        return self.options.video and (self.reader.live or not late)

    def redraw(self) -> list[str]:
        """Draw the overlay that waited for the end; returns its name if a signal leaves no time for it."""
        name = "overlay.mp4"
        captions = None if self.spans is None else SpanCaptions(self.spans)
        try:
            with open_video(self.job.source, max_pixels=self.pipeline.config.max_pixels) as reader:
                records, least = read_records(self.final_path), self.pipeline.config.keypoint_score
                draw_records(records, reader, self.stop, self.folder / name, least, captions=captions, quiet=True)
        except Interrupted:
            return [name]
        return []

    def expected(self) -> int | None:
        """Frames to come, as far as anybody knows."""
        known = (self.reader.info.frames_declared, self.options.limit_frames)
        return min((n for n in known if n is not None), default=None)

    def draw(self, frame: Frame, result: FrameResult) -> None:
        """Add a frame to the overlay."""
        with self.clock("draw"):
            skeleton, least = self.pipeline.pose.skeleton, self.pipeline.config.keypoint_score
            captions = self.captions.update(result)
            picture = draw(frame.image, self.shown.update(result), skeleton, least, self.trails, captions)
        with self.clock("encode"):
            if self.overlay is None:
                height, width = picture.shape[:2]
                self.overlay = VideoWriter(self.folder / "overlay.mp4", width, height)
            self.overlay.write(picture, frame.pts)

    def close_overlay(self) -> None:
        """Make the overlay a plain mp4."""
        overlay, self.overlay = self.overlay, None
        if overlay is not None:
            overlay.close()

    def export(self) -> list[str]:
        """Make tables, tracks and streams from the records; returns those that a signal left no time for."""
        records = read_records(self.records_path)
        missing = []
        if self.options.refine:
            try:
                records = write_refined(records, self.folder / REFINED, self.in_time, self.pipeline.actions)
                self.final_path = records.path
            except _LateError:
                missing.append(REFINED)
        actions = self.pipeline.actions
        for name, write in exports(records, actions, self.options.streams).items():
            try:
                with output_errors(self.folder / name):
                    made = write(self.folder / name, self.in_time(records))
            except _LateError:
                missing.append(name)
                continue
            if name == ACTIONS and not isinstance(actions, WindowRecogniser):
                self.spans = cast("list[Action]", made)  # the overlay needs them still
        return missing if self.draws_at_once or not self.options.video else missing + self.redraw()

    def in_time(self, frames: Iterable[FrameResult]) -> Iterator[FrameResult]:
        """The frames, for as long as a signal allows."""
        for frame in frames:
            if self.stop.signum is not None:
                self.deadline = self.deadline or monotonic() + _STOP_BUDGET_S
                if monotonic() > self.deadline:
                    raise _LateError
            yield frame

    def outcome(self, ending: _Ending, began: float) -> Outcome:
        """The result in a few figures, those of the records' own summary."""
        status = "stopped" if ending.stopped and ending.exit_code else ending.status
        reason = ending.reason
        if status == "stopped" and self.on_record and not self.reader.live:
            reason = f"{reason}; --resume continues after frame {self.on_record - 1}"
        counts = (read_records(self.final_path).summary if self.on_record else None) or {}
        people, tracks = counts.get("people", 0), counts.get("tracks", 0)
        before = (read_records(self.records_path).summary or {}).get("tracks", 0) if self.on_record else 0
        if before and not tracks:
            dropped = f"the second pass dropped all tracks ({before}): seen too briefly or too faintly"
            reason = f"{reason}; {dropped}" if reason else dropped
        seconds = perf_counter() - began
        return Outcome(
            self.job.label(self.folder),
            self.folder,
            status,
            ending.exit_code,
            self.on_record,
            people,
            tracks,
            seconds,
            reason,
        )

    def summarise(self, header: dict[str, Any], ending: _Ending, outcome: Outcome, missing: list[str]) -> None:
        """Write ``run.json``."""
        stages = self.pipeline.networks
        timings = {k: (t.seconds, t.frames) for k, t in (*self.pipeline.timings.items(), *self.clocks.items())}
        timings["decode"] = self.feed.decoding
        del timings["read"]  # the wait for the decoding thread, which overlaps with everything
        summary = {
            "schema": "posepipe.run",
            "version": 1,
            "finished": not ending.stopped,
            "status": outcome.status,
            "reason": ending.reason,
            "refined": self.final_path != self.records_path,
            "streams": asdict(self.options.streams),
            "exit_code": outcome.exit_code,
            "source": self.job.told,
            "video": header["video"],
            "frames": outcome.frames,
            "people": outcome.people,
            "tracks": outcome.tracks,
            "seconds": round(outcome.seconds, 3),
            "fps": round(outcome.frames / outcome.seconds, 2),
            "speed": speeds(timings),
            "engines": engines(stages),
            "machine": machine(),
            "weights": header["weights"],
            "config": header["config"],
            "missing": missing,
            "versions": versions(),
        }
        write_json(self.folder / "run.json", summary)

    @contextmanager
    def clock(self, name: str) -> Iterator[None]:
        """Time a part of the work on a frame."""
        start = perf_counter()
        yield
        self.clocks[name].seconds += perf_counter() - start
        self.clocks[name].frames += 1
