"""The overlay again, from records and the video they were made from; no network runs."""

from __future__ import annotations

from contextlib import closing, suppress
from pathlib import Path

from posepipe.errors import InputError, OutputError, PosepipeError
from posepipe.io.atomic import sha256_of
from posepipe.io.records import Records, read_records
from posepipe.io.video import VideoReader, VideoWriter, open_video
from posepipe.render import Captions, SpanCaptions, Trails, draw
from posepipe.report import Progress
from posepipe.run.feed import Feed, Stop

__all__ = ["draw_records", "render_records"]


def render_records(
    records_path: Path, source: str, out: Path, keypoint_score: float, *, overwrite: bool = False, quiet: bool = False
) -> int:
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

    Returns
    -------
    Number of frames drawn.

    Raises
    ------
    InputError
        The video or the records cannot be read, or do not belong together.
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
    _check_belongs(records, source)
    if out.exists() and Path(source).exists() and out.samefile(source):
        raise OutputError(f"{out} is the input and would be replaced", hint="Name another file with -o")
    with open_video(source) as reader, Stop().on_signals() as stop:
        return draw_records(records, reader, stop, out, keypoint_score, quiet=quiet)


def draw_records(
    records: Records,
    reader: VideoReader,
    stop: Stop,
    out: Path,
    keypoint_score: float,
    *,
    captions: Captions | SpanCaptions | None = None,
    quiet: bool = False,
) -> int:
    """Draw recorded people on the frames of ``reader``, into ``out``; parameters and errors of `render_records`.

    ``captions`` says what they do; None: what the records say.
    """
    feed = Feed(reader, stop)
    progress = Progress(out.name, reader.info.frames_declared, quiet=quiet)
    try:
        with closing(progress):
            return _draw_all(records, feed, out, keypoint_score, captions or Captions(), progress)
    finally:
        feed.close()


def _draw_all(
    records: Records,
    feed: Feed,
    out: Path,
    keypoint_score: float,
    captions: Captions | SpanCaptions,
    progress: Progress,
) -> int:
    count = 0
    writer: VideoWriter | None = None
    trails = Trails()
    try:
        for result, _ in zip(records, feed, strict=False):
            frame = feed.take()
            if result.frame_index != frame.index:
                raise InputError(
                    f"{records.path} is not of this video: its frames are numbered otherwise",
                    got=result.frame_index,
                    expected=frame.index,
                    hint="Give the video that the records were made from",
                )
            picture = draw(frame.image, result, records.skeleton, keypoint_score, trails, captions.update(result))
            if writer is None:
                height, width = picture.shape[:2]
                writer = VideoWriter(out, width, height)
            writer.write(picture, frame.pts)
            progress.update(len(result.tracks))
            count += 1
    except PosepipeError:
        with suppress(OutputError):
            _close(writer)
        raise
    except KeyboardInterrupt:
        _close(writer)
        raise
    _close(writer)
    return count


def _close(writer: VideoWriter | None) -> None:
    if writer is not None:
        writer.close()


def _check_belongs(records: Records, source: str) -> None:
    video = records.header.get("video")
    digest = video.get("sha256") if isinstance(video, dict) else None
    if digest is None or not Path(source).is_file():
        return
    found = sha256_of(source)
    if found != digest:
        raise InputError(
            f"{records.path} was not made from {source}",
            got=f"sha256 {found[:12]}",
            expected=f"sha256 {str(digest)[:12]}",
            hint="Give the video that the records were made from",
        )
