"""An own set of clips: a CSV file that says what is done in which seconds of a video or of a run's results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from posepipe.config import cache_root
from posepipe.datasets.action_streams import People, everybody, streams_of
from posepipe.datasets.actions import ActionClasses, ActionSample, ActionSet
from posepipe.datasets.csv_lists import list_rows
from posepipe.errors import InputError
from posepipe.skeleton import COCO17, Skeleton
from posepipe.types import PoseStream

if TYPE_CHECKING:
    from posepipe.datasets.video_frames import FrameStore

__all__ = ["clip_store", "read_own_actions", "unseen"]

_COLUMNS = ("clip", "label")
_RESULTS = (".npz", ".jsonl")
_NAMED = 10
#: shorter side of the pictures that training keeps of a video, px
STORED_SIDE = 256


@dataclass(frozen=True)
class _Source:
    """What a row's clip is: its streams, where there are any, when its frames are shown, and its pixels."""

    streams: tuple[PoseStream, ...]
    frames: NDArray[np.int64]
    pts: NDArray[np.float64]
    video: Path | None


def read_own_actions(path: Path, runs: Path | None = None, videos: Path | None = None) -> ActionSet:
    """Read a list of clips.

    Parameters
    ----------
    path
        A CSV file with the columns ``clip`` (a video, or the ``streams.npz``, ``records.jsonl`` or folder of a run's
        results; relative to the file), ``label``, and, where wanted, ``start`` and ``end`` (seconds; empty: all of it),
        ``person`` (an id of the run; empty: everybody together), ``subject``, ``split`` (train, val, test) and
        ``coarse`` (coarse class of the label).
    runs
        Folder of the results of ``posepipe run`` on the videos, one folder a video; without them a video has no poses.
    videos
        Folder of the videos that the clips are of, where they are results and pictures are wanted; and where relative
        clips begin that are videos.

    Returns
    -------
    ActionSet
        Classes in the order of their names.

    Raises
    ------
    InputError
        The file cannot be read, or rows are wrong: all of them (the first ten) are named.
    """
    rows = list_rows(path, _COLUMNS)
    if not rows:
        raise InputError(f"the list {path} names no clips")
    names = tuple(sorted({row["label"] for row in rows}))
    opened: dict[str, _Source] = {}
    samples, faults = [], []
    for number, row in enumerate(rows, start=2):
        try:
            if row["clip"] not in opened:
                opened[row["clip"]] = _open(row["clip"], path.parent, runs, videos)
            samples.append(_sample(f"{path.stem}:{number}", row, names.index(row["label"]), opened[row["clip"]]))
        except (InputError, ValueError) as error:
            faults.append(f"row {number} ({row['clip']}): {error}")
    if faults:
        more = f", and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
        raise InputError(f"{path} has {len(faults)} rows that cannot be used: {'; '.join(faults[:_NAMED])}{more}")
    skeletons = {stream.skeleton for source in opened.values() for stream in source.streams} or {COCO17}
    if len(skeletons) > 1:
        raise InputError(f"the clips of {path} have different skeletons: {', '.join(s.name for s in skeletons)}")
    return ActionSet(path.stem, skeletons.pop(), _classes(path, names, rows), tuple(samples))


def unseen(video: Path, skeleton: Skeleton) -> People:
    """All frames of a video with nobody in them. Raises `InputError` for one that cannot be read."""
    frames = np.arange(clip_store().count(video), dtype=np.int64)
    xy = np.zeros((0, len(frames), len(skeleton), 2), np.float32)
    return xy, xy[..., 0], frames


def clip_store() -> FrameStore:
    """Where training keeps pictures of clips."""
    from posepipe.datasets.video_frames import FrameStore

    return FrameStore(STORED_SIDE, cache_root() / "action_frames")


def _classes(path: Path, names: tuple[str, ...], rows: list[dict[str, str]]) -> ActionClasses:
    pairs = {(row["label"], row.get("coarse", "")) for row in rows}
    coarse = tuple(sorted({group for _, group in pairs if group}))
    if not coarse:
        return ActionClasses(names)
    of = dict(pairs)
    wrong = [name for name in names if not of[name] or sum(label == name for label, _ in pairs) > 1]
    if wrong:
        raise InputError(f"classes of {path} have no coarse class, or two: {', '.join(wrong[:_NAMED])}")
    return ActionClasses(names, coarse, tuple(coarse.index(of[name]) for name in names))


def _open(clip: str, folder: Path, runs: Path | None, videos: Path | None) -> _Source:
    place = folder / clip
    if place.is_dir() or place.suffix in _RESULTS:
        streams = streams_of(place)
        name = place.name if place.is_dir() else place.parent.name
        found = sorted(videos.glob(f"{name}.*")) if videos is not None else []
        return _timed(streams, found[0] if found else None)
    video = (videos or folder) / clip
    if not video.is_file():
        raise InputError(f"there is no video {video}")
    if runs is not None:
        return _timed(streams_of(runs / video.stem), video)
    pts = clip_store().pts(video)
    return _Source((), np.arange(len(pts)), pts, video)


def _timed(streams: list[PoseStream], video: Path | None) -> _Source:
    if not any(len(stream) for stream in streams):
        raise InputError("nobody is in it")
    frames, first = np.unique(np.concatenate([s.frame_index for s in streams]), return_index=True)
    return _Source(tuple(streams), frames, np.concatenate([s.pts for s in streams])[first], video)


def _sample(name: str, row: dict[str, str], label: int, source: _Source) -> ActionSample:
    start, end = _seconds(row, "start", -np.inf), _seconds(row, "end", np.inf)
    if start >= end:
        raise ValueError(f"start {start:g} s is not before end {end:g} s")
    last = float(source.pts[-1] + (np.median(np.diff(source.pts)) if len(source.pts) > 1 else 0))
    if np.isfinite(end) and end > last + 0.5:
        raise ValueError(f"end {end:g} s is after the clip, which ends at {last:.2f} s")
    streams = source.streams
    if row.get("person"):
        streams = tuple(s for s in streams if str(s.track_id) == row["person"])
        if not streams:
            raise ValueError(f"there is no person {row['person']}")
    frames = source.frames[(source.pts >= start) & (source.pts < end)]
    if row.get("person"):
        frames = np.intersect1d(frames, streams[0].frame_index)
    if not len(frames):
        raise ValueError("no frame with anybody lies between start and end")
    skeleton = streams[0].skeleton if streams else COCO17
    xy, score, frames = everybody(streams, frames, skeleton)
    part, subject = row.get("split", ""), row.get("subject", "")
    return ActionSample(name, label, xy, score, frames, source.video, part=part, subject=subject)


def _seconds(row: dict[str, str], column: str, absent: float) -> float:
    text = row.get(column, "")
    return float(text) if text else absent
