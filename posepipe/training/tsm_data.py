"""What a TSM learns from: the set that a recipe names, and clips of faces out of its videos."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from posepipe.config import cache_root, data_root
from posepipe.datasets.action_colours import shift_colours
from posepipe.datasets.forgery import both_classes, read_ffpp, read_forgery_list, read_pairs
from posepipe.datasets.video_clips import clip_frames, clip_starts
from posepipe.datasets.video_frames import FrameStore
from posepipe.datasets.video_lists import PARTS, LabelledVideo, VideoList, check_videos, hold_out
from posepipe.errors import ConfigError
from posepipe.stages.faces import FaceStore
from posepipe.training.tsm_recipe import TsmRecipe

__all__ = ["FaceClips", "FixedClips", "face_store", "forgery_sets", "soften"]

_SHOWN = 5


@dataclass(frozen=True)
class _Place:
    """A clip's video, when it begins, and how far off it may be drawn, seconds."""

    video: LabelledVideo
    start: float
    reach: float


def _places(videos: Sequence[LabelledVideo], store: FrameStore, span: float, clips: int) -> list[_Place]:
    found = []
    for video in videos:
        starts = clip_starts(store.pts(video.path), span, clips)
        reach = float(starts[1] - starts[0]) / 2 if len(starts) > 1 else 0.0
        found += [_Place(video, float(start), reach) for start in starts]
    return found


class FaceClips:
    """Clips to learn from, varied by the seed: moments, mirror image, colours.

    Parameters
    ----------
    videos
        Of the training part.
    store
        Their faces.
    recipe
        Says what clips are and how they vary.
    """

    def __init__(self, videos: Sequence[LabelledVideo], store: FrameStore, recipe: TsmRecipe) -> None:
        self.store, self.recipe = store, recipe
        self.places = _places(videos, store, recipe.span, recipe.clips)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """A clip (T,3,S,S) uint8, and its label (float32)."""
        place, rng = self.places[key[0]], np.random.default_rng(key[1])
        pts = self.store.pts(place.video.path)
        start = max(float(pts[0]), place.start + place.reach * rng.uniform(-1, 1))
        chosen = clip_frames(pts, start, self.recipe.span, self.recipe.segments, rng)
        frames = self.store.frames(place.video.path, chosen)
        if rng.random() < self.recipe.flip:
            frames = frames[:, :, ::-1]
        frames = shift_colours(soften(frames, rng.uniform(self.recipe.soften, 1.0)), self.recipe.colours, rng)
        return _tensor(frames), torch.tensor(float(place.video.label))


class FixedClips:
    """Clips to judge by, evenly over each video and always the same: number, clip (T,3,S,S) uint8 and label.

    Attributes
    ----------
    places
        Whose each clip is.
    """

    def __init__(
        self, videos: Sequence[LabelledVideo], store: FrameStore, span: float, segments: int, clips: int
    ) -> None:
        self.store, self.span, self.segments = store, span, segments
        self.places = _places(videos, store, span, clips)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> tuple[int, Tensor, Tensor]:
        place = self.places[index]
        pts = self.store.pts(place.video.path)
        frames = self.store.frames(place.video.path, clip_frames(pts, place.start, self.span, self.segments))
        return index, _tensor(frames), torch.tensor(float(place.video.label))

    @property
    def labels(self) -> NDArray[np.int64]:
        """(n,) label of each clip."""
        return np.array([place.video.label for place in self.places], np.int64)


def soften(frames: NDArray[np.uint8], share: float) -> NDArray[np.uint8]:
    """Frames (T,S,S,3) made smaller by `share` and large again, lest sharpness tells one video from another."""
    side = frames.shape[1]
    small = round(side * share)
    if small >= side:
        return frames
    shrunk = [cv2.resize(np.ascontiguousarray(f), (small, small), interpolation=cv2.INTER_AREA) for f in frames]
    return np.stack([cv2.resize(f, (side, side), interpolation=cv2.INTER_LINEAR) for f in shrunk]).astype(np.uint8)


def _tensor(frames: NDArray[np.uint8]) -> Tensor:
    """(T,S,S,3) pictures as (T,3,S,S)."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)


def face_store(recipe: TsmRecipe) -> FaceStore:
    """The faces of a recipe's videos."""
    folder = Path(recipe.cache) if recipe.cache else cache_root() / "faces"
    return FaceStore(recipe.side, folder, every=recipe.face_every)


def forgery_sets(recipe: TsmRecipe, store: FrameStore, *, allow_leaks: bool) -> tuple[VideoList, tuple[str, ...]]:
    """The videos that a recipe names, each looked at, and notes for the summary of the training.

    Faces are looked for in videos that were not seen before.

    Raises
    ------
    ConfigError
        The recipe names no videos.
    InputError, UsageError
        Something is wrong with the set: what, and with which videos.
    """
    root = Path(recipe.data) if recipe.data else data_root()
    if not recipe.videos:
        raise ConfigError(
            "the recipe names no videos", hint="Give --videos FOLDER (FaceForensics++) or --videos LIST.csv"
        )
    path = root / recipe.videos
    if path.suffix.lower() == ".csv":
        listed = hold_out(read_forgery_list(path), recipe.hold_out, recipe.engine.seed)
    else:
        pairs = read_pairs(root / recipe.splits)
        listed = read_ffpp(path, pairs, compression=recipe.compression, methods=recipe.methods, partial=recipe.partial)
    both_classes(listed, ("train", "val"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what the store warns of is noted below
        notes = check_videos(listed, store.count, least=recipe.segments, allow_leaks=allow_leaks)
    faults: dict[str, list[str]] = {}
    for video in (v for part in PARTS for v in listed[part]):
        for fault in filter(None, store.fault(video.path).split("; ")):
            faults.setdefault(fault, []).append(video.path.name)
    for fault, names in faults.items():
        notes = (*notes, f"{fault} in {len(names)} videos, such as {', '.join(names[:_SHOWN])}")
    if recipe.partial:
        notes = (*notes, f"A part of the set: {', '.join(f'{len(v)} {p}' for p, v in listed.parts.items())} videos")
    return listed, notes
