"""Training of an action network: module, data, run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from posepipe.config import data_root
from posepipe.datasets.action_views import TestViews, TrainingViews
from posepipe.datasets.actions import ActionSet, check_parts
from posepipe.datasets.order import MixedOrder
from posepipe.evaluation.action import mean_class_accuracy, top_accuracy
from posepipe.models.pcan import LossWeights, Pcan, fuse
from posepipe.training.action_batch import Batch, ClipMaker, collate, collate_tests, mix
from posepipe.training.action_card import action_card, build_action, card_form, load_action
from posepipe.training.action_recipe import ActionRecipe
from posepipe.training.action_sources import open_store, read_sources, training_parts
from posepipe.training.engine import EngineModule, Run, TrainingData, fit, loading
from posepipe.training.table import to_table

if TYPE_CHECKING:
    from posepipe.datasets.frame_pack import FramePack
    from posepipe.datasets.video_frames import FrameStore

__all__ = ["ActionModule", "fit_action", "train_action"]


class ActionModule(EngineModule):
    """A `Pcan` under training; validates with the fused accuracy."""

    network: Pcan

    def __init__(self, network: Pcan, recipe: ActionRecipe, card: dict[str, Any]) -> None:
        super().__init__(network, recipe.engine)
        self.settings = recipe
        self.size, self.classes = int(card["size"]), len(card["labels"])
        self.maker = ClipMaker(card)
        own = vars(recipe.loss)
        self.weights = LossWeights(**{name: value for name, value in own.items() if name != "smoothing"})
        self._said: list[tuple[Tensor, ...]] = []

    def on_fit_start(self) -> None:
        """Convolutions over three axes are several times as fast with the channels last."""
        if self.device.type == "cuda":
            self.network.to(memory_format=torch.channels_last_3d)

    def training_step(self, batch: Batch, _index: int) -> Tensor:
        """Loss of a batch of views."""
        clips = self.maker(batch, self.size)
        if self.device.type == "cuda":
            clips = {name: clip.contiguous(memory_format=torch.channels_last_3d) for name, clip in clips.items()}
        clips, targets = mix(clips, batch["label"], self.classes, self.settings.mix)
        said = self.network(**clips)
        parts = self.network.losses(said, targets, self.weights, smoothing=self.settings.loss.smoothing)
        loss = torch.stack(list(parts.values())).sum()
        about: dict[str, Any] = {"on_step": False, "on_epoch": True, "batch_size": len(targets)}
        self.log("train_loss", loss.detach(), **about)
        for name, value in parts.items():
            self.log(f"train_{name}", value.detach(), **about)
        if not self.trainer.num_val_batches or not sum(self.trainer.num_val_batches):
            self.log("val_score", float(self.current_epoch), **about)  # without validation the last epoch is the best
        return loss

    def validation_step(self, batch: Batch, _index: int) -> None:
        """Keep what each stream says of every clip."""
        said = self.network(**self.maker(batch, self.size))
        clips = self.settings.validation_clips
        streams = [fuse({name: one}, clips)[0] for name, one in said.items()]
        self._said.append((batch["label"][::clips], fuse(said, clips)[0], *streams))

    def on_validation_epoch_end(self) -> None:
        """Log the accuracy of the streams together, which chooses, and of each."""
        label, fused, *streams = (torch.cat(parts).float().cpu().numpy() for parts in zip(*self._said, strict=True))
        self._said.clear()
        self.log("val_score", top_accuracy(fused, label.astype(int)))
        self.log("val_mean_class", mean_class_accuracy(fused, label.astype(int)))
        for name, stream in zip(self.network.heads, streams, strict=True):
            if len(streams) > 1:
                self.log(f"val_{name}", top_accuracy(stream, label.astype(int)))


def fit_action(
    recipe: ActionRecipe,
    training: ActionSet,
    held: ActionSet,
    folder: Path,
    *,
    resume: bool = True,
    notes: tuple[str, ...] = (),
    store: FrameStore | FramePack | None = None,
) -> Path:
    """Train on clips that are at hand; returns the best checkpoint.

    Parameters
    ----------
    recipe
        How; its sources and parts are not looked at.
    training, held
        To learn from and to validate on; without a clip to validate on the last epoch counts as the best.
    folder
        Of the run.
    resume
        Go on where a training in the folder stopped.
    notes
        What a reader of its summary must not miss.
    store
        Where pictures come from; None: from the videos, if the network takes pictures.
    """
    torch.manual_seed(recipe.engine.seed)
    check_parts(training, held)
    card = action_card(recipe, training)
    network = _begun(recipe, build_action(card, recipe.dropout))
    form, store = card_form(card), store or open_store(recipe)
    views = TrainingViews(training, form, recipe.variation, store)
    order = MixedOrder(len(views), recipe.engine.seed, recipe.samples or None)
    tests = TestViews(held, form, recipe.validation_clips, store)
    validation: DataLoader[Any] = DataLoader(
        tests,  # type: ignore[arg-type]  # any object with __getitem__ and __len__ serves
        batch_size=max(1, recipe.engine.batch // recipe.validation_clips),
        collate_fn=collate_tests,
        **loading(recipe.engine),
    )
    print(f"{len(training)} clips to train on, {len(held)} to validate on", flush=True)
    run = Run(folder, {"kind": "action", **to_table(recipe)}, resume, notes, {**card, "trained_on": [training.name]})
    data = TrainingData(views, order, collate)
    return fit(ActionModule(network, recipe, card), data, validation, recipe.engine, run)


def train_action(recipe: ActionRecipe, folder: Path, *, resume: bool = True, allow_leaks: bool = False) -> Path:
    """Train by a recipe on the data folder; returns the best checkpoint."""
    root = Path(recipe.data) if recipe.data else data_root()
    training, held, notes = training_parts(recipe, read_sources(recipe, root), allow_leaks=allow_leaks)
    best = fit_action(recipe, training, held, folder, resume=resume, notes=notes)
    if recipe.export.name:
        from posepipe.training.action_export import write_action

        write_action(best, folder / recipe.export.name, recipe.export)
    return best


def _begun(recipe: ActionRecipe, network: Pcan) -> Pcan:
    """The network with the weights that the recipe starts from."""
    if recipe.start:
        network.load_state_dict(load_action(Path(recipe.start))[0].state_dict())
    singles = [load_action(Path(path))[0] for path in (recipe.start_rgb, recipe.start_pose) if path]
    if singles:
        network.adopt(*singles)
    return network
