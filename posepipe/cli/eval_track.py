"""``posepipe eval track``: multi-object tracks against ground truth."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from posepipe.cli.parser import Commands, warn

if TYPE_CHECKING:
    from posepipe.evaluation.mot import MotScore

__all__ = ["add"]

_RULES = ("mot15", "mot16", "mot17", "mot20")
_COMBINED = "COMBINED"
_TRACK = """\
GT is a folder with SEQ/gt/gt.txt or SEQ/gt.txt in it, or one file; RESULTS a folder with SEQ.txt or SEQ/tracks.txt in
it (as `posepipe run` writes them), or one file. COMBINED adds up the counts of all sequences before it divides."""


def add(kinds: Commands) -> None:
    """Put the command below ``posepipe eval``."""
    track = kinds.add_parser(
        "track",
        help="tracks in MOTChallenge files: HOTA, MOTA, IDF1",
        description="Score tracks in MOTChallenge files: HOTA (DetA, AssA), MOTA, IDF1, identity switches.",
        epilog=_TRACK,
        allow_abbrev=False,
    )
    track.add_argument("truth", metavar="GT", help="ground truth: a folder of sequences, or a file")
    track.add_argument("results", metavar="RESULTS", help="results: a folder, or a file")
    told = "whose ground truth rules hold (default: as the ground truth looks)"
    track.add_argument("--rules", choices=_RULES, metavar="RULES", help=f"{', '.join(_RULES)}: {told}")
    what = "file in each sequence's folder of RESULTS (default tracks.txt)"
    track.add_argument("--files", default="tracks.txt", metavar="PATTERN", help=what)
    track.add_argument("--json", metavar="FILE", help="write the scores as JSON as well")
    track.add_argument("--csv", metavar="FILE", help="write the scores as a table as well")
    track.set_defaults(command=_track)


def _track(arguments: argparse.Namespace) -> int:
    from posepipe.evaluation.mot import MotScore, score_sequence
    from posepipe.evaluation.mot_files import guess_benchmark, pair_files, parse_benchmark, read_mot
    from posepipe.report import table

    pairs, missing = pair_files(arguments.truth, arguments.results, arguments.files)
    if missing:
        warn(f"no results, so not scored: {', '.join(missing)}")
    scores: dict[str, MotScore] = {}
    rules: set[str] = set()
    for pair in pairs:
        truth, results = read_mot(pair.truth, identified=True), read_mot(pair.results, identified=True)
        benchmark = parse_benchmark(arguments.rules) if arguments.rules else guess_benchmark(pair.truth, truth)
        scores[pair.name] = score_sequence(truth, results, benchmark)
        rules.add(benchmark)
    shown = scores | ({_COMBINED: sum(scores.values(), MotScore())} if len(scores) > 1 else {})
    figures = {name: _figures(score) for name, score in shown.items()}
    print(f"rules: {', '.join(sorted(rules))}")
    head = ("sequence", *next(iter(figures.values())))
    print(table(head, [(name, *map(_cell, row.values())) for name, row in figures.items()]))
    _write(arguments, head, figures, sorted(rules))
    return 0


def _figures(score: MotScore) -> dict[str, float | int]:
    """What is shown of a score: shares in per cent, counts as they are."""
    shares = {"HOTA": score.hota, "DetA": score.deta, "AssA": score.assa, "MOTA": score.mota, "IDF1": score.idf1}
    counts = {"IDSW": score.switches, "FP": score.fp, "FN": score.fn, "GT": score.truth}
    more = {"Rcll": score.recall, "Prcn": score.precision, "MOTP": score.motp}
    return {name: 100.0 * v for name, v in shares.items()} | counts | {name: 100.0 * v for name, v in more.items()}


def _cell(value: float | int) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _write(
    arguments: argparse.Namespace, head: tuple[str, ...], figures: dict[str, dict[str, float | int]], rules: list[str]
) -> None:
    """The scores as files, where asked for."""
    from pathlib import Path

    from posepipe.report import write_json, write_rows

    if arguments.json:
        sequences = {name: f for name, f in figures.items() if name != _COMBINED}
        combined = figures.get(_COMBINED, next(iter(figures.values())))
        about = {"schema": "posepipe.eval.track", "version": 1, "rules": rules}
        write_json(Path(arguments.json), {**about, "sequences": sequences, "combined": combined})
    if arguments.csv:
        rows = [[name, *(f"{v:.4f}" if isinstance(v, float) else v for v in f.values())] for name, f in figures.items()]
        write_rows(arguments.csv, head, rows)
