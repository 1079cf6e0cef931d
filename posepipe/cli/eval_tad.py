"""``posepipe eval tad``: actions found in time against ground truth."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from posepipe.cli.parser import Commands, warn
from posepipe.errors import UsageError

if TYPE_CHECKING:
    from posepipe.evaluation.localisation import LocalisationScore

__all__ = ["add"]

_RULES = ("activitynet", "thumos")
_FILES = """\
GT is a JSON file in ActivityNet's form (with or without "database") or a folder of THUMOS-14's CLASS_test.txt files;
RESULTS a JSON file with "results", an actions.csv of `posepipe run`, or the folder that it wrote into. Videos go by
their names, with or without suffix. Rules: activitynet interpolates precision and leaves out duplicates and ambiguous
stretches; thumos are the challenge's own."""


def add(kinds: Commands) -> None:
    """Put the command below ``posepipe eval``."""
    tad = kinds.add_parser(
        "tad",
        help="actions in time: mAP by overlap",
        description="Score actions found in time: mean average precision at overlaps in time (tIoU), and its average.",
        epilog=_FILES,
        allow_abbrev=False,
    )
    tad.add_argument("truth", metavar="GT", help="ground truth: a JSON file or a folder of THUMOS-14's texts")
    tad.add_argument("results", metavar="RESULTS", help="results: a JSON or CSV file, or the folder of a run")
    tad.add_argument("--rules", choices=_RULES, default=_RULES[0], metavar="RULES", help=" or ".join(_RULES))
    overlaps = "overlaps, separated by commas (default 0.3,0.4,0.5,0.6,0.7)"
    tad.add_argument("--tiou", default="0.3,0.4,0.5,0.6,0.7", metavar="LIST", help=overlaps)
    tad.add_argument("--subset", default="", metavar="NAME", help="only this subset of GT, such as test (default: all)")
    tad.add_argument("--classes", action="store_true", help="print every class too")
    tad.add_argument("--json", metavar="FILE", help="write the scores as JSON as well")
    tad.set_defaults(command=_tad)


def _thresholds(text: str) -> list[float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if not values or not all(0 < value <= 1 for value in values):
        raise UsageError("--tiou is not a list of overlaps", got=text, expected="such as 0.3,0.5,0.7")
    return values


def _tad(arguments: argparse.Namespace) -> int:
    from posepipe.evaluation.localisation import activitynet_score
    from posepipe.evaluation.localisation_files import read_predictions, read_truth, same_names
    from posepipe.evaluation.localisation_thumos import thumos_score
    from posepipe.report import table

    thresholds = _thresholds(arguments.tiou)
    truth, found = read_truth(arguments.truth, arguments.subset), read_predictions(arguments.results)
    truth = same_names(truth, found)
    _warn("labels", set(found.label) - set(truth.label))
    if not set(truth.video) & set(found.video):
        raise UsageError(
            "GT and RESULTS have no video in common",
            got=f"{', '.join(sorted(set(found.video))[:3]) or 'no predictions'}",
            expected=f"such as {', '.join(sorted(set(truth.video))[:3])}",
        )
    silent = set(truth.video) - set(found.video)
    if silent:
        what = f"nothing was found in {len(silent)} of {len(set(truth.video))} videos, whose actions count as missed"
        hint = "" if arguments.subset else " (if RESULTS is of one part of GT, name it with --subset)"
        warn(f"{what}{hint}")
    score = (activitynet_score if arguments.rules == "activitynet" else thumos_score)(truth, found, thresholds)
    print(f"rules: {arguments.rules}; {len(set(truth.video))} videos, {len(score.precision)} classes")
    rows = [(name, _cells((*values, sum(values) / len(values)))) for name, values in score.precision.items()]
    rows = [*(rows if arguments.classes else ()), ("mAP", _cells((*score.mean, score.average)))]
    print(table(("tIoU", *(f"{t:g}" for t in thresholds), "average"), [(name, *cells) for name, cells in rows]))
    if arguments.json:
        _write(arguments.json, arguments.rules, score)
    return 0


def _cells(values: tuple[float, ...]) -> list[str]:
    return [f"{100 * value:.2f}" for value in values]


def _warn(what: str, names: set[str]) -> None:
    if names:
        some = ", ".join(sorted(names)[:5]) + (" ..." if len(names) > 5 else "")
        warn(f"{what} that the ground truth lacks, so not scored: {some}")


def _write(path: str, rules: str, score: LocalisationScore) -> None:
    from pathlib import Path

    from posepipe.report import write_json

    about = {"schema": "posepipe.eval.tad", "version": 1, "rules": rules, "tiou": list(score.thresholds)}
    figures = {"mAP": list(score.mean), "average": score.average}
    classes = {name: list(values) for name, values in score.precision.items()}
    write_json(Path(path), {**about, **figures, "classes": classes})
