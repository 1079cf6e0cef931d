"""The cross-evaluation on paper: one line a figure as CSV, tables as Markdown, the matrix as a picture."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from posepipe.errors import MissingExtraError
from posepipe.evaluation.cross import METRICS, Figure
from posepipe.io.atomic import atomic_path

__all__ = ["Cell", "draw_matrix", "markdown", "write_csv"]

_COLUMNS = ("model", "set", "boxes", "part", "metric", "people", "value", "low", "high")
#: what the picture shows
_PANELS = METRICS[:4]


@dataclass(frozen=True)
class Cell:
    """One figure of the matrix: which model, on which set, by which boxes; `part` is "" for the whole set."""

    model: str
    set: str
    boxes: str
    part: str
    metric: str
    figure: Figure


def write_csv(cells: Sequence[Cell], path: Path) -> None:
    """One line a figure; the file appears whole or not at all."""
    with atomic_path(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(_COLUMNS)
        for c in cells:
            f = c.figure
            numbers = [f"{value:.6f}" for value in (f.value, f.low, f.high)]
            writer.writerow([c.model, c.set, c.boxes, c.part, c.metric, f.people, *numbers])


def _percent(figure: Figure | None) -> str:
    if figure is None or not math.isfinite(figure.value):
        return "-"
    value = f"{100 * figure.value:.1f}"
    if not math.isfinite(figure.low):
        return f"{value} (-)"
    return f"{value} ({100 * figure.low:.1f} to {100 * figure.high:.1f})"


def _table(corner: str, rows: Sequence[str], columns: Sequence[str], at: dict[tuple[str, str], Figure]) -> list[str]:
    lines = [f"| {corner} | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    lines += [f"| {row} | " + " | ".join(_percent(at.get((row, column))) for column in columns) + " |" for row in rows]
    return [*lines, ""]


def _unique(values: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(values))


def markdown(cells: Sequence[Cell]) -> str:
    """Tables in percent with 95 % intervals: models down, sets across, by metric and kind of boxes; then the parts."""
    lines: list[str] = []
    for boxes in _unique([c.boxes for c in cells]):
        here = [c for c in cells if c.boxes == boxes]
        models, sets = _unique([c.model for c in here]), _unique([c.set for c in here])
        for metric in METRICS:
            at = {(c.model, c.set): c.figure for c in here if c.metric == metric and not c.part}
            lines += [f"### {metric}, boxes: {boxes}", "", *_table("model", models, sets, at)]
        for name in sets:
            parts = [c for c in here if c.set == name and c.part]
            for metric in _unique([c.metric for c in parts]):
                people = {c.part: c.figure.people for c in parts}
                at = {(c.model, f"{c.part} ({people[c.part]})"): c.figure for c in parts if c.metric == metric}
                columns = [f"{part} ({count})" for part, count in people.items()]
                lines += [f"### {metric} on {name} by part (people), boxes: {boxes}", ""]
                lines += _table("model", models, columns, at)
    return "\n".join(lines)


def draw_matrix(cells: Sequence[Cell], path: Path) -> None:
    """A heat map a metric (across) and kind of boxes (down): models down, sets across, percent in the cells.

    Raises
    ------
    MissingExtraError
        matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as Canvas
    except ImportError as error:
        raise MissingExtraError("the picture of the matrix", "train") from error
    whole = [c for c in cells if not c.part]
    kinds, models, sets = (_unique([getattr(c, key) for c in whole]) for key in ("boxes", "model", "set"))
    size = ((1.1 * len(sets) + 0.6) * len(_PANELS) + 2.2, (0.55 * len(models) + 1.3) * len(kinds))
    canvas = Canvas(figsize=size, layout="constrained")
    FigureCanvasAgg(canvas)
    axes = canvas.subplots(len(kinds), len(_PANELS), squeeze=False)
    for row, boxes in enumerate(kinds):
        for column, metric in enumerate(_PANELS):
            at = {(c.model, c.set): c.figure.value for c in whole if c.boxes == boxes and c.metric == metric}
            axis = axes[row][column]
            values = [[100 * at.get((m, s), math.nan) for s in sets] for m in models]
            axis.imshow(values, vmin=0, vmax=100, cmap="viridis", aspect="auto")
            axis.set_title(f"{metric}, boxes: {boxes}", fontsize=9)
            axis.set_xticks(range(len(sets)), sets, fontsize=8, rotation=20, ha="right")
            axis.set_yticks(range(len(models)), models if column == 0 else [""] * len(models), fontsize=8)
            for y, line in enumerate(values):
                for x, value in enumerate(line):
                    if math.isfinite(value):
                        colour = "black" if value > 60 else "white"
                        axis.text(x, y, f"{value:.1f}", ha="center", va="center", fontsize=9, color=colour)
    with atomic_path(path) as unfinished:
        # Without the version and the time, so that the same figures give the same bytes.
        canvas.savefig(unfinished, dpi=130, metadata={"Software": None})
