"""Training of temporal detectors: module, run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from posepipe.datasets.order import MixedOrder
from posepipe.datasets.temporal import Recording, TrainingWindows, WindowRules
from posepipe.evaluation.localisation import Labelled, activitynet_score
from posepipe.intervals import best_spans, soft_nms_by_label
from posepipe.models.actionformer import ActionFormer, ActionFormerForm, points_of
from posepipe.models.adatad import TemporalDetector, load_temporal_detector, load_videomae
from posepipe.models.pose_files import fill
from posepipe.models.videomae import VideoMae, VideoMaeForm
from posepipe.report import write_json
from posepipe.training.engine import LAST, EngineModule, Run, TrainingData, fit, loading
from posepipe.training.table import to_table
from posepipe.training.tad_data import SearchWindows, TadSet, collate, read_set, search_collate
from posepipe.training.tad_loss import assign, diou_loss, focal_loss, updated_normaliser
from posepipe.training.tad_recipe import TadRecipe

__all__ = ["TadModule", "build_network", "train_tad"]

_FIRST_NORMALISER = 100.0
#: file of the run folder with what the last validation found
PREDICTIONS = "predictions.json"


class TadModule(EngineModule):
    """A `TemporalDetector` under training; validates with mAP.

    Parameters
    ----------
    network
        What is trained: all of the detector, and of the backbone the adapters.
    recipe
        Rates, windows, how spans are chosen.
    classes
        Names of the actions.
    tested
        The recordings that the validation's windows are of.
    """

    network: TemporalDetector
    normaliser: Tensor

    def __init__(
        self, network: TemporalDetector, recipe: TadRecipe, classes: Sequence[str], tested: Sequence[Recording]
    ) -> None:
        super().__init__(network, recipe.engine)
        self.settings, self.classes, self.tested = recipe, tuple(classes), tested
        self.points = points_of(recipe.window, network.detector.form.levels)
        self.register_buffer("normaliser", torch.tensor(_FIRST_NORMALISER))
        self._found: list[tuple[int, Spans]] = []

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Head with decay on weights alone, adapters with decay on all and a rate of their own; the rest is frozen."""
        decay = self.recipe.weight_decay
        kept: list[torch.nn.Parameter] = []
        free: list[torch.nn.Parameter] = []
        for name, parameter in self.network.detector.named_parameters():
            plain = name.endswith(".weight") and parameter.ndim > 1  # no norms, no factors of branches
            (kept if plain else free).append(parameter)
        groups: list[dict[str, Any]] = [
            {"params": kept, "weight_decay": decay},
            {"params": free, "weight_decay": 0.0},
        ]
        if self.network.backbone is not None:
            adapters = list(self.network.backbone.adapters())
            groups.append({"params": adapters, "weight_decay": decay, "lr": self.settings.adapter_rate})
        return groups

    def training_step(self, batch: dict[str, Any], _index: int) -> Tensor:
        """Loss of a batch of windows."""
        found = self.network(batch["data"], batch["real"])
        self.points = points = type(self.points)(*(part.to(self.device) for part in self.points))
        targets = [
            assign(points, spans, labels, len(self.classes))
            for spans, labels in zip(batch["spans"], batch["labels"], strict=True)
        ]
        classes, ends = (torch.stack(part) for part in zip(*targets, strict=True))
        positive = (classes.sum(-1) > 0) & found.valid
        self.normaliser = updated_normaliser(self.normaliser, int(positive.sum()))
        # Sums over thousands of points need all of a float32.
        scores = focal_loss(found.logits.float()[found.valid], classes[found.valid]) / self.normaliser
        guess = found._replace(offsets=found.offsets.float()).spans(points)
        regression = diou_loss(guess[positive], ends[positive]) / self.normaliser
        loss = scores + regression
        parts = {"loss": loss, "classification": scores, "regression": regression}
        for name, value in parts.items():
            self.log(f"train_{name}", value.detach(), on_step=False, on_epoch=True, batch_size=len(classes))
        return loss

    def validation_step(self, batch: tuple[Tensor, ...], _index: int) -> None:
        """Keep the best spans of every window, in seconds of its recording."""
        index, start, data, real = batch
        found = self.network(data, real)
        points = type(self.points)(*(part.to(self.device) for part in self.points))
        spans = found.spans(points).float().cpu().numpy()
        scores = (found.logits.float().sigmoid() * found.valid[..., None]).cpu().numpy()
        for row, number in enumerate(index.tolist()):
            recording = self.tested[number]
            some, value, label = best_spans(spans[row], scores[row], self.settings.least_score, self.settings.most)
            seconds = ((some + float(start[row])) / recording.rate).clip(0, recording.duration)
            self._found.append((number, (seconds.round(2), value.round(4), label)))

    def predictions(self) -> Labelled:
        """What the last validation found, windows merged and suppressed."""
        rows: list[tuple[str, str, float, float, float]] = []
        for number, recording in enumerate(self.tested):
            own = [spans for index, spans in self._found if index == number]
            if not own:
                continue
            merged = (np.concatenate(part) for part in zip(*own, strict=True))
            settings = self.settings
            ends, score, label = soft_nms_by_label(
                *merged, sigma=settings.sigma, most=settings.most, voting=settings.voting
            )
            for (a, b), value, name in zip(ends.round(2), score.round(4), label, strict=True):
                rows.append((recording.name, self.classes[name], float(a), float(b), float(value)))
        return Labelled.of(rows)

    def on_validation_epoch_end(self) -> None:
        """Log mAP, its average, and the figure that chooses the epoch."""
        average = 0.0
        if self.tested:
            found = self.predictions()
            if self.run is not None and self.trainer.is_global_zero:
                write_json(self.run.folder / PREDICTIONS, as_results(found))
            score = activitynet_score(truth_of(self.tested, self.classes), found, self.settings.tiou)
            for threshold, value in zip(score.thresholds, score.mean, strict=True):
                self.log(f"val_map_{threshold:g}", 100 * value)
            average = 100 * score.average
            self.log("val_map", average)
        self._found.clear()
        self.log("val_score", average if self.settings.choose == "best" else float(self.current_epoch + 1))


