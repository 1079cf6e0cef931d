"""The part of ``posepipe eval action`` for two-stream networks: each stream, and their fusion, on whole videos."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posepipe.errors import UsageError

if TYPE_CHECKING:
    from posepipe.training.two_stream_scores import StreamScores

__all__ = ["is_stream", "parted", "score"]

#: Prec@1 of the original work on the test part of UCF101 split 1
_PUBLISHED = {
    "spatial, mean": 73.883, "spatial, max": 69.046, "spatial, variance": 70.896,
    "temporal, mean": 76.315, "temporal, variance": 65.398,
    "fusion of mean, average": 85.6727, "fusion of mean, max": 76.5001, "fusion of mean, 2:1": 87.4438,
    "fusion of mean, 1:2": 82.6064, "fusion of mean, variance": 78.3770, "fusion of mean, top-5 variance": 82.6857,
    "fusion of variance, average": 83.0293, "fusion of variance, max": 71.1605, "fusion of variance, 2:1": 79.1700,
    "fusion of variance, 1:2": 83.9017, "fusion of variance, variance": 73.0637,
    "fusion of variance, top-5 variance": 79.9894,
}  # fmt: skip
#: forms of sets of labelled videos
_FORMS = ("ucf101", "upfall", "csv")


def is_stream(path: Path) -> bool:
    """Whether a file is a checkpoint of a two-stream network's stream. Raises `WeightsError` if it cannot be read."""
    from posepipe.models.pose_files import read_tensors

    if path.suffix.lower() == ".onnx":
        return False
    _, card = read_tensors(path)
    return card.get("kind") == "two_stream"


def score(networks: Sequence[Path], named: Sequence[str], arguments: argparse.Namespace) -> None:
    """Print Prec@1 and Prec@5 of streams on a set, or what plain videos show; write what is asked for.

    Parameters
    ----------
    networks
        A checkpoint of a stream, or one of each.
    named
        A set of labelled videos, or videos; nothing: the list of their training.
    arguments
        With ``part``, ``videos``, ``json`` and ``csv``.

    Raises
    ------
    PosepipeError
        Something is wrong with what is named; see `posepipe.training.two_stream_scores.score_streams`.
    """
    from posepipe.evaluation.consensus import stream_rows
    from posepipe.report import table, write_json, write_rows
    from posepipe.training.two_stream_scores import score_streams

    videos: Sequence[Path] = ()
    changes = {"videos": str(arguments.videos.resolve())} if arguments.videos else {}
    if len(named) == 1 and named[0].partition(":")[0] in _FORMS:
        changes = {**_listed(named[0]), **changes}
    else:
        videos = [Path(name) for name in named]
    if videos and arguments.json:
        raise UsageError("--json holds figures, which plain videos have none of", hint="Take --csv, or name a set")
    scores = score_streams(networks, arguments.part, files=videos, **changes)
    if arguments.csv:
        write_rows(arguments.csv, *_named(scores))
    if videos:
        print(table(*_named(scores)))
        return
    rows = stream_rows(scores.spatial, scores.temporal, scores.labels)
    source, part = scores.listed.source, arguments.part
    print(f"{source}, {part}: {len(scores.videos)} videos, {len(scores.listed.classes)} classes")
    print(_shown(rows, source == "UCF101 split 1" and part == "test"))
    if arguments.json:
        about = {"schema": "posepipe.eval.two-stream", "version": 1, "list": source, "part": part}
        figures = {name: {"prec1": one, "prec5": five} for name, one, five in rows}
        write_json(arguments.json, {**about, "videos": len(scores.videos), "figures": figures})


def parted(named: str) -> tuple[str, Path, str]:
    """Form, path and protocol of ``FORM:PATH`` or ``FORM:PATH:PROTOCOL``; `UsageError` where there is no path."""
    form, _, rest = named.partition(":")
    path, _, protocol = rest.rpartition(":")
    if not path or Path(rest).exists():
        path, protocol = rest, ""
    if not path:
        raise UsageError("a set is FORM:PATH or FORM:PATH:PROTOCOL", got=repr(named))
    return form, Path(path), protocol


def _listed(named: str) -> dict[str, Any]:
    """The settings of a recipe that name a set."""
    form, path, protocol = parted(named)
    if form == "csv":
        return {"source": str(path.resolve()), "videos": ""}  # not where the videos of the training were
    changes: dict[str, Any] = {"source": form, "videos": str(path.resolve())}
    if form == "ucf101" and protocol:
        if protocol not in ("1", "2", "3"):
            raise UsageError("UCF101 has the splits 1, 2 and 3", got=protocol)
        changes["split"] = int(protocol)
    return changes


def _shown(rows: Sequence[tuple[str, float, float]], beside: bool) -> str:
    """The table, `beside` the original work's figures or alone."""
    from posepipe.report import table

    head = ["scores", "Prec@1", "Prec@5", *(["original Prec@1"] if beside else [])]
    cells = [[name, f"{one:.3f}", f"{five:.3f}"] for name, one, five in rows]
    if beside:
        for row in cells:
            row.append(f"{_PUBLISHED[row[0]]:.3f}" if row[0] in _PUBLISHED else "")
    return table(head, cells)


def _named(scores: StreamScores) -> tuple[list[str], list[list[str]]]:
    """Head and one row a video: its label (empty: not known), class and score of each stream and of their average."""
    from posepipe.evaluation.consensus import consensus, fuse

    said: dict[str, Any] = {
        name: consensus(found)
        for name, found in (("spatial", scores.spatial), ("temporal", scores.temporal))
        if found is not None
    }
    if len(said) == 2:
        said["average"] = fuse(said["spatial"], said["temporal"])
    classes, rows = scores.listed.classes, []
    for number, video in enumerate(scores.videos):
        row = [video.path.name, classes[video.label] if video.label >= 0 else ""]
        for found in said.values():
            shares = _softmax(found[number])
            row += [classes[int(shares.argmax())], f"{shares.max():.4f}"]
        rows.append(row)
    return ["video", "label", *(f"{name}{of}" for name in said for of in ("", "_score"))], rows


def _softmax(logits: Any) -> Any:
    import numpy as np

    powers = np.exp(logits - logits.max())
    return powers / powers.sum()
