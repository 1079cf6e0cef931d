"""Files of the MOTChallenge: ground truth, results and detections, one box a line.

``frame, id, x, y, width, height, flag or score, class, visibility``: MOT15 has world coordinates in place of the last
two. Frames count from 1; x and y are kept as written, as all evaluators do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from posepipe.errors import InputError

__all__ = ["Benchmark", "MotRows", "Pair", "guess_benchmark", "pair_files", "parse_benchmark", "read_mot"]

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


def read_mot(path: str | Path, *, identified: bool = False) -> MotRows:
    """Read a file of MOT rows; an empty file has no rows.

    Parameters
    ----------
    path
        The file.
    identified
        Every row must have an id, as in ground truth and results; -1, which detections have, is none.

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
    if identified and len(named) < len(lines):
        nameless = lines[int(np.flatnonzero(track_id == -1)[0])][0]
        raise InputError(f"{path}, line {nameless}: id -1 is that of a detection", hint="Give a file of tracks")
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


def parse_benchmark(name: str) -> Benchmark:
    """The benchmark of a name in small or capital letters; raises ``ValueError`` for another one."""
    for known in get_args(Benchmark):
        if known == name.upper():
            benchmark: Benchmark = known
            return benchmark
    raise ValueError(f"no rules of {name!r} are known")


class Pair(NamedTuple):
    """Ground truth and results of one sequence."""

    name: str
    truth: Path
    results: Path


# MOT17 has each sequence three times, once for each public detector; their ground truth is the same.
_DETECTORS = ("", "-DPM", "-FRCNN", "-SDP")


def pair_files(truth: str | Path, results: str | Path, pattern: str = "tracks.txt") -> tuple[list[Pair], list[str]]:
    """Find which results belong to which ground truth.

    Parameters
    ----------
    truth
        A folder that holds ``SEQ/gt/gt.txt`` or ``SEQ/gt.txt``, such a sequence's folder, or one file.
    results
        A folder that holds ``SEQ.txt`` (in MOT17 also ``SEQ-DPM.txt``, ``SEQ-FRCNN.txt``, ``SEQ-SDP.txt``) or
        ``SEQ/<pattern>``, or one file where ``truth`` is one sequence.
    pattern
        File in the folder of each sequence; a pattern may find several, which count as sequences of their own and are
        named after the sequence and their path in its folder.

    Returns
    -------
    pairs, missing
        The pairs, no two of one name, and the names of the sequences that have ground truth only.

    Raises
    ------
    InputError
        There is no ground truth, or no results that belong to it, or two files have results of the same name.
    """
    truth, results = Path(truth), Path(results)
    known = _truth_files(truth)
    if results.is_file():
        if len(known) > 1:
            raise InputError(f"{results} is one file for {len(known)} sequences of {truth}", hint="Give a folder")
        return [Pair(name, path, results) for name, path in known.items()], []
    pairs, missing = [], []
    for name, path in known.items():
        # What is a sequence of its own has its own ground truth.
        flat = {name + d: results / f"{name}{d}.txt" for d in _DETECTORS if not d or name + d not in known}
        deep = sorted((results / name).glob(pattern))
        found = [Pair(own, path, file) for own, file in flat.items() if file.is_file()]
        found += [Pair(_own_name(name, file, results) if len(deep) > 1 else name, path, file) for file in deep]
        pairs += found
        missing += [] if found else [name]
    if not pairs:
        expected = f"SEQ.txt or SEQ/{pattern} with SEQ one of {', '.join(list(known)[:3])} ..."
        raise InputError(f"{results} holds no results of the sequences of {truth}", expected=expected)
    _refuse_repeats(pairs)
    return pairs, missing


def _own_name(name: str, file: Path, results: Path) -> str:
    """What one of several files in the folder of a sequence is called."""
    return f"{name}/{file.relative_to(results / name).with_suffix('').as_posix()}"


def _refuse_repeats(pairs: list[Pair]) -> None:
    """Raise `InputError` where two files have one name: the scores of one of them would be lost."""
    held: dict[str, Path] = {}
    for pair in pairs:
        other = held.setdefault(pair.name, pair.results)
        if other is not pair.results:
            raise InputError(
                f"two files hold results of {pair.name}",
                got=f"{other} and {pair.results}",
                hint="Move one of them away, or say which are meant with --files",
            )


def _truth_files(path: Path) -> dict[str, Path]:
    """The ground truth of each sequence by name."""
    if path.is_file():
        folder = path.resolve().parent
        return {(folder.parent if folder.name == "gt" else folder).name if path.stem == "gt" else path.stem: path}
    inner = (Path("gt", "gt.txt"), Path("gt.txt"))
    folders = [path, *sorted(p for p in path.glob("*") if p.is_dir())] if path.is_dir() else []
    # Of a sequence's own folder the name is its, of a folder of sequences that of each.
    found: dict[str, Path] = {}
    for folder in folders:
        file = next((folder / name for name in inner if (folder / name).is_file()), None)
        if file is not None and not (folder.name == "gt" and found):
            found[folder.resolve().name] = file
    if not found:
        raise InputError(f"{path} holds no ground truth", expected="SEQ/gt/gt.txt, SEQ/gt.txt or a file")
    return found
