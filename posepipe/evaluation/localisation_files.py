"""Reads ground truth and predictions of actions in time: ActivityNet's JSON, THUMOS-14's texts, posepipe's CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from posepipe.errors import InputError, UsageError
from posepipe.evaluation.localisation import Labelled

__all__ = ["read_predictions", "read_truth", "same_names"]

Row = tuple[str, str, float, float, float]

_COLUMNS = ("video", "label", "start_s", "end_s", "score")
# What `posepipe run` calls its table, and its label for what the network does not know, in rows without a score.
_TABLE, _UNKNOWN = "actions.csv", "unknown"


def read_truth(path: str | Path, subset: str = "") -> Labelled:
    """Ground truth, ambiguous stretches included.

    Parameters
    ----------
    path
        A JSON file (videos with ``annotations``, perhaps below ``database``; or with ``segments`` and ``labels``), or a
        folder of THUMOS-14's ``CLASS_test.txt`` files (video, start, end).
    subset
        Only videos whose ``subset`` is this, or files that end so; empty: all.

    Raises
    ------
    InputError
        The file cannot be read or has none of these forms.
    UsageError
        There is nothing in the subset.
    """
    path = Path(path)
    rows = list(_folder_rows(path, subset) if path.is_dir() else _truth_rows(path, subset))
    if not rows:
        where = f" in the subset {subset!r}" if subset else ""
        raise UsageError(f"{path} holds no annotated actions{where}")
    return Labelled.of(rows)


def read_predictions(path: str | Path) -> Labelled:
    """Predictions.

    Parameters
    ----------
    path
        A JSON file with ``results`` (video to a list of ``segment``, ``label``, ``score``), a CSV file with the columns
        video, label, start_s, end_s, score, as `posepipe run` writes it, or the folder that such a run wrote into. Rows
        that say ``unknown`` and have no score are no predictions.

    Raises
    ------
    InputError
        The file cannot be read or has none of these forms; two tables of a folder are of videos of one name.
    """
    path = Path(path)
    if path.is_dir():
        return Labelled.of(list(_run_rows(path)))
    if path.suffix.lower() == ".csv":
        return Labelled.of(list(_csv_rows(path)))
    results = _json(path).get("results")
    if not isinstance(results, dict):
        raise InputError(f"{path} holds no predictions", expected='JSON with "results", or a .csv file')
    rows: list[Row] = []
    for video, items in results.items():
        for item in _items(path, video, items):
            rows.append(_row(path, video, item.get("label"), item.get("segment"), item.get("score")))
    return Labelled.of(rows)


def same_names(truth: Labelled, found: Labelled) -> Labelled:
    """Ground truth under the predictions' names where only ActivityNet's prefix ``v_`` or a suffix keeps them apart.

    A name stays where several would fit it, or it several.
    """
    own, others = {str(name) for name in truth.video}, {str(name) for name in found.video}
    by_form: dict[str, set[str]] = {}
    for name in others - own:
        for form in _forms(name):
            by_form.setdefault(form, set()).add(name)
    fitting: dict[str, str] = {}
    for name in own - others:
        near = {other for form in _forms(name) for other in by_form.get(form, ())}
        # Two names that both have suffixes, but others, are of two videos.
        fits = [other for other in near if _forms(name)[0] in _forms(other) or _forms(other)[0] in _forms(name)]
        if len(fits) == 1:
            fitting[name] = fits[0]
    taken = Counter(fitting.values())
    names = {name: other for name, other in fitting.items() if taken[other] == 1}
    video = np.array([names.get(name, name) for name in map(str, truth.video)], str)
    return Labelled(video, truth.label, truth.spans, truth.score)


def _forms(name: str) -> tuple[str, str]:
    """A video's name without ActivityNet's prefix, and that without a suffix."""
    bare = name.removeprefix("v_")
    return bare, PurePath(bare).stem


def _text(path: Path) -> str:
    """A text file, with or without the mark that Excel sets before UTF-8."""
    try:
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text in UTF-8", got=str(error), hint="Save it as UTF-8") from error


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} is not a table of videos", got=type(value).__name__)
    return value


def _items(path: Path, video: str, items: Any) -> list[dict[str, Any]]:
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise InputError(f"{path}: the actions of {video} are not a list of tables")
    return items


def _row(path: Path, video: str, label: Any, segment: Any, score: Any) -> Row:
    try:
        start, end = (float(second) for second in segment)
        value = float(score)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{path}: an action of {video} is not (start, end, score)", got=repr((segment, score))[:80]
        ) from error
    if not isinstance(label, str) or not all(math.isfinite(number) for number in (start, end, value)):
        raise InputError(f"{path}: an action of {video} has no label or no finite times", got=repr(segment)[:80])
    return video, label, start, end, value


def _truth_rows(path: Path, subset: str) -> Iterator[Row]:
    table = _json(path)
    videos = table.get("database", table)
    if not isinstance(videos, dict):
        raise InputError(f"{path} is not a table of videos", got=type(videos).__name__)
    for video, about in videos.items():
        if not isinstance(about, dict) or (subset and about.get("subset") != subset):
            continue
        if "annotations" in about:
            for item in _items(path, video, about["annotations"]):
                yield _row(path, video, item.get("label"), item.get("segment"), 1.0)
        elif isinstance(about.get("segments"), list) and isinstance(about.get("labels"), list):
            for segment, label in zip(about["segments"], about["labels"], strict=False):
                yield _row(path, video, label, segment, 1.0)
        else:
            raise InputError(f"{path}: {video} has no annotations", expected="annotations, or segments and labels")


def _folder_rows(folder: Path, subset: str) -> Iterator[Row]:
    for path in sorted(folder.glob(f"*_{subset or '*'}.txt")):
        label = path.stem.rpartition("_")[0]
        for line in _text(path).splitlines():
            if not line.strip():
                continue
            video, *ends = line.split()
            yield _row(path, video, label, ends, 1.0)


def _csv_rows(path: Path) -> Iterator[Row]:
    try:
        for row in csv.DictReader(io.StringIO(_text(path), newline="")):
            missing = [name for name in _COLUMNS if row.get(name) is None]
            if missing:
                raise InputError(f"{path} lacks the columns {', '.join(missing)}")
            if row["label"] == _UNKNOWN and not row["score"]:
                continue
            yield _row(path, row["video"], row["label"], (row["start_s"], row["end_s"]), row["score"])
    except csv.Error as error:
        raise InputError(f"{path} is not a CSV file: {error}") from error


def _run_rows(folder: Path) -> Iterator[Row]:
    """What a run wrote into the folder of one video, or into one folder a video."""
    tables = [folder / _TABLE] if (folder / _TABLE).is_file() else sorted(folder.glob(f"*/{_TABLE}"))
    if not tables:
        raise InputError(f"{folder} holds no {_TABLE}", expected="a folder that `posepipe run` wrote into")
    seen: dict[str, Path] = {}
    for path in tables:
        for row in _csv_rows(path):
            if seen.setdefault(row[0], path) != path:
                raise InputError(f"{seen[row[0]]} and {path} are of videos of one name", got=row[0])
            yield row
