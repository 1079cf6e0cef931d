"""``posepipe eval two-stream``: the spatial and the temporal stream, and their fusion, on a list of videos."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posepipe.cli.parser import Commands
from posepipe.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from posepipe.training.two_stream_scores import StreamScores

__all__ = ["add"]

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
_ABOUT = """\
Consensus: scores of a video's samples become the video's, by mean, maximum, or a mean weighted with the variance of
each sample's scores. Fusion: of the two streams' scores, weights given as spatial : temporal."""


def add(kinds: Commands) -> None:
    """Put the command below ``posepipe eval``."""
    command = kinds.add_parser(
        "two-stream",
        help="two-stream action networks: Prec@1, Prec@5, fusion",
        description="Score the videos of a list with trained streams: Prec@1 and Prec@5 of each, and of their fusion. "
        "With VIDEO, name what is done in those videos.",
        epilog=_ABOUT,
        allow_abbrev=False,
    )
    command.add_argument("files", nargs="*", type=Path, metavar="VIDEO", help="videos to name, in place of a list")
    for stream in ("spatial", "temporal"):
        command.add_argument(f"--{stream}", type=Path, metavar="FILE", help=f"checkpoint of the {stream} stream")
    command.add_argument("--part", default="test", choices=("train", "val", "test"), help="part of the list (test)")
    command.add_argument("--source", metavar="LIST", help="another list than that of the training (a CSV file)")
    command.add_argument("--videos", metavar="DIR", help="folder of the videos, if they have moved")
    command.add_argument("--data", metavar="DIR", help="folder where relative paths begin")
    command.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON as well")
    command.add_argument("--csv", type=Path, metavar="FILE", help="write what each stream says of each video as well")
    command.set_defaults(command=_two_stream)


def _two_stream(arguments: argparse.Namespace) -> int:
    from posepipe.evaluation.consensus import stream_rows
    from posepipe.report import table, write_json

    try:
        from posepipe.training.two_stream_scores import score_streams
    except ImportError as error:
        raise MissingExtraError("posepipe eval two-stream", "train") from error
    if arguments.files and arguments.json:
        raise UsageError(
            "--json holds figures, which plain videos have none of", hint="Take --csv, or a list (--source)"
        )
    streams = {name: getattr(arguments, name) for name in ("spatial", "temporal") if getattr(arguments, name)}
    changes = {name: getattr(arguments, name) for name in ("source", "videos", "data") if getattr(arguments, name)}
    scores = score_streams(streams, arguments.part, files=arguments.files, **changes)
    if arguments.csv:
        _write(arguments.csv, scores)
    if arguments.files:
        print(table(*_named(scores)))
        return 0
    rows = stream_rows(scores.spatial, scores.temporal, scores.labels)
    print(
        f"{scores.listed.source}, {arguments.part}: {len(scores.videos)} videos, {len(scores.listed.classes)} classes"
    )
    print(_shown(rows, scores.listed.source == "UCF101 split 1" and arguments.part == "test"))
    if arguments.json:
        about = {"schema": "posepipe.eval.two-stream", "version": 1, "list": scores.listed.source}
        figures = {name: {"prec1": one, "prec5": five} for name, one, five in rows}
        write_json(arguments.json, {**about, "part": arguments.part, "videos": len(scores.videos), "figures": figures})
    return 0


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


def _write(path: Path, scores: StreamScores) -> None:
    import csv

    from posepipe.io.atomic import atomic_path

    head, rows = _named(scores)
    with atomic_path(path) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([head, *rows])


def _softmax(logits: Any) -> Any:
    import numpy as np

    powers = np.exp(logits - logits.max())
    return powers / powers.sum()
