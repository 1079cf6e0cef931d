"""``posepipe eval forgery``: real or manipulated, a score a video, and figures where the truth is known."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posepipe.cli.parser import Commands, number

if TYPE_CHECKING:
    from posepipe.datasets.video_lists import LabelledVideo, VideoList
    from posepipe.evaluation.forgery import ForgeryFigures
    from posepipe.stages.forgery import ClipScores, ForgeryRecogniser

__all__ = ["add"]

_ABOUT = """\
SET is the folder of FaceForensics++, a CSV list (video,label,split; label real or fake), or any number of videos,
folders and patterns of videos, which are scored only. A score is the mean over a video's clips of how likely each is
manipulated. AUC and EER are those of the scores; the interval of the AUC is by draws of whole groups (people), with
ten of them or more; all other figures are by the threshold at which the part val has as
many false alarms as misses, 0.5 where there is no such part."""
_NO_VAL = 0.5


def add(kinds: Commands) -> None:
    """Put the command below ``posepipe eval``."""
    forgery = kinds.add_parser(
        "forgery",
        help="real or manipulated video: AUC, EER, F1, balanced accuracy",
        description="Score videos by a checkpoint of `posepipe train` of kind tsm: real or manipulated.",
        epilog=_ABOUT,
        allow_abbrev=False,
    )
    forgery.add_argument("checkpoint", metavar="CHECKPOINT", help="best.ckpt of a training")
    forgery.add_argument("sets", metavar="SET", nargs="+", help="folder of FaceForensics++, a CSV list, or videos")
    forgery.add_argument(
        "--splits", metavar="DIR", help="FaceForensics++: folder of train.json, val.json and test.json"
    )
    forgery.add_argument(
        "--compression", default="c23", metavar="C", help="FaceForensics++: c0, c23 or c40 (default c23)"
    )
    forgery.add_argument("--partial", action="store_true", help="FaceForensics++: score what is there of it")
    forgery.add_argument("--part", default="test", choices=("train", "val", "test"), help="which part (default test)")
    forgery.add_argument(
        "--clips", type=number(int, 1, 1000), default=10, metavar="N", help="clips a video (default 10)"
    )
    forgery.add_argument("--device", default="auto", metavar="D", help="auto, cpu or cuda")
    forgery.add_argument(
        "--threads", type=number(int, 0, 1024), default=0, metavar="N", help="of torch; 0 = its choice"
    )
    forgery.add_argument("--cache", type=Path, metavar="DIR", help="folder of face crops (default: the user's cache)")
    forgery.add_argument("--csv", metavar="FILE", help="write the score of every video as a table")
    forgery.add_argument("--json", metavar="FILE", help="write the figures as JSON as well")
    forgery.set_defaults(command=_forgery)


def _forgery(arguments: argparse.Namespace) -> int:
    from posepipe.config import cache_root
    from posepipe.errors import MissingExtraError
    from posepipe.report import write_rows

    try:
        from posepipe.stages.forgery import ForgeryRecogniser
    except ImportError as error:
        raise MissingExtraError("posepipe eval forgery", "torch") from error

    listed = _listed(arguments)
    recogniser = ForgeryRecogniser(
        arguments.checkpoint,
        arguments.cache or cache_root() / "faces",
        clips=arguments.clips,
        device=arguments.device,
        threads=arguments.threads,
    )
    if listed is None:
        return _unlabelled(arguments, recogniser)
    parts = dict.fromkeys((arguments.part, "val") if listed["val"] else (arguments.part,))
    scores = {part: _scores([v.path for v in listed[part]], recogniser) for part in parts}
    figures = _figures(listed, scores, arguments.part)
    _show(listed, figures, arguments.part, with_val=bool(listed["val"]))
    rows = [(v, part) for part in parts for v in listed[part]]
    if arguments.csv:
        table = [[str(v.path), part, listed.classes[v.label], *_cells(scores[part][v.path])] for v, part in rows]
        write_rows(arguments.csv, ("video", "split", "label", "score", "clips", "note"), table)
    if arguments.json:
        _write_json(arguments, listed, figures)
    return 0


def _listed(arguments: argparse.Namespace) -> VideoList | None:
    """The labelled set that is named, every file of which is there; None for plain videos."""
    from posepipe.datasets.forgery import both_classes, read_ffpp, read_forgery_list, read_pairs
    from posepipe.errors import InputError, UsageError

    path = Path(arguments.sets[0])
    folder = (path / "original_sequences").is_dir() or (path / "manipulated_sequences").is_dir()
    if not folder and path.suffix.lower() != ".csv":
        return None
    if len(arguments.sets) > 1:
        raise UsageError("one labelled set at a time", got=" ".join(arguments.sets))
    if folder and not arguments.splits:
        raise UsageError(
            "FaceForensics++ needs its splits", hint="Give --splits FOLDER of train.json, val.json, test.json"
        )
    if folder:
        pairs = read_pairs(Path(arguments.splits))
        listed = read_ffpp(path, pairs, compression=arguments.compression, partial=arguments.partial)
    else:
        listed = read_forgery_list(path)
    parts = ("val", arguments.part) if listed["val"] else (arguments.part,)
    both_classes(listed, parts)
    missing = [str(v.path) for part in parts for v in listed[part] if not v.path.is_file()]
    if missing:
        raise InputError(f"{len(missing)} videos are missing", got=f"first {', '.join(missing[:5])}")
    return listed


def _scores(videos: Sequence[Path], recogniser: ForgeryRecogniser) -> dict[Path, ClipScores]:
    """Scores of videos, with a line of progress on standard error for each."""
    found = {}
    for done, video in enumerate(videos, 1):
        found[video] = _score(video, recogniser)
        note = f" ({found[video].fault})" if found[video].fault else ""
        print(f"{done} of {len(videos)}: {video.name} {found[video].video_score:.3f}{note}", file=sys.stderr)
    return found


def _score(video: Path, recogniser: ForgeryRecogniser) -> ClipScores:
    """Scores of a video; what the store of faces warns of stands in their `fault`."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return recogniser.score(video)


