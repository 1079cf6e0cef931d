"""The training engine: one `fit` for every network, on Lightning.

It adds to Lightning what every training here wants: one typed recipe, an order of samples that cannot be left
unshuffled, checkpoints that a kill cannot damage, exact resume, and a run folder that tells what was done.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, WeightAveraging
from torch import Tensor, nn
from torch.utils.data import DataLoader

from posepipe.datasets.order import MixedOrder
from posepipe.errors import ConfigError, OutputError, WeightsError
from posepipe.training import run_folder
from posepipe.training.checkpoints import AtomicCheckpoint, stopped_early
from posepipe.training.recipe import EngineRecipe, better
from posepipe.training.schedule import make_optimizer, make_schedules, ramped_average

__all__ = [
    "BEST",
    "LAST",
    "EngineModule",
    "Run",
    "TrainingData",
    "averaged_weights",
    "check_machine",
    "fit",
    "loading",
]

LAST = "last.ckpt"
BEST = "best.ckpt"
#: seconds between two drawings of the curves while a training runs
_REDRAW_S = 60.0


class Samples(Sized, Protocol):
    """What `MixedOrder` indexes: samples by (index, seed)."""

    def __getitem__(self, key: tuple[int, int]) -> Any: ...


@dataclass(frozen=True)
class TrainingData:
    """Samples, the order they are drawn in, and how a batch is made of them (None: stacked)."""

    samples: Samples
    order: MixedOrder
    collate: Callable[[Sequence[Any]], Any] | None = None


@dataclass(frozen=True)
class Run:
    """Where and as what a training runs.

    Attributes
    ----------
    folder
        For checkpoints, ``recipe.toml``, ``metrics.csv``, ``curves.png`` and ``SUMMARY.md``; made if absent.
    settings
        The resolved recipe as nested tables; stored in every checkpoint too.
    resume
        Go on from ``last.ckpt`` if there is one. The result is the same as without the interruption.
    notes
        What a reader of SUMMARY.md must not miss, such as checks that were overridden; stored in checkpoints too.
    card
        What a reader of the network's outputs must know; stored in checkpoints as their ``posepipe`` (JSON).
    """

    folder: Path
    settings: Mapping[str, Any]
    resume: bool = True
    notes: tuple[str, ...] = ()
    card: Mapping[str, Any] | None = None


class EngineModule(L.LightningModule):
    """A network under training. Subclasses write `training_step` and `validation_step` and log `recipe.monitor`.

    Attributes
    ----------
    network : torch.nn.Module
        What is trained, averaged and shipped.
    """

    def __init__(self, network: nn.Module, recipe: EngineRecipe) -> None:
        super().__init__()
        self.network = network
        self.recipe = recipe
        self.run: Run | None = None

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Groups for the optimiser: no weight decay on biases and norms. A group may carry its own ``lr``."""
        trained = [p for p in self.network.parameters() if p.requires_grad]
        return [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": self.recipe.weight_decay},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]

    def configure_optimizers(self) -> Any:
        """The recipe's optimiser and schedules."""
        optimizer = make_optimizer(self.recipe, self.parameter_groups())
        total = int(self.trainer.estimated_stepping_batches)
        steps = math.ceil(self.trainer.num_training_batches / self.recipe.accumulate)
        return [optimizer], make_schedules(self.recipe, optimizer, total, int(steps))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store what the training was, and the network's card."""
        if self.run is None:
            return
        notes = list(self.run.notes)
        checkpoint["training"] = {"settings": dict(self.run.settings), "notes": notes}
        if self.run.card is not None:
            checkpoint["posepipe"] = json.dumps({**self.run.card, **({"notes": notes} if notes else {})})


class _Keeper(Callback):
    """Shares the data out over processes, seeds every epoch, and keeps the run folder's files up to date.

    Lightning's CSVLogger is not used for ``metrics.csv``: it deletes the rows of a run that is resumed.
    """

    def __init__(self, run: Run, data: TrainingData, recipe: EngineRecipe) -> None:
        self.run, self.data, self.recipe = run, data, recipe
        self.rows: list[run_folder.Row] = []
        self.started = self.drawn = self.ended = time.monotonic()
        self.waited = 0.0

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self.data.order.share_out(trainer.global_rank, trainer.world_size)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch > 0:
            rows = run_folder.read_rows(self.run.folder)
            self.rows = [row for row in rows if int(row["epoch"]) <= trainer.current_epoch]

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        # Not on_train_epoch_start: Lightning leaves that out of the first epoch of a resumed training.
        now = time.monotonic()
        self.waited += now - self.ended
        if batch_idx == 0:
            self.started, self.waited = now, 0.0
            # Dropout and the like draw from torch's generator: an epoch's draws follow from its number, resumed or not.
            source = np.random.default_rng((self.recipe.seed, trainer.current_epoch, trainer.global_rank))
            torch.manual_seed(int(source.integers(2**62)))

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.ended = time.monotonic()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        epoch, batches = trainer.current_epoch + 1, int(trainer.num_training_batches)
        validated = epoch % self.recipe.validate_every == 0
        watched = (self.recipe.monitor, self.recipe.plateau_monitor or self.recipe.monitor)
        for name in watched if validated else ():
            if name not in trainer.callback_metrics:
                known = ", ".join(sorted(trainer.callback_metrics))
                raise ConfigError(f"there is no figure {name!r} to monitor", expected=f"one of {known}")
        if not trainer.is_global_zero:
            return
        row = {
            "epoch": str(epoch),
            "samples": str(epoch * batches * self.recipe.batch * trainer.world_size),
            "seconds": f"{time.monotonic() - self.started:.1f}",
            "batch_seconds": f"{(self.ended - self.started) / batches:.3f}",
            "data_seconds": f"{self.waited / batches:.3f}",
            "learning_rate": f"{max(group['lr'] for group in trainer.optimizers[0].param_groups):.3g}",
        }
        for name, value in sorted(trainer.callback_metrics.items()):
            if validated or name.startswith("train_"):  # Lightning still holds the figures of the last validation
                row[name] = f"{float(value):.5g}"
        self.rows.append(row)
        run_folder.write_rows(self.run.folder, self.rows)
        if time.monotonic() - self.drawn > _REDRAW_S:
            self.report()
        print(" ".join(f"{key}={value}" for key, value in row.items()), flush=True)

    def report(self) -> None:
        """Write SUMMARY.md and curves.png from what metrics.csv holds."""
        rows = run_folder.read_rows(self.run.folder)
        run_folder.write_summary(self.run.folder, self.run.settings, rows, self.recipe.monitor, self.run.notes)
        if rows:
            run_folder.write_curves(self.run.folder, rows)
        self.drawn = time.monotonic()


def _callbacks(recipe: EngineRecipe, folder: Path) -> list[Callback]:
    """Average, early stopping and checkpoints.

    ``last`` is written after ``best``: should a kill fall between the two, the epoch is repeated and finds its best
    again; the other way round it would be forgotten.
    """
    found: list[Callback] = []
    if recipe.ema_decay > 0:
        found.append(WeightAveraging(multi_avg_fn=ramped_average(recipe.ema_decay)))
    if recipe.patience > 0:
        found.append(EarlyStopping(recipe.monitor, recipe.min_delta, recipe.patience, mode=better(recipe.monitor)))
    common: dict[str, Any] = {"enable_version_counter": False, "save_on_train_epoch_end": True}
    watch = {
        "monitor": recipe.monitor,
        "mode": better(recipe.monitor),
        "every_n_epochs": recipe.validate_every,
        **common,
    }
    found.append(AtomicCheckpoint(dirpath=folder, filename="best", **watch))
    if recipe.keep_best > 1:
        found.append(
            AtomicCheckpoint(dirpath=folder / "top", filename="{epoch:03d}", save_top_k=recipe.keep_best, **watch)
        )
    every: dict[str, Any] = {"monitor": None, **common}
    if recipe.keep_every > 0:
        often: dict[str, Any] = {"every_n_epochs": recipe.keep_every, "save_top_k": -1, "save_last": False}
        found.append(AtomicCheckpoint(dirpath=folder / "epochs", filename="{epoch:03d}", **often, **every))
    found.append(AtomicCheckpoint(dirpath=folder, filename="last", save_top_k=1, **every))
    return found


def check_machine(recipe: EngineRecipe, folder: Path) -> None:
    """Before anything is read: the device must be there, and the run folder one that can be made.

    Raises
    ------
    ConfigError
        The recipe asks for a GPU and there is none.
    OutputError
        The folder cannot be made.
    """
    if recipe.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("torch finds no GPU for engine.device = 'cuda'", hint="Give --engine.device auto or cpu")
    there = next((path for path in (folder, *folder.absolute().parents) if path.exists()), folder)
    if not (there.is_dir() and os.access(there, os.W_OK)):
        raise OutputError(f"cannot make the run folder {folder}", hint="Name a folder that can be written: --run-dir")


def loading(recipe: EngineRecipe) -> dict[str, Any]:
    """Arguments of a DataLoader for the machine: worker processes, and pinned memory beside a GPU."""
    on_gpu = recipe.device != "cpu" and torch.cuda.is_available()
    workers = recipe.workers
    if workers < 0:
        workers = min(8, max(1, (os.cpu_count() or 1) // recipe.devices)) if on_gpu else 1
    return {"num_workers": workers, "persistent_workers": workers > 0, "pin_memory": on_gpu}


def _loader(data: TrainingData, recipe: EngineRecipe) -> DataLoader[Any]:
    """Batches in the data's own order; the last incomplete one is left out."""
    return DataLoader(
        data.samples,  # type: ignore[arg-type]  # any object with __getitem__ and __len__ serves
        batch_size=recipe.batch,
        sampler=data.order,
        collate_fn=data.collate,
        drop_last=True,
        **loading(recipe),
    )


def _clear(folder: Path) -> None:
    """Remove what an earlier training left, lest a run that starts over and is killed at once goes on from it."""
    kept = (*folder.glob("top/*.ckpt"), *folder.glob("epochs/*.ckpt"))
    for path in (*(folder / name for name in (LAST, BEST, run_folder.METRICS)), *kept):
        path.unlink(missing_ok=True)


def _length(data: TrainingData, recipe: EngineRecipe) -> tuple[int, int]:
    """Epochs, and batches in an epoch, that the recipe's epochs and step budget ask for."""
    batches = data.order.per_epoch // recipe.devices // recipe.batch
    if batches == 0:
        hint = "Give a smaller --engine.batch, or more data"
        share = f", {data.order.per_epoch // recipe.devices} for each of {recipe.devices} devices,"
        samples = f"{data.order.per_epoch} samples{share if recipe.devices > 1 else ''}"
        raise ConfigError(f"an epoch of {samples} holds no batch of {recipe.batch}", hint=hint)
    epochs, most = recipe.epochs, batches
    if recipe.steps > 0:
        steps = math.ceil(batches / recipe.accumulate)
        epochs, most = min(epochs, math.ceil(recipe.steps / steps)), min(batches, recipe.steps * recipe.accumulate)
    if epochs < recipe.validate_every:
        hint = "Give a smaller --engine.validate_every, or more epochs"
        raise ConfigError(f"a training of {epochs} epochs ends before its first validation", hint=hint)
    return epochs, most


def _trainer(recipe: EngineRecipe, folder: Path, callbacks: list[Callback], length: tuple[int, int]) -> L.Trainer:
    return L.Trainer(
        max_epochs=length[0],
        limit_train_batches=length[1],
        check_val_every_n_epoch=recipe.validate_every,
        accelerator={"cuda": "gpu"}.get(recipe.device, recipe.device),
        devices=recipe.devices,
        strategy=recipe.strategy,
        precision=cast("Any", recipe.precision),
        accumulate_grad_batches=recipe.accumulate,
        gradient_clip_val=recipe.clip_norm or None,
        deterministic="warn" if recipe.deterministic else None,
        use_distributed_sampler=False,  # the order shares itself out
        callbacks=callbacks,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )


def fit(module: EngineModule, data: TrainingData, validation: DataLoader[Any], recipe: EngineRecipe, run: Run) -> Path:
    """Train `module` and return the path of its best checkpoint.

    Parameters
    ----------
    module
        The network with its loss and validation.
    data
        What to learn from. Batches come in its own order; there is no way to leave them unshuffled.
    validation
        Batches to validate on; with several processes each of them sees all.
    recipe
        Schedule, optimiser, machine.
    run
        Where and as what.

    Raises
    ------
    ConfigError
        The folder holds a training by another recipe, or an epoch holds no batch.
    KeyboardInterrupt
        The training was interrupted; it can be resumed.
    """
    checkpoint = run.folder / LAST
    going_on = run.resume and checkpoint.is_file()
    length = _length(data, recipe)
    run.folder.mkdir(parents=True, exist_ok=True)
    if not run.resume:
        _clear(run.folder)
    run_folder.keep_recipe(run.folder, run.settings, going_on=going_on)
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in ("does not have many workers", "exists and is not empty", "LeafSpec.*is deprecated", "in eval mode"):
        warnings.filterwarnings("ignore", message=f".*{message}.*")
    module.run = run
    keeper = _Keeper(run, data, recipe)
    trainer = _trainer(recipe, run.folder, [keeper, *_callbacks(recipe, run.folder)], length)
    if not (going_on and stopped_early(checkpoint)):
        try:
            trainer.fit(
                module,
                _loader(data, recipe),
                validation,
                ckpt_path=str(checkpoint) if going_on else None,
                weights_only=True,
            )
        except SystemExit:
            if not trainer.interrupted:
                raise
            raise KeyboardInterrupt("interrupted; the same command goes on from the last whole epoch") from None
    if trainer.is_global_zero:
        keeper.report()
    return run.folder / BEST


def averaged_weights(checkpoint: Path) -> dict[str, Tensor]:
    """The network's averaged weights in a checkpoint of `fit`, by the network's own names.

    Raises `WeightsError` for a file that is missing or not such a checkpoint.
    """
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    except Exception as error:  # torch raises half a dozen kinds for a damaged file
        raise WeightsError(f"cannot read the checkpoint {checkpoint}: {error!r}") from error
    prefix = "network."
    weights = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
    if not weights:
        raise WeightsError(f"{checkpoint} holds no tensors of a network", got=sorted(state)[:3])
    return cast("dict[str, Tensor]", weights)
