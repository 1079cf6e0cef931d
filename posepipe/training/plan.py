"""From a recipe file and overrides to a training: the one place that knows the kinds of recipes.

A recipe is TOML: ``kind`` and the settings of that kind (`posepipe.training.recipe`). It may have ``[[phases]]``:
tables of settings that replace the common ones, trained one after another in ``phase1``, ``phase2`` ... of the run
folder, each from the best weights of the one before. With ``base`` it says only what it does differently from another.
"""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module, resources
from pathlib import Path
from typing import Any

from posepipe.config import read_toml
from posepipe.errors import ConfigError, UsageError, near_names
from posepipe.training.action_recipe import ActionRecipe
from posepipe.training.recipe import DetectorRecipe, ExportRecipe, PoseRecipe, SlimDetectorRecipe
from posepipe.training.table import build, parse_text, settings_of
from posepipe.training.tad_recipe import TadRecipe
from posepipe.training.tsm_recipe import TsmRecipe
from posepipe.training.two_stream_recipe import TwoStreamRecipe

__all__ = ["KINDS", "Kind", "Plan", "find_recipe", "make_plan", "shipped_recipes", "train"]


@dataclass(frozen=True)
class Kind:
    """What a kind of recipe can say, and what trains by it.

    Attributes
    ----------
    recipe
        The dataclass of its settings. Those whose kind knows `[[phases]]` have a setting ``start``.
    trainer
        ``module:function``, imported when a training starts (recipes are checked without torch). It is called as
        ``function(recipe, folder, resume=..., allow_leaks=...)`` and returns the best checkpoint.
    """

    recipe: type[Any]
    trainer: str

    def train(self, recipe: Any, folder: Path, *, resume: bool, allow_leaks: bool) -> Path:
        """Train by one recipe of this kind; returns the best checkpoint."""
        check_machine: Callable[..., None] = import_module("posepipe.training.engine").check_machine
        check_machine(recipe.engine, folder)
        module, _, name = self.trainer.partition(":")
        function: Callable[..., Path] = getattr(import_module(module), name)
        return function(recipe, folder, resume=resume, allow_leaks=allow_leaks)


#: kinds of recipes
KINDS: dict[str, Kind] = {
    "action": Kind(ActionRecipe, "posepipe.training.action:train_action"),
    "pose": Kind(PoseRecipe, "posepipe.training.pose:train_pose"),
    "detector": Kind(DetectorRecipe, "posepipe.training.detector:train_detector"),
    "tsm": Kind(TsmRecipe, "posepipe.training.tsm:train_tsm"),
    "two_stream": Kind(TwoStreamRecipe, "posepipe.training.two_stream:train_two_stream"),
    "tad": Kind(TadRecipe, "posepipe.training.tad:train_tad"),
    "slim_detector": Kind(SlimDetectorRecipe, "posepipe.training.detector_slim:train_slim_detector"),
}


@dataclass(frozen=True)
class Plan:
    """A training as it will be run: its kind, and one recipe a phase."""

    kind: str
    phases: tuple[Any, ...]


def shipped_recipes() -> dict[str, str]:
    """The recipes in the package: name to the first line of its comment."""
    folder = resources.files("posepipe.training") / "recipes"
    found = {
        Path(entry.name).stem: entry.read_text("utf-8").partition("\n")[0].lstrip("# ")
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    }
    return dict(sorted(found.items()))


def find_recipe(name: str) -> dict[str, Any]:
    """The table of a recipe file, or of the shipped recipe of that name.

    A recipe with ``base``, another recipe's name or its path from there, is put over that one: tables are merged, all
    else is replaced, lists of tables as a whole.

    Raises
    ------
    UsageError
        There is no shipped recipe of that name.
    ConfigError
        A file cannot be read, is no TOML, or is its own base.
    """
    table, below = _read_recipe(name, Path())
    seen = []
    while "base" in table:
        base = table.pop("base")
        if not isinstance(base, str) or (base, below) in seen:
            raise ConfigError(f"a recipe cannot have the base {base!r}", expected="another recipe's name or path")
        seen.append((base, below))
        lower, below = _read_recipe(base, below)
        table = _merged(lower, table)
    return table


