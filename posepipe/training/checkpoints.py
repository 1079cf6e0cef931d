"""Checkpoints of trainings that a kill cannot damage."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

__all__ = ["AtomicCheckpoint", "stopped_early"]


class AtomicCheckpoint(ModelCheckpoint):
    """Checkpoints written beside their name and then moved onto it: a kill leaves the old one or the new one."""

    @property
    def state_key(self) -> str:
        """Lightning's key and the file name: several of these watch the same figure."""
        return f"{super().state_key}{self.filename}"

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore; the run folder may have been moved since."""
        old, new = str(state_dict.get("dirpath")), str(self.dirpath)

        def moved(value: Any) -> Any:
            if isinstance(value, dict):
                return {moved(k): v for k, v in value.items()}
            return new + value[len(old) :] if isinstance(value, str) and value.startswith(old) else value

        super().load_state_dict({key: moved(value) for key, value in state_dict.items()})

    def _save_checkpoint(self, trainer: L.Trainer, filepath: str) -> None:
        unfinished = filepath + ".tmp"
        super()._save_checkpoint(trainer, unfinished)
        if trainer.is_global_zero:
            with Path(unfinished).open("rb+") as file:
                os.fsync(file.fileno())
            Path(unfinished).replace(filepath)
        trainer.strategy.barrier()


def stopped_early(checkpoint: Path) -> bool:
    """Whether the training that wrote this stopped before its last epoch by the recipe's `patience`."""
    states = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["callbacks"]
    return any(name.startswith("EarlyStopping") and state["stopped_epoch"] > 0 for name, state in states.items())
