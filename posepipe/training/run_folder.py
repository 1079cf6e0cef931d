"""What a run folder holds beside checkpoints: recipe.toml, metrics.csv, curves.png, SUMMARY.md."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from posepipe.config import read_toml
from posepipe.errors import ConfigError
from posepipe.io.atomic import atomic_path
from posepipe.report import versions
from posepipe.training.recipe import better
from posepipe.training.table import to_toml

__all__ = ["Row", "keep_recipe", "read_rows", "write_curves", "write_rows", "write_summary"]

Row = dict[str, str]

RECIPE, METRICS, CURVES, SUMMARY = "recipe.toml", "metrics.csv", "curves.png", "SUMMARY.md"
_PACKAGES = ("torch", "torchvision", "timm", "lightning", "numpy", "opencv-python-headless", "onnxruntime")
#: settings that say where and how fast, or how long, but do not change what a begun training does up to there
_FREE = (
    *("engine.epochs", "engine.steps", "engine.threads", "engine.workers", "engine.device"),
    *("engine.keep_best", "engine.keep_every", "data", "start", "package", "backbone"),
)


def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested table as dotted names and values; items of lists of tables are numbered from 1."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for number, item in enumerate(value, start=1):
                found |= flat(item, f"{prefix}{key}[{number}].")
        else:
            found[prefix + key] = value
    return found


def keep_recipe(folder: Path, table: Mapping[str, Any], *, going_on: bool) -> None:
    """Write the resolved recipe; with `going_on`, refuse one that differs from that of the training in the folder.

    Raises
    ------
    ConfigError
        The folder's training was made with other settings, which are named.
    """
    path = folder / RECIPE
    if going_on and path.is_file():
        old, new = flat(read_toml(path)), flat(table)
        differing = sorted(k for k in old.keys() | new.keys() if old.get(k) != new.get(k) and k not in _FREE)
        if differing:
            raise ConfigError(
                f"the training in {folder} was started with another recipe",
                got=f"other values of {', '.join(differing[:8])}",
                hint="Give the same settings, --fresh to start over, or another --run-dir",
            )
    lines = ["# Settings of this training, every one; with them `posepipe train` repeats it.", "# Made with:"]
    lines += [f"#   {name} {number}" for name, number in versions(_PACKAGES).items()]
    with atomic_path(path) as unfinished:
        unfinished.write_text("\n".join(lines) + "\n" + to_toml(table), encoding="utf-8")


def read_rows(folder: Path) -> list[Row]:
    """The rows of ``metrics.csv``, one an epoch; none if there is no such file."""
    path = folder / METRICS
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def write_rows(folder: Path, rows: Sequence[Row]) -> None:
    """Write ``metrics.csv`` whole."""
    with atomic_path(folder / METRICS) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as stream:
        names = dict.fromkeys(name for row in rows for name in row)  # epochs without validation have fewer
        writer = csv.DictWriter(stream, list(names))
        writer.writeheader()
        writer.writerows(rows)


def _series(rows: Sequence[Row], name: str) -> tuple[list[int], list[float]]:
    points = [(int(row["epoch"]), float(row[name])) for row in rows if row.get(name)]
    return [x for x, _ in points], [y for _, y in points]


def write_curves(folder: Path, rows: Sequence[Row]) -> None:
    """Draw ``curves.png``: losses, validation figures and the learning rate by epoch."""
    names = [name for name in rows[-1] if name not in ("epoch", "samples", "learning_rate") and "seconds" not in name]
    losses = [name for name in names if name.startswith("train_") or name.endswith("loss")]
    panels = (("loss", losses), ("validation", [n for n in names if n not in losses]), ("rate", ["learning_rate"]))
    figure = Figure(figsize=(12, 3.5), layout="constrained")
    for axes, (title, members) in zip(figure.subplots(1, 3), panels, strict=True):
        for name in members:
            axes.plot(*_series(rows, name), marker="." if len(rows) < 40 else "", label=name)
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        if members:
            axes.legend(fontsize="small")
    with atomic_path(folder / CURVES) as unfinished:
        figure.savefig(unfinished, dpi=110)


def write_summary(
    folder: Path, settings: Mapping[str, Any], rows: Sequence[Row], monitor: str, notes: Iterable[str] = ()
) -> None:
    """Write ``SUMMARY.md``: best epoch, every epoch's figures, settings, versions.

    Parameters
    ----------
    folder
        The run folder.
    settings
        Nested table of settings.
    rows
        Of ``metrics.csv``.
    monitor
        Column whose best value tells the best epoch; see `posepipe.training.recipe.better`.
    notes
        Lines that stand above everything (what a reader must not miss).
    """
    lines = ["# Summary of a training run", "", *(f"**{note}**\n" for note in notes)]
    if rows:
        sign = -1.0 if better(monitor) == "min" else 1.0
        best = max(rows, key=lambda row: sign * float(row[monitor]) if row.get(monitor) else float("-inf"))
        seconds = sum(float(row["seconds"]) for row in rows)
        lines += [
            f"Best epoch: {best['epoch']} ({monitor} {best.get(monitor)}), kept in best.ckpt; "
            f"{len(rows)} epochs, {seconds:.0f} s",
            "",
        ]
        names = list(rows[-1])
        lines += ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
        lines += ["| " + " | ".join(row.get(name, "") for name in names) + " |" for row in rows]
    lines += ["", "| setting | value |", "|---|---|"]
    lines += [f"| {key} | {value} |" for key, value in flat(settings).items()]
    lines += ["", "Made with " + ", ".join(f"{name} {number}" for name, number in versions(_PACKAGES).items()) + "."]
    with atomic_path(folder / SUMMARY) as unfinished:
        unfinished.write_text("\n".join(lines) + "\n", encoding="utf-8")
