"""Annotations of actions in long videos, as THUMOS-14's JSON files and ActivityNet's have them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posepipe.datasets.rows import label_errors
from posepipe.datasets.temporal import LATE_S, Recording
from posepipe.errors import InputError

__all__ = ["AnnotatedVideo", "classes_of", "find_files", "read_annotated", "recording_of"]

_AMBIGUOUS = "Ambiguous"


@dataclass(frozen=True, eq=False)
class AnnotatedVideo:
    """Actions of a video: ``spans`` (M,2) seconds, ``labels``; ``duration`` and ``frames`` are 0 where not told."""

    name: str
    duration: float
    frames: int
    spans: NDArray[np.float64]
    labels: tuple[str, ...]

    def without_late(self) -> AnnotatedVideo:
        """The video without the actions that end more than a second after it."""
        kept = (self.spans[:, 1] <= self.duration + LATE_S) | (self.duration <= 0)
        labels = tuple(label for label, keep in zip(self.labels, kept, strict=True) if keep)
        return AnnotatedVideo(self.name, self.duration, self.frames, self.spans[kept], labels)


def read_annotated(path: Path, subset: str = "", left_out: Collection[str] = ()) -> list[AnnotatedVideo]:
    """Videos of an annotation file, without ambiguous actions.

    Parameters
    ----------
    path
        JSON: video to ``segments``, ``labels``, ``duration`` and ``num_frame``; or to ``annotations`` (``segment``,
        ``label``), ``duration`` and perhaps ``frame``, perhaps below ``database``.
    subset
        Only videos whose ``subset`` is this; empty: all.
    left_out
        Names of videos to leave out.

    Raises
    ------
    InputError
        The file cannot be read, has another form, or holds nothing of the subset.
    """
    found = []
    with label_errors(path, "annotations of videos", "a table of videos with segments and labels, or annotations"):
        import json

        table = json.loads(path.read_text("utf-8"))
        for name, about in table.get("database", table).items():
            if name in left_out or (subset and about.get("subset") != subset):
                continue
            found.append(_video(name, about))
    if not found:
        raise InputError(f"{path} holds no videos" + (f" of the subset {subset!r}" if subset else ""))
    return found


def _video(name: str, about: dict[str, Any]) -> AnnotatedVideo:
    if "annotations" in about:
        rows = [(item["segment"], item["label"]) for item in about["annotations"]]
    else:
        rows = list(zip(about["segments"], about["labels"], strict=True))
    rows = [row for row in rows if row[1] != _AMBIGUOUS]
    spans = np.array([ends for ends, _ in rows], np.float64).reshape(-1, 2)
    if not np.isfinite(spans).all():
        raise ValueError(f"{name} has times that are no numbers")
    frames = about.get("num_frame", about.get("frame", 0))
    return AnnotatedVideo(name, float(about.get("duration", 0)), int(frames), spans, tuple(str(row[1]) for row in rows))


def classes_of(videos: Iterable[AnnotatedVideo]) -> tuple[str, ...]:
    """Names of all actions, sorted."""
    return tuple(sorted({label for video in videos for label in video.labels}))


def find_files(names: Sequence[str], folder: Path, endings: Sequence[str]) -> list[Path]:
    """The file of each name; raises `InputError` that names those without one."""
    found = [next((path for end in endings if (path := folder / f"{name}{end}").is_file()), None) for name in names]
    missing = [name for name, path in zip(names, found, strict=True) if path is None]
    if missing:
        some = ", ".join(missing[:10]) + (f" and {len(missing) - 10} more" if len(missing) > 10 else "")
        what = f"{len(missing)} of {len(names)} have no file in {folder}: {some}"
        raise InputError(what, expected=" or ".join(endings))
    return [path for path in found if path is not None]


def recording_of(video: AnnotatedVideo, classes: Sequence[str], steps: int, stride: int) -> Recording:
    """A video as a recording of steps, `stride` frames apart; it ends where its steps do, if they are fewer than told.

    Raises
    ------
    InputError
        Nothing tells how long its frames last.
    """
    frames = video.frames or steps * stride
    if video.duration <= 0 or frames <= 0:
        raise InputError(f"the frame rate of {video.name} is not known", expected="its duration in the annotations")
    fps = frames / video.duration
    # Frames are counted whole, as the detector's public configuration does.
    spans = np.floor(video.spans * fps) / stride
    labels = np.array([classes.index(label) for label in video.labels], np.int64)
    return Recording(video.name, steps, fps / stride, spans, labels, min(video.duration, steps * stride / fps))
