"""``posepipe data``: is a set of labels sound, what does it hold, in another format, in parts."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posepipe.cli.audit import add_audit
from posepipe.cli.labels import add_command, load_labels, near_videos, read_labels
from posepipe.cli.parser import Commands, number, say

if TYPE_CHECKING:
    from posepipe.datasets.labels import KeypointSet

__all__ = ["add"]

FORMS = ("coco", "alphapose", "openpose", "mmpose", "dlc", "yolo")
# Findings spoil a training, or a split leaks: the command did what it should, and the answer is no.
UNSOUND = 4


def add(commands: Commands) -> None:
    """Put the commands on the command line."""
    data = commands.add_parser("data", help="check, describe, convert and split labelled sets", allow_abbrev=False)
    kinds = data.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for group in (_add_check, _add_stats, _add_convert, _add_split, _add_frames, add_audit):
        group(kinds)


def _add_check(kinds: Commands) -> None:
    check = add_command(kinds, "check", "is this set sound, before any training; exit code 4 where it is not")
    count = number(int, 0, 10**9)
    text = "decode at most N pictures, evenly spread, and of videos the first one (default: all)"
    check.add_argument("--pictures", type=count, metavar="N", help=text)
    check.add_argument("--json", metavar="FILE", type=Path, help="write the report as JSON too")
    check.set_defaults(command=_check)


def _add_stats(kinds: Commands) -> None:
    stats = add_command(kinds, "stats", "occluded and missing joints, people a picture, sizes, videos")
    stats.add_argument("--plot", metavar="FILE", type=Path, help="draw the joints' shares into a PNG file")
    stats.add_argument("--json", metavar="FILE", type=Path, help="write the figures as JSON too")
    stats.set_defaults(command=_stats)


def _add_convert(kinds: Commands) -> None:
    convert = add_command(kinds, "convert", "write a set in another format")
    convert.add_argument("out", metavar="OUT", type=Path, help="file or folder to write")
    convert.add_argument("--from", dest="source", choices=FORMS, help="format of PATH (default: recognised)")
    convert.add_argument("--to", dest="target", choices=FORMS, required=True, help="format of OUT")
    share = number(float, 0, 1)
    text = "confidence below which a joint is not labelled (default 0)"
    convert.add_argument("--threshold", type=share, default=0.0, metavar="X", help=text)
    text = "threshold of one joint, e.g. left_ankle=0.5; may be given often"
    convert.add_argument("--joint-threshold", action="append", default=[], metavar="JOINT=X", help=text)
    text = "keep the set's own joints, or map them to COCO's by name (default)"
    convert.add_argument("--skeleton", choices=("coco17", "keep"), default="coco17", help=text)
    convert.add_argument("--split", metavar="FILE", type=Path, help="write the parts of a split file (--to yolo)")
    convert.add_argument("--report", metavar="FILE", type=Path, help="write what thresholds drop as JSON")
    text = "replace the file OUT, or the files of this set in the folder OUT, which must not hold those of another"
    convert.add_argument("--overwrite", action="store_true", help=text)
    convert.add_argument("--quiet", action="store_true", help="print errors only")
    convert.set_defaults(command=_convert)


def _add_split(kinds: Commands) -> None:
    split = add_command(kinds, "split", "draw training, validation and test parts, or check those of a split file")
    split.add_argument("-o", "--out", metavar="FILE", type=Path, help="split file to write")
    split.add_argument("--check", metavar="SPLIT", type=Path, help="look for leaks in a split file; exit code 4 if any")
    text = "what stays together (default video; a still picture is a video of its own)"
    split.add_argument("--by", choices=("video", "subject", "image"), default="video", help=text)
    split.add_argument("--seed", type=number(int, 0, 2**63), default=0, metavar="N", help="of the shuffle (default 0)")
    share = number(float, 0, 1)
    split.add_argument("--val", type=share, default=0.1, metavar="X", help="share of validation (default 0.1)")
    split.add_argument("--test", type=share, default=0.0, metavar="X", help="share of test (default 0)")
    text = "the group of this regular expression in a video's name is its subject"
    split.add_argument("--subject-pattern", default="", metavar="REGEX", help=text)
    text = "videos whose names have the same group of this expression go into one part"
    split.add_argument("--together", default="", metavar="REGEX", help=text)
    split.add_argument("--no-frames", action="store_true", help="do not look for near-duplicate frames")
    split.add_argument("--overwrite", action="store_true", help="replace the split file where it exists")
    split.set_defaults(command=_split)


def _add_frames(kinds: Commands) -> None:
    frames = add_command(kinds, "frames", "write the labelled frames of a set's videos as pictures, for training")
    frames.add_argument("-o", "--out", required=True, metavar="DIR", type=Path, help="folder for VIDEO/000123.jpg")
    frames.add_argument("--videos", metavar="DIR", type=Path, help="folder of the videos (default: --images, or PATH)")
    count = number(int, 1, 10**9)
    frames.add_argument(
        "--every", type=count, default=1, metavar="N", help="take frames whose number N divides (default 1: all)"
    )
    frames.add_argument("--overwrite", action="store_true", help="replace labels.json in the folder where it exists")
    frames.set_defaults(command=_frames)


def _write_json(path: Path | None, content: dict[str, Any]) -> None:
    from posepipe.report import write_json

    if path is not None:
        write_json(path, content)


def _refuse_to_replace(path: Path, overwrite: bool) -> None:
    from posepipe.errors import OutputError

    if path.exists() and not overwrite:
        raise OutputError(f"{path} already exists", hint="--overwrite replaces it, or name another one")


def _check(arguments: argparse.Namespace) -> int:
    from posepipe.datasets.checks import check_set

    people, found = load_labels(arguments)
    report = check_set(people, found, pictures=arguments.pictures, videos=near_videos(arguments, people))
    _write_json(arguments.json, report.as_dict())
    print(report.table())
    return 0 if report.sound else UNSOUND


def _stats(arguments: argparse.Namespace) -> int:
    from posepipe.datasets.stats import plot_joints, set_stats, table_stats
    from posepipe.datasets.visibility import read_visibility

    if arguments.path.suffix.lower() == ".npz":
        stats = table_stats(read_visibility(arguments.path), arguments.path.stem)
    else:
        stats = set_stats(read_labels(arguments))
    if arguments.plot is not None:
        plot_joints(stats.joints, arguments.plot)
    _write_json(arguments.json, stats.as_dict())
    print(stats.table())
    return 0


def _thresholds(arguments: argparse.Namespace, people: KeypointSet) -> dict[str, float]:
    from posepipe.errors import UsageError

    levels = dict.fromkeys(people.skeleton.keypoints, float(arguments.threshold))
    for given in arguments.joint_threshold:
        joint, _, value = given.partition("=")
        try:
            levels[joint] = float(value)
        except ValueError:
            raise UsageError(f"--joint-threshold {given}", expected="JOINT=X, X from 0 to 1") from None
    return levels


def _convert(arguments: argparse.Namespace) -> int:
    from posepipe.datasets.coco import refuse_guesses
    from posepipe.datasets.formats import Form, write_set
    from posepipe.datasets.skeletons import map_skeleton
    from posepipe.datasets.thresholds import threshold_labels

    tell = say(arguments.quiet)
    _refuse_to_replace(arguments.out, arguments.overwrite)
    form = Form(arguments.source) if arguments.source else None
    people, found = load_labels(arguments, form)
    refuse_guesses(arguments.path, found)
    for finding in found.all():
        tell(finding.line())
    if arguments.skeleton == "coco17":
        people, lost, never = map_skeleton(people)
        if lost:
            tell(f"joints that COCO does not have are lost: {', '.join(lost)}")
        if never:
            tell(f"joints of COCO that the set does not have: {', '.join(never)}")
    people, report = threshold_labels(people, _thresholds(arguments, people))
    _write_json(arguments.report, report.as_dict())
    if (people.score[people.visibility > 0] < 1).any():
        tell(report.table())
    _write_parts(arguments, people) if arguments.split else write_set(people, arguments.out, Form(arguments.target))
    tell(f"{arguments.path} -> {arguments.out}: {len(people)} people in {len(people.images)} images")
    return 0


def _write_parts(arguments: argparse.Namespace, people: KeypointSet) -> None:
    from posepipe.datasets.splits import of_part, read_split
    from posepipe.datasets.yolo import write_yolo
    from posepipe.errors import UsageError

    if arguments.target != "yolo":
        raise UsageError("--split is for --to yolo, whose sets hold their parts", hint="Training reads the split file")
    split = read_split(arguments.split)
    write_yolo(people, arguments.out, {part: of_part(people, split, part) for part in split.parts})


def _split(arguments: argparse.Namespace) -> int:
    from posepipe.datasets.leaks import leaks
    from posepipe.datasets.splits import By, make_split, read_split, strangers, write_split
    from posepipe.errors import UsageError

    if (arguments.out is None) == (arguments.check is None):
        raise UsageError("name the split file to write (-o FILE) or the one to look at (--check FILE)")
    if arguments.out is not None:
        _refuse_to_replace(arguments.out, arguments.overwrite)
    people = read_labels(arguments, whole=True)
    if arguments.check is not None:
        split = read_split(arguments.check)
    else:
        wishes = {"subject_pattern": arguments.subject_pattern, "together": arguments.together}
        shares = {"val": arguments.val, "test": arguments.test}
        split = make_split(people, by=By(arguments.by), seed=arguments.seed, **shares, **wishes)
    pictures = None if arguments.no_frames else _pictures(arguments, people)
    found = leaks(people, split, frames=not arguments.no_frames, pictures=pictures)
    for leak in found:
        print(f"leak: {leak.line()}")
    without_part, unknown = strangers(people, split)
    for names, what in ((without_part, "of the set in no part"), (unknown, "of the split not in the set")):
        if names:
            print(f"{len(names)} members {what}: {', '.join(names[:5])}{', ...' if names[5:] else ''}")
    counts = ", ".join(f"{part} {len(members)}" for part, members in split.parts.items())
    if arguments.out is not None:
        write_split(split, arguments.out)
        print(f"{arguments.path} -> {arguments.out}")
    print(f"{split.by.value} split of {people.name}: {counts}; sha256 {split.sha256[:12]}; {len(found)} leaks")
    return UNSOUND if found or without_part or unknown else 0


def _pictures(arguments: argparse.Namespace, people: KeypointSet) -> list[Path] | None:
    """The files of a set's images, frames of videos taken out as training does; None where nothing is at hand."""
    from posepipe.datasets.frames import frames_cache, video_frames
    from posepipe.review import with_frames

    videos = near_videos(arguments, people)
    if videos:
        wanted = video_frames(people)
        print(
            f"comparing {int(wanted.sum())} frames of {len(people.video_names())} videos (--no-frames passes them by)"
        )
        people, lost = with_frames(people, wanted, videos, frames_cache(arguments.path))
        for line in lost:
            print(line)
    if people.root is None:
        print("neither pictures nor videos are at hand: near-duplicate frames were not looked for")
        return None
    files = [people.root / name for name in people.images]
    absent = sum(not file.is_file() for file in files)
    if absent:
        print(f"{absent} of {len(files)} pictures are not there, and were not compared")
    return files


def _frames(arguments: argparse.Namespace) -> int:
    from posepipe.datasets.coco import write_coco
    from posepipe.datasets.frames import extract_frames, video_frames, videos_of_set

    labels = arguments.out / "labels.json"
    _refuse_to_replace(labels, arguments.overwrite)
    people = read_labels(arguments, whole=True)
    videos = videos_of_set(arguments.path, arguments.videos or arguments.images)
    taken = extract_frames(people, videos, arguments.out, every=arguments.every)
    write_coco(taken, labels)
    lost = int(video_frames(people, arguments.every).sum()) - len(taken.images)
    if lost:
        print(f"{lost} labelled frames lie beyond the end of their video and were left out")
    print(f"{len(taken.images)} frames of {len(taken.video_names())} videos in {arguments.out}; labels in {labels}")
    return 0
