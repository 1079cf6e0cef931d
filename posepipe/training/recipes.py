"""Recipe files: TOML with ``kind`` and ``phases``; what kind of network it trains decides the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from posepipe.config import read_toml
from posepipe.errors import ConfigError

__all__ = ["train"]


def train(recipe: Path, run_dir: Path, *, resume: bool = True) -> Path:
    """Train by a recipe file and return the best checkpoint.

    A recipe has ``kind = "detector"`` or ``kind = "pose"`` and settings. A pose recipe may have ``[[phases]]``: tables
    of settings that replace the common ones, trained one after another in ``run_dir/phase1``, ``phase2`` ..., each from
    the best of the one before; and ``[export]`` (name, version, licence, trained_on): then ``run_dir`` ends up with
    ``NAME.safetensors`` and ``NAME.onnx``.

    Raises
    ------
    ConfigError
        The file is unreadable, of an unknown kind, or a setting is wrong.
    """
    table = read_toml(recipe)
    kind = table.pop("kind", None)
    if kind == "pose":
        return _train_pose(table, run_dir, resume)
    if kind == "detector":
        return _train_detector(table, run_dir, resume)
    raise ConfigError(f"{recipe}: unknown kind of recipe", got=kind, expected="pose or detector")


def _train_detector(table: dict[str, Any], run_dir: Path, resume: bool) -> Path:
    from posepipe.training.detector import DetectorRecipe, train_detector

    return train_detector(DetectorRecipe.from_table(table), run_dir, resume=resume)


def _train_pose(table: dict[str, Any], run_dir: Path, resume: bool) -> Path:
    from posepipe.training.export import export_pose, write_safetensors
    from posepipe.training.pose import PoseRecipe, train_pose

    phases, export = table.pop("phases", [{}]), table.pop("export", None)
    best = run_dir
    for number, phase in enumerate(phases, start=1):
        merged = table | phase | {"engine": table.get("engine", {}) | phase.get("engine", {})}
        folder = run_dir / f"phase{number}"
        start = folder / "start.safetensors"
        if number > 1:
            if not start.is_file():
                write_safetensors(best, start)
            merged["start"] = str(start)
        best = train_pose(PoseRecipe.from_table(merged), folder, resume=resume)
    if export is not None:
        weights = run_dir / f"{export['name']}.safetensors"
        write_safetensors(best, weights)
        export_pose(weights, weights.with_suffix(".onnx"), **export)
    return best
