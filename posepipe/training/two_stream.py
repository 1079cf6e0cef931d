"""Training and scoring of the two streams: module, data, run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader

from posepipe.config import cache_root, data_root
from posepipe.datasets.flow import FlowStore
from posepipe.datasets.order import MixedOrder
from posepipe.datasets.two_stream import StreamSamples, TestSamples, Views
from posepipe.datasets.video_frames import FrameStore
from posepipe.datasets.video_lists import LabelledVideo, VideoList, check_videos, hold_out, read_video_list
from posepipe.datasets.video_sets import read_ucf101, read_upfall
from posepipe.errors import InputError, WeightsError
from posepipe.evaluation.consensus import precision_at
from posepipe.models.two_stream import StreamResNet, load_imagenet, load_two_stream
from posepipe.training.engine import LAST, EngineModule, Run, TrainingData, fit, loading
from posepipe.training.table import to_table
from posepipe.training.two_stream_recipe import TwoStreamRecipe

__all__ = ["StreamData", "TwoStreamModule", "stream_data", "together", "train_two_stream"]

_LEAST_FRAMES = 2
_TELL_S = 60.0


class TwoStreamModule(EngineModule):
    """A stream under training: the logits of a sample's pictures become one, then cross-entropy.

    Validation is of whole videos, whose pictures' logits become one in the same way.
    """

    network: StreamResNet

    def __init__(self, network: StreamResNet, recipe: TwoStreamRecipe) -> None:
        super().__init__(network.to(memory_format=torch.channels_last), recipe.engine)
        self.consensus = recipe.consensus
        self._seen: list[tuple[Tensor, Tensor]] = []

    def scores(self, image: Tensor) -> Tensor:
        """(N,S,C,H,W) uint8 -> logits (N,A) of samples or videos."""
        flat = image.flatten(0, 1).float().contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.network(flat)
        return together(logits.reshape(*image.shape[:2], -1), self.consensus)

    def training_step(self, batch: dict[str, Tensor], _index: int) -> Tensor:
        """Loss of a batch of samples."""
        summed, label = self.scores(batch["image"]), batch["label"]
        loss = functional.cross_entropy(summed, label)
        self._log("train", loss, summed, label)
        return loss

    def validation_step(self, batch: dict[str, Tensor], _index: int) -> None:
        """Keep the scores of some videos."""
        self._seen.append((self.scores(batch["image"]).float().cpu(), batch["label"].cpu()))

    def on_validation_epoch_end(self) -> None:
        """Log loss, Prec@1 and Prec@5 over the videos."""
        scores, label = (torch.cat(parts) for parts in zip(*self._seen, strict=True))
        self._seen.clear()
        self._log("val", functional.cross_entropy(scores, label), scores, label)

    def _log(self, part: str, loss: Tensor, scores: Tensor, label: Tensor) -> None:
        known, truth = scores.detach().float().cpu().numpy(), label.cpu().numpy()
        figures = {"loss": float(loss.detach()), "prec1": precision_at(known, truth)}
        figures["prec5"] = precision_at(known, truth, 5)
        for name, value in figures.items():
            self.log(f"{part}_{name}", value, on_step=False, on_epoch=True, batch_size=len(label))


def together(scores: Tensor, how: str) -> Tensor:
    """Scores (N,S,A) of pictures -> (N,A): their ``sum``, ``mean``, ``max``, or mean weighted with their ``variance``.

    The last three are those of :mod:`posepipe.evaluation.consensus`.
    """
    match how:
        case "sum":
            return scores.sum(1)
        case "mean":
            return scores.mean(1)
        case "max":
            return scores.amax(1)
        case _:
            weights = scores.var(2, correction=0, keepdim=True)
            return (scores * weights).sum(1) / weights.sum(1).clamp_min(torch.finfo(scores.dtype).tiny)


@dataclass(frozen=True)
class StreamData:
    """The videos of a recipe, and where their pictures come from."""

    listed: VideoList
    frames: FrameStore
    flow: FlowStore | None
    recipe: TwoStreamRecipe

    def count(self, video: Path) -> int:
        """Frames of a video, with its flow worked out where the stream needs it; raises `InputError`."""
        if self.flow is not None:
            self.flow.count(video)
        return self.frames.count(video)

    @property
    def watched(self) -> tuple[LabelledVideo, ...]:
        """What is validated on: the part val, else test."""
        return self.listed["val"] or self.listed["test"]

    def training(self) -> StreamSamples:
        """Training samples."""
        r = self.recipe
        views = Views(r.size, r.crop, r.flip)
        return StreamSamples(self.listed["train"], self.frames, self.flow, views, segments=r.segments, stack=r.stack)

    def testing(self, videos: tuple[LabelledVideo, ...]) -> DataLoader[Any]:
        """All samples of each video, a video at a time."""
        r = self.recipe
        views = Views(r.size, "none", 0.0)
        samples: Any = TestSamples(videos, self.frames, self.flow, views, count=r.test_samples, stack=r.stack)
        return DataLoader(samples, batch_size=1, **loading(r.engine))


def stream_data(recipe: TwoStreamRecipe, listed: VideoList | None = None) -> StreamData:
    """The videos of a recipe, or others; nothing is decoded yet. Raises `InputError` for a list that is not right."""
    cache = cache_root() / "videos"
    frames = FrameStore(recipe.side, cache)
    flow = FlowStore(frames, recipe.flow, recipe.flow_bound, cache) if recipe.stream == "temporal" else None
    if listed is None:
        listed = hold_out(_listed(recipe), recipe.hold_out, recipe.engine.seed)
    return StreamData(listed, frames, flow, recipe)


def _listed(recipe: TwoStreamRecipe) -> VideoList:
    root = Path(recipe.data) if recipe.data else data_root()
    videos = root / recipe.videos if recipe.videos else None
    match recipe.source:
        case "ucf101":
            return read_ucf101(root / recipe.lists, videos or root / "UCF-101", recipe.split)
        case "upfall":
            return read_upfall(videos or root / "upfall")
    return read_video_list(root / recipe.source, videos)


class _Told:
    """Counts frames, and says every minute how many videos were looked at: the first time that takes hours."""

    def __init__(self, count: Callable[[Path], int]) -> None:
        self.count, self.seen, self.told = count, 0, time.monotonic()

    def __call__(self, video: Path) -> int:
        self.seen += 1
        if time.monotonic() - self.told > _TELL_S:
            self.told = time.monotonic()
            print(f"{self.seen} videos looked at", flush=True)
        return self.count(video)


def train_two_stream(recipe: TwoStreamRecipe, folder: Path, *, resume: bool = True, allow_leaks: bool = False) -> Path:
    """Train one stream by a recipe.

    Returns
    -------
    The best checkpoint on the part val; where there is none, the last one, since the test part chooses nothing.
    """
    torch.manual_seed(recipe.engine.seed)
    data = stream_data(recipe)
    threads = recipe.engine.threads or os.cpu_count() or 1
    notes = check_videos(data.listed, _Told(data.count), least=_LEAST_FRAMES, allow_leaks=allow_leaks, threads=threads)
    if not data.watched:
        raise InputError(f"{data.listed.source} has no videos to validate on", expected="a part val or test")
    if not data.listed["val"]:
        notes += ("There is no part val: validation is of the test part, and the weights of the last epoch count.",)
        if recipe.engine.schedule == "plateau":
            notes += ("The schedule watches the test part.",)
    sizes = {part: len(data.listed[part]) for part in ("train", "val", "test")}
    print(f"{data.listed.source}: " + ", ".join(f"{n} videos in {part}" for part, n in sizes.items()), flush=True)
    samples = data.training()
    labels = [video.label for video in samples.videos]
    order = MixedOrder(len(samples), recipe.engine.seed, recipe.samples or None, groups=labels)
    settings = {"kind": "two_stream", **to_table(recipe)}
    card = {"kind": "two_stream", "classes": list(data.listed.classes), "settings": settings}
    module = TwoStreamModule(_start(recipe, len(data.listed.classes)), recipe)
    run = Run(folder, settings, resume, notes, card)
    best = fit(module, TrainingData(samples, order), data.testing(data.watched), recipe.engine, run)
    return best if data.listed["val"] else folder / LAST


def _start(recipe: TwoStreamRecipe, classes: int) -> StreamResNet:
    """The network that a training begins with."""
    network = StreamResNet(classes, recipe.channels, recipe.layers, centred=recipe.centred)
    if recipe.start:
        found, _ = load_two_stream(recipe.start)
        own, other = network.state_dict(), found.state_dict()
        shapes = [{n: v.shape for n, v in state.items() if not n.startswith("fc.")} for state in (own, other)]
        if shapes[0] != shapes[1]:
            raise WeightsError(f"{recipe.start} is not of the {recipe.stream} stream with {recipe.layers} layers")
        if own["fc.weight"].shape != other["fc.weight"].shape:  # other classes: their classifier starts anew
            other |= {name: own[name] for name in ("fc.weight", "fc.bias")}
        network.load_state_dict(other)
    elif recipe.backbone:
        load_imagenet(network, Path(recipe.backbone))
    return network
