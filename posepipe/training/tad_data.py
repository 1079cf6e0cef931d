"""What a temporal detector learns from and is scored on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from posepipe.config import cache_root, data_root
from posepipe.datasets.temporal import (
    Recording,
    Window,
    WindowSource,
    check_recordings,
    filled_up,
    search_starts,
)
from posepipe.datasets.temporal_annotations import AnnotatedVideo, classes_of, find_files, read_annotated, recording_of
from posepipe.datasets.temporal_sources import FeatureFiles, VideoWindows
from posepipe.datasets.utkinect_recordings import UTKINECT_ACTS, read_utkinect_recordings
from posepipe.errors import InputError
from posepipe.streams.motion import motion_channels
from posepipe.training.tad_recipe import TadRecipe

if TYPE_CHECKING:
    from posepipe.datasets.video_frames import FrameStore

__all__ = ["SearchWindows", "TadSet", "collate", "read_set"]

_VIDEOS = (".mp4", ".mkv", ".avi", ".webm", ".mov")


@dataclass(frozen=True)
class TadSet:
    """Recordings to learn from and to score on, their data, and the names of the actions.

    ``channels`` are those of features, 0 for frames; ``notes`` are for the summary of the training.
    """

    classes: tuple[str, ...]
    training: Sequence[Recording]
    source: WindowSource
    tested: Sequence[Recording]
    test_source: WindowSource
    channels: int
    notes: tuple[str, ...] = ()


def read_set(recipe: TadRecipe, *, allow_leaks: bool = False) -> TadSet:
    """Read and check the data of a recipe; with `allow_leaks` recordings may stand in both parts.

    Raises
    ------
    InputError
        A file is missing or unreadable, a frame rate is not known, an action ends after its video, or a class occurs in
        the test part only; the message names what is wrong.
    """
    root = Path(recipe.data) if recipe.data else data_root()
    found = (_utkinect if recipe.source == "utkinect" else _annotated)(recipe, root)
    notes = check_recordings(found.training, found.tested, found.classes, allow_leaks=allow_leaks)
    return replace(found, notes=notes)


def _utkinect(recipe: TadRecipe, root: Path) -> TadSet:
    training, source = read_utkinect_recordings(root / "utkinect", recipe.people)
    tested: list[Recording] = []
    test_source = source
    if recipe.test_people:
        tested, test_source = read_utkinect_recordings(root / "utkinect", recipe.test_people)
    return TadSet(UTKINECT_ACTS, training, source, tested, test_source, motion_channels())


def _annotated(recipe: TadRecipe, root: Path) -> TadSet:
    learnt = read_annotated(root / recipe.training, recipe.subset, recipe.left_out)
    asked = read_annotated(root / recipe.test, recipe.test_subset, recipe.left_out)
    if recipe.late == "drop":
        learnt, asked = ([video.without_late() for video in part] for part in (learnt, asked))
    classes = classes_of([*learnt, *asked])
    folder = root / recipe.videos
    parts = [_part(recipe, videos, folder, classes) for videos in (learnt, asked)]
    (training, source), (tested, test_source) = parts
    channels = source.channels if isinstance(source, FeatureFiles) else 0
    return TadSet(classes, training, source, tested, test_source, channels)


def _part(
    recipe: TadRecipe, videos: Sequence[AnnotatedVideo], folder: Path, classes: Sequence[str]
) -> tuple[list[Recording], FeatureFiles | VideoWindows]:
    names = [video.name for video in videos]
    if recipe.source == "features":
        files = FeatureFiles(find_files(names, folder, (".npy",)))
        steps = files.steps
        return [recording_of(v, classes, s, recipe.stride) for v, s in zip(videos, steps, strict=True)], files
    from posepipe.datasets.video_frames import FrameStore  # training on features or poses needs no decoder

    paths = find_files(names, folder, _VIDEOS)
    store = FrameStore(recipe.resize, cache_root() / "frames")
    recordings, faults = [], []
    for video, path in zip(videos, paths, strict=True):
        try:
            count = store.count(path)  # decodes it, where the cache has it not
            told = video if video.duration > 0 else _timed(video, store, path)
        except InputError as error:
            faults.append(f"{path.name} ({error.what})")
            continue
        recordings.append(recording_of(told, classes, -(-count // recipe.stride), recipe.stride))
    if faults:
        some = ", ".join(faults[:10]) + (f" and {len(faults) - 10} more" if len(faults) > 10 else "")
        raise InputError(f"{len(faults)} of {len(videos)} videos cannot be used: {some}")
    return recordings, VideoWindows(paths, store, recipe.stride, recipe.crop)


def _timed(video: AnnotatedVideo, store: FrameStore, path: Path) -> AnnotatedVideo:
    """The video with the duration that its container tells."""
    pts = store.pts(path)
    if len(pts) < 2 or pts[-1] <= pts[0]:
        raise InputError(f"the frame rate of {video.name} is not known", expected="its duration in the annotations")
    duration = float((pts[-1] - pts[0]) * len(pts) / (len(pts) - 1))
    return AnnotatedVideo(video.name, duration, len(pts), video.spans, video.labels)


class SearchWindows:
    """Windows that cover recordings: (index of the recording, first step, data, real steps)."""

    def __init__(self, recordings: Sequence[Recording], source: WindowSource, length: int, overlap: float) -> None:
        self.source, self.length = source, length
        self.places = [
            (index, start)
            for index, recording in enumerate(recordings)
            for start in search_starts(recording.steps, length, overlap)
        ]
        self.ends = [recording.steps for recording in recordings]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number: int) -> tuple[int, int, NDArray[Any], NDArray[np.bool_]]:
        index, start = self.places[number]
        count = min(self.length, self.ends[index] - start)
        data, real = self.source.at(index, start + np.arange(float(count)), None)
        nothing = Window(data, real, np.zeros((0, 2), np.float32), np.zeros(0, np.int64))
        window = filled_up(nothing, self.length)
        return index, start, window.data, window.real


def collate(windows: Sequence[Window]) -> dict[str, Any]:
    """A batch: ``data``, ``real`` stacked; ``spans`` and ``labels`` a list of one tensor a window."""
    return {
        "data": torch.from_numpy(np.stack([window.data for window in windows])),
        "real": torch.from_numpy(np.stack([window.real for window in windows])),
        "spans": [torch.from_numpy(window.spans) for window in windows],
        "labels": [torch.from_numpy(window.labels) for window in windows],
    }


def search_collate(rows: Sequence[tuple[int, int, NDArray[Any], NDArray[np.bool_]]]) -> tuple[Tensor, ...]:
    """Index, start, data and real steps of windows, stacked."""
    index, start, data, real = zip(*rows, strict=True)
    return torch.tensor(index), torch.tensor(start), torch.from_numpy(np.stack(data)), torch.from_numpy(np.stack(real))
