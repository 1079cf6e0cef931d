"""The overlay again, from records and the video they were made from; no network runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from posepipe.errors import InputError, OutputError, PosepipeError
from posepipe.io.atomic import sha256_of
from posepipe.io.records import Records, read_records
from posepipe.io.video import VideoReader, VideoWriter, open_video
from posepipe.render import Captions, Shown, SpanCaptions, Trails, draw
from posepipe.report import Progress
from posepipe.run.feed import Feed, Stop
from posepipe.types import Frame, FrameResult

__all__ = ["Drawn", "draw_records", "render_records"]

# Frames whose times differ by more, in seconds, are not the same: below half the time of a frame at 500 a second.
_SAME_TIME_S = 1e-3


@dataclass(frozen=True)
class Drawn:
    """What came of drawing: how many ``frames``, and in ``gap``, for people, where video and records end apart."""

    frames: int
    gap: str | None = None


class _OtherVideoError(InputError):
    """The records are of another video: what was drawn is of no use."""


def render_records(
    records_path: Path, source: str, out: Path, keypoint_score: float, *, overwrite: bool = False, quiet: bool = False
) -> Drawn:
    """Draw recorded people on their video.

    Parameters
    ----------
    records_path, source
        ``records.jsonl`` and the video that it was made from.
    out
        The mp4 file to write.
    keypoint_score
        Least score of a keypoint that is drawn.
    overwrite
        Replace ``out`` where it exists.
    quiet
        Show no progress.

    Raises
    ------
    InputError
        The video or the records cannot be read, do not belong together, or have no frame in common.
    OutputError
        ``out`` exists or cannot be written.
    Interrupted
        A signal came; ``out`` holds what was drawn until then.
    """
    if out.exists() and not overwrite:
        raise OutputError(f"{out} already exists", hint="--overwrite replaces it, -o names another file")
    if out.suffix.lower() != ".mp4":
        raise OutputError(f"{out} is not the name of an mp4 file", hint="Name it OUT.mp4")
    records = read_records(records_path)
    known = _belongs(records, source)
    if out.exists() and Path(source).exists() and out.samefile(source):
        raise OutputError(f"{out} is the input and would be replaced", hint="Name another file with -o")
    with open_video(source) as reader, Stop().on_signals() as stop:
        return draw_records(records, reader, stop, out, keypoint_score, known=known, quiet=quiet)


def draw_records(
    records: Records,
    reader: VideoReader,
    stop: Stop,
    out: Path,
    keypoint_score: float,
    *,
    captions: Captions | SpanCaptions | None = None,
    known: bool = True,
    quiet: bool = False,
) -> Drawn:
    """Draw recorded people on the frames of ``reader``, into ``out``; parameters and errors of `render_records`.

    ``captions`` says what they do; None: what the records say. Unless it is ``known`` that the records were made from
    these frames, their times have to be the same.
    """
    feed = Feed(reader, stop)
    progress = Progress(out.name, reader.info.frames_declared, quiet=quiet)
    try:
        with closing(progress):
            return _draw_all(records, feed, out, keypoint_score, captions or Captions(), progress, known)
    finally:
        feed.close()


def _draw_all(
    records: Records,
    feed: Feed,
    out: Path,
    keypoint_score: float,
    captions: Captions | SpanCaptions,
    progress: Progress,
    known: bool,
) -> Drawn:
    count, gap = 0, None
    writer: VideoWriter | None = None
    trails, shown = Trails(), Shown()
    frames = iter(feed)
    try:
        for result in records:
            if next(frames, None) is None:
                gap = f"the video ends before its records: after {count} frames"
                break
            frame = feed.take()
            _check_same(records, result, frame, known)
            said, seen = captions.update(result), shown.update(result)
            picture = draw(frame.image, seen, records.skeleton, keypoint_score, trails, said)
            if writer is None:
                height, width = picture.shape[:2]
                writer = VideoWriter(out, width, height)
            writer.write(picture, frame.pts)
            progress.update(len(result.tracks))
            count += 1
    except PosepipeError as error:
        with suppress(OutputError):
            _close(writer)
            if isinstance(error, _OtherVideoError) and writer is not None:
                out.unlink(missing_ok=True)
        raise
    except KeyboardInterrupt:
        _close(writer)
        raise
    _close(writer)
    if not count:
        hint = "Look at the end of the run that wrote them, or at the video"
        raise InputError(f"nothing can be drawn: {gap or f'{records.path} holds no frames'}", hint=hint)
    return Drawn(count, gap or (f"the records end before their video: after {count} frames" if _more(frames) else None))


def _more(frames: Iterator[Frame]) -> bool:
    """Whether another frame can be read."""
    try:
        return next(frames, None) is not None
    except PosepipeError:
        return False


def _close(writer: VideoWriter | None) -> None:
    if writer is not None:
        writer.close()


def _check_same(records: Records, result: FrameResult, frame: Frame, known: bool) -> None:
    """Raise `InputError` where a record is not of this frame."""
    if result.frame_index != frame.index:
        what, got, expected = "its frames are numbered otherwise", str(result.frame_index), str(frame.index)
    elif not known and abs(result.pts - frame.pts) > _SAME_TIME_S:
        what, got, expected = "its frames have other times", f"{result.pts:.3f} s", f"{frame.pts:.3f} s"
    else:
        return
    raise _OtherVideoError(
        f"{records.path} is not of this video: {what}",
        got=got,
        expected=expected,
        hint="Give the video that the records were made from",
    )


def _belongs(records: Records, source: str) -> bool:
    """Whether it is known that the records are of this video; raises `InputError` where they are not."""
    video = records.header.get("video")
    digest = video.get("sha256") if isinstance(video, dict) else None
    if digest is None or not Path(source).is_file():
        return False
    found = sha256_of(source)
    if found != digest:
        raise InputError(
            f"{records.path} was not made from {source}",
            got=f"sha256 {found[:12]}",
            expected=f"sha256 {str(digest)[:12]}",
            hint="Give the video that the records were made from",
        )
    return True
