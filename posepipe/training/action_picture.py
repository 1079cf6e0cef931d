"""The confusion of classes as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from posepipe.errors import UsageError
from posepipe.io.atomic import atomic_path

__all__ = ["draw_confusion"]

_ENDINGS = (".png", ".pdf", ".svg")
#: with more classes the counts are not written into the cells
_MOST = 30


def draw_confusion(path: Path, matrix: NDArray[np.integer], names: Sequence[str]) -> None:
    """Draw a confusion matrix: rows are true classes, shades the share of a row, numbers the clips.

    Parameters
    ----------
    path
        The picture, by its ending .png, .pdf or .svg.
    matrix
        (F,F) clips of each class (rows) by the class that they were given (columns).
    names
        F names.

    Raises
    ------
    UsageError
        The ending is another.
    OutputError
        The picture cannot be written.
    """
    if path.suffix.lower() not in _ENDINGS:
        raise UsageError(f"{path} is no picture that can be drawn", expected=", ".join(_ENDINGS))
    side = 2.5 + 0.32 * len(names)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(matrix / np.maximum(matrix.sum(1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("named")
    axes.set_ylabel("true")
    if len(names) <= _MOST:
        for row, column in zip(*np.nonzero(matrix), strict=True):
            dark = matrix[row, column] > matrix[row].sum() / 2
            colour = "white" if dark else "black"
            axes.text(column, row, str(matrix[row, column]), ha="center", va="center", fontsize="small", color=colour)
    with atomic_path(path) as unfinished:
        figure.savefig(unfinished, dpi=110, format=path.suffix[1:].lower())
