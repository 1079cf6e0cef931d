"""What trained streams say of videos: scores of every sample, for consensus and fusion."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from posepipe.datasets.video_lists import LabelledVideo, VideoList, check_videos
from posepipe.errors import InputError, UsageError, WeightsError
from posepipe.models.two_stream import StreamResNet, load_two_stream
from posepipe.training.table import build
from posepipe.training.two_stream import stream_data
from posepipe.training.two_stream_recipe import TwoStreamRecipe

__all__ = ["StreamScores", "score_streams", "score_videos"]


@dataclass(frozen=True)
class StreamScores:
    """Scores of the videos of one part.

    Attributes
    ----------
    listed
        The list they are of.
    videos
        V videos.
    spatial, temporal
        (V,S,A) float32 logits of the samples; None for a stream that was not asked for.
    """

    listed: VideoList
    videos: tuple[LabelledVideo, ...]
    spatial: NDArray[np.float32] | None
    temporal: NDArray[np.float32] | None

    @property
    def labels(self) -> NDArray[np.int64]:
        """(V,) class of each video."""
        return np.array([video.label for video in self.videos], np.int64)


def score_streams(
    checkpoints: Sequence[Path], part: str = "test", *, files: Sequence[Path] = (), **changes: Any
) -> StreamScores:
    """Score the videos of a part, or any videos, with one stream or both.

    Parameters
    ----------
    checkpoints
        Of `posepipe train`: of a spatial stream, of a temporal one, or of both.
    part
        train, val or test.
    files
        Videos to score in place of a list's; their labels are -1.
    changes
        Settings in place of the recipes': ``data``, ``videos``, ``source``, ``lists``, ``split``.

    Raises
    ------
    UsageError
        No stream is given, or one twice.
    WeightsError
        A checkpoint is of another kind, or the two are of other classes.
    InputError
        A video is missing or cannot be read, or the part is empty: see `check_videos`.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    scores: dict[str, NDArray[np.float32]] = {}
    listed: VideoList | None = None
    for path in checkpoints:
        network, recipe, classes = _open(path)
        stream = recipe.stream
        if stream in scores:
            raise UsageError(f"two checkpoints are of the {stream} stream", expected="one of each stream")
        plain = tuple(LabelledVideo(file, -1, str(file)) for file in files)
        given = VideoList("videos", classes, {part: plain}) if files else None
        data = stream_data(dataclasses.replace(recipe, **changes), given)
        if not files:
            data = dataclasses.replace(data, listed=_numbered(data.listed, classes, path))
        if listed is not None and data.listed.classes != listed.classes:
            raise WeightsError("the two streams know other classes", got=f"{len(classes)} of {stream}")
        if listed is not None and data.listed[part] != listed[part]:
            raise WeightsError("the two streams were trained on other lists or splits, so their parts differ")
        listed = data.listed
        if not listed[part]:
            raise InputError(f"{listed.source} has no videos in the part {part!r}")
        check_videos(dataclasses.replace(listed, parts={"train": listed[part]}), data.count, least=2)
        scores[stream] = score_videos(network, data.testing(listed[part]), device)
    if listed is None:
        raise UsageError("no stream is given", expected="a checkpoint of the spatial or the temporal stream, or both")
    return StreamScores(listed, listed[part], scores.get("spatial"), scores.get("temporal"))


def _open(path: Path) -> tuple[StreamResNet, TwoStreamRecipe, tuple[str, ...]]:
    """Network, recipe and classes of a checkpoint."""
    network, card = load_two_stream(path)
    settings = dict(card.get("settings", {}))
    if card.get("kind") != "two_stream" or settings.pop("kind", None) != "two_stream":
        raise WeightsError(f"{path} is no checkpoint of `posepipe train` by a recipe of the kind two_stream")
    return network, build(TwoStreamRecipe, settings), tuple(card["classes"])


def _numbered(listed: VideoList, classes: tuple[str, ...], path: Path) -> VideoList:
    """The list with its classes numbered as a network's; a list may hold fewer classes than the network knows."""
    if strange := [name for name in listed.classes if name not in classes]:
        raise WeightsError(f"{path} does not know the class {strange[0]!r} of {listed.source}", expected=classes[:8])
    number = [classes.index(name) for name in listed.classes]
    parts = {
        part: tuple(dataclasses.replace(video, label=number[video.label]) for video in videos)
        for part, videos in listed.parts.items()
    }
    return VideoList(listed.source, classes, parts)


@torch.inference_mode()
def score_videos(network: StreamResNet, videos: DataLoader[Any], device: str = "cpu") -> NDArray[np.float32]:
    """(V,S,A) float32 logits of every sample of every video of `StreamData.testing`."""
    network = network.to(device).eval().to(memory_format=torch.channels_last)
    found = []
    for batch in videos:
        image = batch["image"].to(device)
        flat = image.flatten(0, 1).float().contiguous(memory_format=torch.channels_last)
        found.append(network(flat).float().cpu().reshape(*image.shape[:2], -1).numpy())
    return np.concatenate(found)
