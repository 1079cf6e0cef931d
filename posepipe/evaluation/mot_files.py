"""Files of the MOTChallenge: ground truth, results and detections, one box a line.

``frame, id, x, y, width, height, flag or score, class, visibility``: MOT15 has world coordinates in place of the last
two. Frames count from 1; x and y are kept as written, as all evaluators do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from posepipe.errors import InputError

__all__ = ["Benchmark", "MotRows", "guess_benchmark", "read_mot"]

Benchmark = Literal["MOT15", "MOT16", "MOT17", "MOT20"]

_FORM = "frame,id,x,y,width,height with at most four more numbers"


@dataclass(frozen=True)
class MotRows:
    """Rows of a file.

    Attributes
    ----------
    frame, track_id
        (R,) int64; ids of detections are -1.
    boxes
        (R,4) float64 xyxy px.
    flag
        (R,) float64: in ground truth 0 where a row does not count, else a score.
    category
        (R,) int64: class of MOT16 and later, -1 where there is none.
    """

    frame: NDArray[np.int64]
    track_id: NDArray[np.int64]
    boxes: NDArray[np.float64]
    flag: NDArray[np.float64]
    category: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, pick: Any) -> MotRows:
        """Rows by index array, mask or slice."""
        return MotRows(self.frame[pick], self.track_id[pick], self.boxes[pick], self.flag[pick], self.category[pick])

    def by_frame(self) -> dict[int, MotRows]:
        """The rows of each frame that has any, in the order of the file."""
        rows = self[np.argsort(self.frame, kind="stable")]
        frames, start = np.unique(rows.frame, return_index=True)
        ends = np.append(start, len(rows))[1:]
        return {int(f): rows[a:b] for f, a, b in zip(frames, start, ends, strict=True)}


def read_mot(path: str | Path) -> MotRows:
    """Read a file of MOT rows; an empty file has no rows.

    Raises
    ------
    InputError
        The file cannot be read, or a line does not hold numbers of this form, or is not finite, or has a negative
        size, or repeats the id of another line of its frame. The message names file and line.
    """
    path = Path(path)
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}", got=error) from error
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    table = np.array([_parse(path, number, line) for number, line in lines], np.float64).reshape(-1, 8)
    frame, track_id = table[:, 0].astype(np.int64), table[:, 1].astype(np.int64)
    named = np.flatnonzero(track_id != -1)
    _, first = np.unique(np.stack([frame, track_id])[:, named], axis=1, return_index=True)
    if len(first) < len(named):
        repeat = np.setdiff1d(named, named[first])[0]
        raise InputError(f"{path}, line {lines[repeat][0]}: id {track_id[repeat]} occurs twice in its frame")
    boxes = np.concatenate([table[:, 2:4], table[:, 2:4] + table[:, 4:6]], 1)
    return MotRows(frame, track_id, boxes, table[:, 6], table[:, 7].astype(np.int64))


def _parse(path: Path, number: int, line: str) -> list[float]:
    """The first eight numbers of a line, flag 1 and class -1 where they are left out."""
    try:
        values = [float(v) for v in line.split(",")]
    except ValueError:
        values = []
    sound = 6 <= len(values) <= 10 and all(map(math.isfinite, values))
    sound = sound and min(values[4:6]) >= 0 and values[0] >= 1 and values[0].is_integer() and values[1].is_integer()
    if not sound:
        raise InputError(f"{path}, line {number} is not a row of a MOT file", got=repr(line[:80]), expected=_FORM)
    # With ten columns (MOT15) the eighth is a world coordinate.
    category = values[7] if len(values) in (8, 9) else -1.0
    return [*values[:6], values[6] if len(values) > 6 else 1.0, category]


def guess_benchmark(path: str | Path, truth: MotRows) -> Benchmark:
    """The benchmark whose rules a ground-truth file needs: by its name for MOT20, by its classes for the others."""
    if (truth.category == -1).all():
        return "MOT15"
    return "MOT20" if "MOT20" in str(path) else "MOT17"
