"""Visibility tables: which joints of many people are labelled and hidden, without their pictures or places.

An .npz file with ``image_id`` (N,), ``is_val`` (N,) bool and ``visibility`` (N,17) in {0,1,2}, in the order of COCO.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from posepipe.errors import InputError
from posepipe.io.npz import UNREADABLE_NPZ
from posepipe.skeleton import COCO17

__all__ = ["VisibilityTable", "read_visibility"]


@dataclass(frozen=True, eq=False)
class VisibilityTable:
    """``image_id`` (N,) int64, ``is_val`` (N,) bool and ``visibility`` (N,17) int8 of N people."""

    image_id: NDArray[np.int64]
    is_val: NDArray[np.bool_]
    visibility: NDArray[np.int8]


def read_visibility(path: str | Path) -> VisibilityTable:
    """Read a visibility table.

    Raises
    ------
    InputError
        The file is missing or not of that form.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            image_id, is_val, visibility = (np.asarray(data[n]) for n in ("image_id", "is_val", "visibility"))
    except UNREADABLE_NPZ as error:
        raise InputError(
            f"{path} is not a visibility table: {error!r}"[:200], expected="image_id, is_val, visibility"
        ) from error
    people = len(image_id)
    if (
        visibility.shape != (people, len(COCO17))
        or is_val.shape != (people,)
        or not np.isin(visibility, (0, 1, 2)).all()
    ):
        raise InputError(f"{path} is not a visibility table", got=visibility.shape, expected="(N,17) of 0, 1 and 2")
    return VisibilityTable(image_id.astype(np.int64), is_val.astype(bool), visibility.astype(np.int8))
