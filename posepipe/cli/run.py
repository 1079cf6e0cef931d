"""``posepipe run`` and ``posepipe render``."""

from __future__ import annotations

import argparse
from pathlib import Path

from posepipe.cli.actions import add_no_actions
from posepipe.cli.parser import Commands, add_settings, fail, number, say, settings, warn, warn_of_end
from posepipe.cli.streams import add_wishes, wanted

__all__ = ["add"]

_EXIT_CODES = """\
exit codes: 0 done, 1 a stage failed, 2 a flag or setting is wrong, 3 an input cannot be read, 4 an input is damaged or
cut short (what was decoded is written and valid), 5 weights, 6 output, 130 and 143 stopped by a signal; of several
inputs, the highest"""


def add(commands: Commands) -> None:
    """Put the commands on the command line."""
    run = commands.add_parser(
        "run",
        help="find, pose and track the people in videos",
        description="Find, pose and track the people in videos; OUT/<name>/ holds the results of each.",
        epilog=_EXIT_CODES,
        allow_abbrev=False,
    )
    what = "video, folder or pattern of videos or pictures, webcam index, or URL of a stream"
    run.add_argument("inputs", nargs="+", metavar="INPUT", help=what)
    run.add_argument("-o", "--out", required=True, metavar="OUT", help="folder for the results")
    run.add_argument("--no-video", action="store_true", help="write no overlay.mp4")
    run.add_argument(
        "--resume",
        action="store_true",
        help="continue the input that broke off; skip finished ones but for what they lack",
    )
    run.add_argument("--overwrite", action="store_true", help="replace results that OUT holds already")
    second = "go over the tracks once more at the end (posepipe refine); the overlay is drawn after that"
    run.add_argument("--track-refine", action="store_true", help=second)
    count = number(int, 1, 10**12)
    run.add_argument("--limit-frames", type=count, metavar="N", help="stop after N frames of each input")
    run.add_argument("--quiet", action="store_true", help="print errors only")
    add_wishes(run)
    add_settings(run)
    add_no_actions(run, "the same as --actions none")
    run.set_defaults(command=_run)

    render = commands.add_parser("render", help="draw the overlay again from records", allow_abbrev=False)
    render.add_argument("records", metavar="RECORDS", help="records.jsonl of a run")
    render.add_argument("video", metavar="VIDEO", help="the video that they were made from")
    render.add_argument("-o", "--out", required=True, metavar="OUT.mp4", help="the video to write")
    score = number(float, 0, 1)
    render.add_argument("--keypoint-score", type=score, default=0.3, metavar="X", help="least score that is drawn")
    render.add_argument("--overwrite", action="store_true", help="replace OUT.mp4 where it exists")
    render.add_argument("--quiet", action="store_true", help="print errors only")
    render.set_defaults(command=_render)


def _run(arguments: argparse.Namespace) -> int:
    from posepipe.pipeline import Pipeline
    from posepipe.report import Outcome, closing_table, engines, weights_terms
    from posepipe.run.batch import run_batch
    from posepipe.run.inputs import plan
    from posepipe.run.video import Options

    options = Options(
        out=Path(arguments.out),
        video=not arguments.no_video,
        resume=arguments.resume,
        overwrite=arguments.overwrite,
        limit_frames=arguments.limit_frames,
        quiet=arguments.quiet,
        refine=arguments.track_refine,
        streams=wanted(arguments),
    )
    # Built before any input is touched: wrong weights or a missing package are no matter of one input.
    pipeline = Pipeline(config=settings(arguments))
    pipeline.build()
    stages = pipeline.networks
    tell = say(arguments.quiet)
    for stage, engine in engines(stages).items():
        tell(f"{stage}: {engine}")
    if pipeline.actions is None and pipeline.config.actions == "auto":
        tell("actions: none, the pose network gives other keypoints")
    for stage, terms in weights_terms(stages).items():
        if terms.licence is not None:
            tell(f"{stage}: weights under {terms.licence}; trained on {terms.trained_on or 'what is not said'}")

    def tell_outcome(outcome: Outcome) -> None:
        if outcome.exit_code:
            fail(outcome.line(), outcome.exit_code)
        else:
            tell(outcome.line())

    outcomes = run_batch(plan(arguments.inputs, tell), pipeline, options, tell_outcome)
    if len(outcomes) > 1:
        tell(closing_table(outcomes))
    return max(outcome.exit_code for outcome in outcomes)


def _render(arguments: argparse.Namespace) -> int:
    from posepipe.io.records import read_records
    from posepipe.run.overlay import render_records

    drawn = render_records(
        Path(arguments.records),
        arguments.video,
        Path(arguments.out),
        arguments.keypoint_score,
        overwrite=arguments.overwrite,
        quiet=arguments.quiet,
    )
    warn_of_end(read_records(arguments.records), arguments.quiet)
    if drawn.gap:
        warn(drawn.gap, arguments.quiet)
    say(arguments.quiet)(f"{drawn.frames} frames -> {arguments.out}")
    return 0