Spans = tuple[np.ndarray, np.ndarray, np.ndarray]


def as_results(found: Labelled) -> dict[str, Any]:
    """Predictions in the form that `posepipe eval tad` reads."""
    results: dict[str, list[dict[str, Any]]] = {}
    for video, label, span, score in zip(found.video, found.label, found.spans, found.score, strict=True):
        item = {"segment": [float(second) for second in span], "label": str(label), "score": float(score)}
        results.setdefault(str(video), []).append(item)
    return {"results": results}


def truth_of(recordings: Sequence[Recording], classes: Sequence[str]) -> Labelled:
    """The actions of recordings, in seconds."""
    return Labelled.of(
        [
            (recording.name, classes[label], float(a), float(b), 1.0)
            for recording in recordings
            for (a, b), label in zip(recording.spans / recording.rate, recording.labels, strict=True)
        ]
    )


def build_network(recipe: TadRecipe, classes: int, channels: int) -> TemporalDetector:
    """The network of a recipe, with the weights that it starts from.

    Parameters
    ----------
    recipe
        Sizes and files.
    classes
        Number of actions.
    channels
        Of the features, where there is no backbone.

    Raises
    ------
    WeightsError
        A file does not fit.
    """
    backbone = VideoMae(VideoMaeForm(), checkpointing=recipe.checkpointing) if recipe.source == "frames" else None
    if backbone is not None and recipe.backbone:
        load_videomae(backbone, Path(recipe.backbone))
    form = ActionFormerForm(
        backbone.form.width if backbone is not None else channels,
        classes,
        *(recipe.width, recipe.heads, recipe.levels, recipe.stem, recipe.attention, recipe.drop_path),
    )
    network = TemporalDetector(ActionFormer(form), backbone)
    if recipe.start:
        start = load_temporal_detector(recipe.start, heads=recipe.heads, window=recipe.attention)
        fill(network, start.state_dict(), Path(recipe.start))
    return network


def train_tad(recipe: TadRecipe, folder: Path, *, resume: bool = True, allow_leaks: bool = False) -> Path:
    """Train by a recipe; returns the checkpoint that is kept.

    Raises
    ------
    InputError
        The data has faults, which are named before anything is trained.
    """
    torch.manual_seed(recipe.engine.seed)
    found = read_set(recipe, allow_leaks=allow_leaks)
    print(f"{len(found.training)} recordings to learn from, {len(found.tested)} to score on", flush=True)
    module = TadModule(build_network(recipe, len(found.classes), found.channels), recipe, found.classes, found.tested)
    rules = WindowRules(recipe.window, recipe.least_share, recipe.least_crop, recipe.stretch, recipe.shuffle)
    samples = TrainingWindows(found.training, found.source, rules)
    order = MixedOrder(len(samples), recipe.engine.seed, recipe.samples or None)
    best = fit(
        module,
        TrainingData(samples, order, collate),
        _searched(found, recipe),
        recipe.engine,
        _run(recipe, folder, resume, found.notes),
    )
    kept = best if recipe.choose == "best" else folder / LAST
    if recipe.export.name:
        from posepipe.training.tad_export import export_tad

        export_tad(kept, recipe, found.classes, folder / f"{recipe.export.name}.onnx")
    return kept


def _run(recipe: TadRecipe, folder: Path, resume: bool, notes: tuple[str, ...]) -> Run:
    if recipe.choose == "last":
        notes = (*notes, "The weights kept are those of the last epoch, not of the best one.")
    return Run(folder, {"kind": "tad", **to_table(recipe)}, resume, notes)


def _searched(found: TadSet, recipe: TadRecipe) -> DataLoader[Any]:
    """Windows that cover the recordings to score on; one window to learn from where there are none."""
    tested, source = (found.tested, found.test_source) if found.tested else (found.training[:1], found.source)
    windows = SearchWindows(tested, source, recipe.window, recipe.overlap)
    settings = loading(dataclasses.replace(recipe.engine, workers=min(recipe.engine.workers, 1)))
    return DataLoader(windows, batch_size=1 if recipe.source == "frames" else 8, collate_fn=search_collate, **settings)  # type: ignore[arg-type]
