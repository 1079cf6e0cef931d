"""The training engine: one `fit` for every network, on Lightning.

It adds to Lightning what every training here wants: one typed recipe, AdamW with warm-up and cosine decay, a moving
average of the weights (which is what is validated and shipped), a checkpoint every epoch that survives a kill,
exact resume, ``metrics.csv`` and ``SUMMARY.md``.
"""

from __future__ import annotations

import csv
import dataclasses
import logging
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, WeightAveraging
from torch import Tensor, nn
from torch.utils.data import DataLoader

from posepipe.errors import WeightsError
from posepipe.io.atomic import atomic_path

__all__ = ["EngineModule", "EngineRecipe", "averaged_weights", "fit", "ramped_average"]

LAST = "last.ckpt"
BEST = "best.ckpt"


@dataclass(frozen=True)
class EngineRecipe:
    """What every training needs to know; a network's own recipe holds one of these.

    Attributes
    ----------
    epochs, batch
        Passes, and samples in a step.
    learning_rate, weight_decay
        Of AdamW; the rate is reached after warm-up and falls along a cosine to `final_share` of itself.
    warmup_steps
        Steps over which the rate rises linearly from 0.
    ema_decay
        Decay a step of the moving average of the weights; after n steps at most (1 + n) / (10 + n), so that a short
        training is not held back by its start.
    clip_norm
        Largest norm of the gradient.
    threads, workers
        Threads of torch (0 = its own choice; 1 is best on a machine that is shared) and data loading processes.
    seed
        Of initialisation, order and augmentation.
    monitor
        Logged validation metric, larger is better, that chooses the best checkpoint.
    """

    epochs: int
    batch: int = 32
    learning_rate: float = 5e-4
    weight_decay: float = 0.01
    final_share: float = 0.01
    warmup_steps: int = 200
    ema_decay: float = 0.998
    clip_norm: float = 5.0
    threads: int = 0
    workers: int = 1
    seed: int = 1
    monitor: str = "val_score"


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

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Groups for AdamW: no weight decay on biases and norms. A group may carry its own ``lr``."""
        trained = [p for p in self.network.parameters() if p.requires_grad]
        return [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": self.recipe.weight_decay},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]

    def configure_optimizers(self) -> Any:
        """AdamW with linear warm-up and a cosine over all steps."""
        optimizer = torch.optim.AdamW(self.parameter_groups(), lr=self.recipe.learning_rate)
        total = int(self.trainer.estimated_stepping_batches)
        recipe = self.recipe

        def share(step: int) -> float:
            if step < recipe.warmup_steps:
                return (step + 1) / recipe.warmup_steps
            part = (step - recipe.warmup_steps) / max(1, total - recipe.warmup_steps)
            cosine = (1 + math.cos(math.pi * min(1.0, part))) / 2
            return recipe.final_share + (1 - recipe.final_share) * cosine

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class _Metrics(Callback):
    """One row an epoch in ``metrics.csv`` and on the console; a resumed run goes on below the rows it kept."""

    def __init__(self, folder: Path, samples_per_epoch: int) -> None:
        self.path = folder / "metrics.csv"
        self.samples_per_epoch = samples_per_epoch
        self.rows: list[dict[str, str]] = []
        self.started = time.monotonic()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch > 0:
            self.rows = [row for row in _read_rows(self.path) if int(row["epoch"]) <= trainer.current_epoch]

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.started = time.monotonic()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        row = {
            "epoch": str(epoch),
            "samples": str(epoch * self.samples_per_epoch),
            "seconds": f"{time.monotonic() - self.started:.1f}",
            "learning_rate": f"{trainer.optimizers[0].param_groups[0]['lr']:.3g}",
        }
        row |= {name: f"{float(value):.5g}" for name, value in sorted(trainer.callback_metrics.items())}
        self.rows.append(row)
        with atomic_path(self.path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(self.rows[-1]), extrasaction="ignore")
            writer.writeheader()
            writer.writerows(self.rows)
        print(" ".join(f"{key}={value}" for key, value in row.items()), flush=True)


def _read_rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def ramped_average(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """The update of a moving average whose decay rises to `decay`; see `EngineRecipe.ema_decay`."""

    def update(average: Tensor, current: Tensor, updates: Tensor | int) -> Tensor:
        count = int(updates)
        return torch.lerp(average, current, 1 - min(decay, (1 + count) / (10 + count)))

    return update


class _AtomicCheckpoint(ModelCheckpoint):
    """Checkpoints written beside their name and then moved onto it: a kill leaves the old one or the new one."""

    def _save_checkpoint(self, trainer: L.Trainer, filepath: str) -> None:
        unfinished = filepath + ".tmp"
        super()._save_checkpoint(trainer, unfinished)
        Path(unfinished).replace(filepath)


def fit(
    module: EngineModule,
    train_loader: DataLoader[Any],
    val_loader: DataLoader[Any],
    recipe: EngineRecipe,
    run_dir: Path,
    *,
    resume: bool = True,
    settings: dict[str, Any] | None = None,
) -> Path:
    """Train `module` and return the path of its best checkpoint.

    Parameters
    ----------
    module
        The network with its loss and validation.
    train_loader, val_loader
        Batches. For exact resume the training loader's order must follow from its sampler's ``set_epoch`` alone.
    recipe
        Schedule and optimiser.
    run_dir
        Folder for ``last.ckpt``, ``best.ckpt``, ``metrics.csv`` and ``SUMMARY.md``; made if absent.
    resume
        Go on from ``last.ckpt`` if there is one. The result is the same as without the interruption.
    settings
        Further settings to write into SUMMARY.md.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    batches = len(train_loader)
    last = _AtomicCheckpoint(dirpath=run_dir, filename="last", save_top_k=1, enable_version_counter=False)
    best = _AtomicCheckpoint(
        dirpath=run_dir, filename="best", monitor=recipe.monitor, mode="max", enable_version_counter=False
    )
    metrics = _Metrics(run_dir, batches * recipe.batch)
    trainer = L.Trainer(
        max_epochs=recipe.epochs,
        accelerator="auto",
        devices=1,
        gradient_clip_val=recipe.clip_norm,
        callbacks=[WeightAveraging(avg_fn=ramped_average(recipe.ema_decay)), metrics, last, best],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=run_dir,
    )
    checkpoint = run_dir / LAST
    trainer.fit(
        module,
        train_loader,
        val_loader,
        ckpt_path=str(checkpoint) if resume and checkpoint.is_file() else None,
        weights_only=True,
    )
    _write_summary(run_dir, recipe, settings or {}, _read_rows(metrics.path))
    return run_dir / BEST


def _write_summary(
    run_dir: Path, recipe: EngineRecipe, settings: dict[str, Any], rows: Sequence[dict[str, str]]
) -> None:
    """SUMMARY.md: the settings, the best epoch, every epoch's figures."""
    lines = ["# Summary of a training run", "", "| setting | value |", "|---|---|"]
    lines += [f"| {key} | {value} |" for key, value in (dataclasses.asdict(recipe) | settings).items()]
    if rows:
        best = max(rows, key=lambda row: float(row.get(recipe.monitor) or "-inf"))
        lines += ["", f"Best epoch: {best['epoch']} ({recipe.monitor} {best.get(recipe.monitor)})", ""]
        names = list(rows[-1])
        lines += ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
        lines += ["| " + " | ".join(row.get(name, "") for name in names) + " |" for row in rows]
    (run_dir / "SUMMARY.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


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