def _figures(listed: VideoList, scores: dict[str, dict[Path, ClipScores]], part: str) -> dict[str, ForgeryFigures]:
    """Figures of clips and of videos, each by its own threshold, and of the videos of each method beside all real ones.

    A method is known by its folder, as FaceForensics++ has them.
    """
    from posepipe.evaluation.forgery import equal_error, forgery_figures

    found, threshold = {}, _NO_VAL
    for name, take in (("clips", _of_clips), ("videos", _of_videos)):
        threshold = equal_error(*take(listed["val"], scores["val"])[:2])[1] if "val" in scores else _NO_VAL
        found[name] = forgery_figures(*take(listed[part], scores[part]), threshold)
    real = [v for v in listed[part] if v.label == 0]
    methods: dict[str, list[LabelledVideo]] = {}
    for video in (v for v in listed[part] if v.label == 1 and "manipulated_sequences" in v.path.parts):
        methods.setdefault(video.path.parts[-4], []).append(video)
    if len(methods) > 1:
        for method, videos in methods.items():
            found[method] = forgery_figures(*_of_videos([*real, *videos], scores[part]), threshold)
    return found


def _of_clips(videos: Sequence[LabelledVideo], of: dict[Path, ClipScores]) -> tuple[Any, Any, list[str]]:
    """Scores, labels and groups of clips."""
    import numpy as np

    rows = [(score, v.label, v.group) for v in videos for score in of[v.path].score]
    return np.array([r[0] for r in rows]), np.array([r[1] for r in rows]), [r[2] for r in rows]


def _of_videos(videos: Sequence[LabelledVideo], of: dict[Path, ClipScores]) -> tuple[Any, Any, list[str]]:
    """The same of videos."""
    import numpy as np

    score, label = [of[v.path].video_score for v in videos], [v.label for v in videos]
    return np.array(score), np.array(label), [v.group for v in videos]


def _show(listed: VideoList, figures: dict[str, ForgeryFigures], part: str, *, with_val: bool) -> None:
    from posepipe.report import table

    source = "chosen on val" if with_val else "0.5, as there is no part val"
    print(f"{listed.source}, part {part}; thresholds {source}")
    if part == "val":
        print("These are the data that chose the thresholds: F1 and the like are too good.")
    head = ("", "real", "fake", "AUC", "95 %", "EER", "threshold", "F1", "balanced", "false alarms", "misses")
    rows = []
    for name, f in figures.items():
        v = f.verdicts
        span = "-" if f.auc_interval is None else " to ".join(f"{end:.3f}" for end in f.auc_interval)
        shares = (f.eer, v.threshold, v.f1, v.balanced_accuracy, v.false_alarms, v.misses)
        rows.append((name, str(f.real), str(f.fake), f"{f.auc:.3f}", span, *(f"{share:.3f}" for share in shares)))
    print(table(head, rows))


def _unlabelled(arguments: argparse.Namespace, recogniser: ForgeryRecogniser) -> int:
    """Score plain videos; one that cannot be read does not stop the others."""
    from posepipe.errors import InputError
    from posepipe.report import table, write_rows
    from posepipe.run.inputs import plan

    rows, code = [], 0
    for job in plan(arguments.sets):
        try:
            path = Path(job.source) if isinstance(job.source, str) else None
            if path is None or not path.is_file():
                raise InputError(f"{job.source} is no video file")
            rows.append([str(path), *_cells(_score(path, recogniser))])
        except InputError as error:
            print(f"posepipe: error: {error}", file=sys.stderr)
            code = max(code, error.exit_code)
    if rows:
        print(table(("video", "score", "clips", "note"), rows))
    if arguments.csv:
        write_rows(arguments.csv, ("video", "score", "clips", "note"), rows)
    return code


def _cells(scores: ClipScores) -> tuple[str, str, str]:
    return f"{scores.video_score:.4f}", str(len(scores.score)), scores.fault


def _write_json(arguments: argparse.Namespace, listed: VideoList, figures: dict[str, ForgeryFigures]) -> None:
    from dataclasses import asdict

    from posepipe.report import write_json

    about = {"schema": "posepipe.eval.forgery", "version": 1, "set": listed.source, "part": arguments.part}
    chosen = "val" if listed["val"] else None
    content = {name: asdict(f) for name, f in figures.items()}
    write_json(Path(arguments.json), {**about, "thresholds_from": chosen, "clips_a_video": arguments.clips, **content})
