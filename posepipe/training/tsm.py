"""Training of a network that tells real from manipulated video: module and run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from posepipe.datasets.faces import MARGIN
from posepipe.datasets.forgery import FORGERY_CLASSES
from posepipe.datasets.order import MixedOrder
from posepipe.evaluation.forgery import auc, video_scores
from posepipe.models.tsm import Tsm, start_tsm
from posepipe.training.engine import EngineModule, Run, TrainingData, fit, loading
from posepipe.training.table import to_table
from posepipe.training.tsm_data import FaceClips, FixedClips, face_store, forgery_sets
from posepipe.training.tsm_loss import forgery_loss, positive_weight
from posepipe.training.tsm_recipe import TsmRecipe

__all__ = ["TsmModule", "train_tsm"]


class TsmModule(EngineModule):
    """A `Tsm` under training. Validates with the areas under the ROC curves of videos (which choose) and of clips.

    Parameters
    ----------
    network
        With one output.
    recipe
        Its loss.
    validation
        The clips that validation goes through.
    weight
        Of manipulated clips, for the weighted loss.
    """

    network: Tsm

    def __init__(self, network: Tsm, recipe: TsmRecipe, validation: FixedClips, weight: float = 1.0) -> None:
        super().__init__(network, recipe.engine)
        self.settings, self.validation, self.weight = recipe, validation, weight
        self._score: dict[int, float] = {}

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return forgery_loss(self.settings.loss, logits, labels, gamma=self.settings.gamma, weight=self.weight)

    def training_step(self, batch: tuple[Tensor, Tensor], _index: int) -> Tensor:
        """Loss of a batch of clips."""
        clips, labels = batch
        loss = self._loss(self.network(clips.float())[:, 0], labels)
        self.log("train_loss", loss.detach(), on_step=False, on_epoch=True, batch_size=len(labels))
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], _index: int) -> None:
        """Keep the probability of every clip."""
        number, clips, labels = batch
        logits = self.network(clips.float())[:, 0].float()
        self.log("val_loss", self._loss(logits, labels), batch_size=len(labels))
        self._score.update(zip(number.tolist(), torch.sigmoid(logits).tolist(), strict=True))

    def on_validation_epoch_end(self) -> None:
        """Log the area under the ROC curve of videos, by the mean of their clips, and that of clips."""
        places = self.validation.places
        score = np.array([self._score[n] for n in range(len(places))])
        self._score.clear()
        videos = [place.video for place in places]
        by_video = video_scores(score, videos)
        label = [video.label for video in dict.fromkeys(videos)]
        video_auc = auc(np.array(list(by_video.values())), np.array(label))
        self.log("val_clip_auc", auc(score, self.validation.labels))
        self.log("val_video_auc", video_auc)
        self.log("val_score", video_auc)


def _network(recipe: TsmRecipe) -> Tsm:
    network = Tsm(
        recipe.backbone,
        segments=recipe.segments,
        fold_div=recipe.fold_div,
        pooling="attention" if recipe.pooling == "attention" else "mean",
        dropout=recipe.dropout,
    )
    if recipe.start:
        start_tsm(network, recipe.start)
    network.freeze_norms(recipe.frozen_norms)
    return network


def train_tsm(recipe: TsmRecipe, folder: Path, *, resume: bool = True, allow_leaks: bool = False) -> Path:
    """Train by a recipe; returns the best checkpoint.

    Raises
    ------
    InputError, UsageError
        Something is wrong with the videos, which are all looked at before training starts.
    WeightsError
        The weights to start from do not fit.
    """
    torch.manual_seed(recipe.engine.seed)
    network = _network(recipe)
    listed, notes = forgery_sets(recipe, face_store(recipe), allow_leaks=allow_leaks)
    store = face_store(recipe)  # anew, without the networks that looked for faces: it goes to other processes
    clips = FaceClips(listed["train"], store, recipe)
    held = FixedClips(listed["val"], store, recipe.span, recipe.segments, recipe.val_clips)
    labels = [place.video.label for place in clips.places]
    order = MixedOrder(
        len(clips),
        recipe.engine.seed,
        recipe.samples or None,
        groups=[place.video.path for place in clips.places],
        classes=labels if recipe.balanced else None,
    )
    machine = loading(recipe.engine)
    validation: DataLoader[Any] = DataLoader(held, batch_size=recipe.engine.batch, **machine)  # type: ignore[arg-type]
    print(f"{len(clips)} clips of {len(listed['train'])} videos to train on, {len(held)} to validate on", flush=True)
    module = TsmModule(network, recipe, held, positive_weight(torch.tensor(labels)))
    card = {
        "kind": "tsm",
        "labels": list(FORGERY_CLASSES),
        "network": network.form,
        "side": recipe.side,
        "span": recipe.span,
        "face_margin": MARGIN,
        "face_every": recipe.face_every,
        "trained_on": [listed.source],
    }
    run = Run(folder, {"kind": "tsm", **to_table(recipe)}, resume, notes, card)
    return fit(module, TrainingData(clips, order), validation, recipe.engine, run)