def _read_recipe(name: str, folder: Path) -> tuple[dict[str, Any], Path]:
    """A recipe file (a path from `folder`) or shipped recipe as it stands, and the folder that it lies in."""
    if name.endswith(".toml") or "/" in name:
        path = folder / name
        return read_toml(path), path.parent
    shipped = shipped_recipes()
    if name not in shipped:
        near = near_names(name, shipped) or list(shipped)
        raise UsageError(f"there is no recipe {name!r}", expected=f"a .toml file, or one of {', '.join(near)}")
    with resources.as_file(resources.files("posepipe.training") / "recipes" / f"{name}.toml") as path:
        return read_toml(path), folder


def make_plan(table: Mapping[str, Any], overrides: Mapping[str, str]) -> Plan:
    """Check a recipe and put overrides on it; nothing is read but the table.

    Parameters
    ----------
    table
        Of a recipe file.
    overrides
        Dotted name of a setting to the text of its value; they go before the settings of every phase.

    Raises
    ------
    ConfigError
        The kind or a setting is unknown, of the wrong type or out of range.
    """
    common = copy.deepcopy(dict(table))
    kind, phases = common.pop("kind", None), common.pop("phases", [{}])
    if kind not in KINDS:
        raise ConfigError("unknown kind of recipe", got=repr(kind), expected=" or ".join(KINDS))
    if not isinstance(phases, list) or not phases or not all(isinstance(phase, dict) for phase in phases):
        raise ConfigError("setting 'phases' has the wrong type", expected="tables ([[phases]])")
    recipes = []
    for phase in phases:
        merged = _merged(common, phase)
        for name, text in overrides.items():
            _put(merged, KINDS[kind].recipe, name, text)
        recipes.append(build(KINDS[kind].recipe, merged))
    return Plan(kind, tuple(recipes))


def _merged(common: Mapping[str, Any], phase: Mapping[str, Any]) -> dict[str, Any]:
    """`phase` over `common`, table by table."""
    merged = copy.deepcopy(dict(common))
    for key, value in phase.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _put(table: dict[str, Any], recipe: type[Any], name: str, text: str) -> None:
    """Set a dotted setting from text; raises `ConfigError`."""
    known = {s.name: s for s in settings_of(recipe) if not s.listed}
    if name not in known:
        near = near_names(name, known)
        hint = f"Near: {', '.join(near)}" if near else None
        raise ConfigError(f"recipes of this kind have no setting {name!r}", hint=hint)
    *sections, last = name.split(".")
    for part in sections:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise ConfigError(f"setting {part!r} has the wrong type", expected="a table")
    table[last] = parse_text(name, text, known[name].hint)


def train(plan: Plan, folder: Path, *, resume: bool = True, allow_leaks: bool = False) -> Path:
    """Run a plan and return the best checkpoint of its last phase.

    Raises
    ------
    PosepipeError
        Data, weights or settings are wrong.
    """
    best = folder
    for number, recipe in enumerate(plan.phases, start=1):
        below = folder / f"phase{number}" if len(plan.phases) > 1 else folder
        if number > 1:
            recipe = dataclasses.replace(recipe, start=str(best))
        best = KINDS[plan.kind].train(recipe, below, resume=resume, allow_leaks=allow_leaks)
        if plan.kind == "pose" and number == len(plan.phases) and recipe.export.name:
            _export(best, folder, recipe.export)
    return best


def _export(best: Path, folder: Path, export: ExportRecipe) -> None:
    """Write the best weights as safetensors and ONNX."""
    from posepipe.models.pose_checkpoints import load_pose_checkpoint
    from posepipe.training.export import export_pose, write_safetensors

    if any(os.environ.get(name, "0") != "0" for name in ("LOCAL_RANK", "NODE_RANK")):
        return  # of several processes the first one writes
    weights = folder / f"{export.name}.safetensors"
    _, card = load_pose_checkpoint(best)
    write_safetensors(best, weights, card)
    about = dataclasses.asdict(export)
    export_pose(weights, weights.with_suffix(".onnx"), **about)
    print(f"written: {weights} and {weights.with_suffix('.onnx').name}", flush=True)
