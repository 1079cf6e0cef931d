"""Every model on every set: a train x test matrix with confidence intervals.

``python eval/cross_eval.py --models NAME=PATH ... --sets NAME=PATH[:SPLIT.json:PART] ... -o OUT`` writes
``matrix.csv``, ``matrix.md`` and ``matrix.png`` into OUT; the same command and seed give the same files.

A model is anything that ``posepipe run --pose`` takes (a name, an ONNX file, a checkpoint), or a labeller: the labels
of another file for the same pictures (a COCO JSON, an AlphaPose result file or a folder of those). A set is anything
that ``posepipe data`` reads; networks need its pictures. Joints are COCO's: those of other sets and labellers are
mapped by their names.

Labels with confidences (AlphaPose) count from ``--label-score`` on, and a model that is measured on them is measured by
its agreement with the labeller, not by being right.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from posepipe.cli.parser import number
from posepipe.config import Config
from posepipe.datasets.formats import read_set
from posepipe.datasets.labels import KeypointSet
from posepipe.datasets.second_opinion import same_images
from posepipe.datasets.skeletons import map_skeleton
from posepipe.datasets.splits import read_split
from posepipe.errors import InputError, PosepipeError, UsageError
from posepipe.evaluation.cross import METRICS, Figure, Guess, Truth, compare
from posepipe.evaluation.cross_tables import Cell, draw_matrix, markdown, write_csv
from posepipe.io.atomic import atomic_path
from posepipe.io.pictures import read_picture
from posepipe.skeleton import COCO17
from posepipe.stages import Detector, PoseEstimator
from posepipe.stages.build import build_detector, build_pose
from posepipe.types import Detections, Frame, Poses

# Of a labeller on pictures that it does not label.
_NOTHING = Figure(math.nan, math.nan, math.nan, 0)
_LABEL_SUFFIXES = (".json", ".csv", ".yaml", ".yml")


@dataclass(frozen=True)
class TestSet:
    """The part of a labelled set that is measured, in the form of the figures and as it was read, and a remark."""

    truth: Truth
    labels: KeypointSet
    remark: str


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", required=True, metavar="NAME=PATH")
    parser.add_argument("--sets", nargs="+", required=True, metavar="NAME=PATH[:SPLIT.json:PART]")
    parser.add_argument("--boxes", nargs="+", default=["gt"], help="gt (of the labels), detected, or --detector names")
    parser.add_argument("--flip", action="store_true", help="flip test: average with the mirror image's maps")
    parser.add_argument("--by", choices=("state", "video"), help="tables by state (states.csv beside a set) or video")
    count = number(int, 0, 10**9)
    parser.add_argument("--bootstrap", type=count, default=1000, metavar="N", help="draws of videos (pictures)")
    parser.add_argument("--seed", type=count, default=1, help="of the draws")
    text = "least confidence of a label that counts"
    parser.add_argument("--label-score", type=number(float, 0, 1), default=0.3, help=text)
    parser.add_argument("--seen-only", nargs="*", default=[], metavar="SET", help="sets of which only v = 2 counts")
    parser.add_argument("--most", type=count, default=0, metavar="N", help="at most N pictures a set, evenly spaced")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=count, default=0)
    parser.add_argument("-o", "--out", type=Path, required=True)
    return parser.parse_args(arguments)


def named(text: str) -> tuple[str, str]:
    """NAME=PATH; raises `UsageError`."""
    name, _, path = text.partition("=")
    if not name or not path:
        raise UsageError("a model or set has the form NAME=PATH", got=repr(text))
    return name, path


def all_named(texts: Sequence[str]) -> list[tuple[str, str]]:
    """NAME=PATH of each; raises `UsageError` for a name that is given twice."""
    pairs = [named(text) for text in texts]
    names = [name for name, _ in pairs]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UsageError(f"the name {twice[0]!r} is given twice", hint="Every model, and every set, needs its own")
    return pairs


def coco_joints(labels: KeypointSet) -> tuple[KeypointSet, str]:
    """The labels with COCO's joints, and a remark on those that are lost or lacking."""
    mapped, lost, never = map_skeleton(labels)
    remark = f"; {len(lost)} joints that COCO does not have are left out" if lost else ""
    return mapped, remark + (f"; it has no {', '.join(never)}" if never else "")


def chosen_pictures(labels: KeypointSet, members: tuple[str, ...] | None, most: int) -> NDArray[np.int64]:
    """Rows of the pictures that are of `members` (videos or pictures; None = all), at most `most` (0 = all)."""
    wanted = None if members is None else set(members)
    pairs = zip(labels.images, labels.videos, strict=True)
    rows = [i for i, (image, video) in enumerate(pairs) if wanted is None or image in wanted or video in wanted]
    if most and len(rows) > most:
        rows = [rows[i] for i in np.linspace(0, len(rows) - 1, most).round().astype(int)]
    return np.array(rows, np.int64)


def open_set(text: str, options: argparse.Namespace) -> TestSet:
    """Read a set and keep the part that is measured."""
    name, path = named(text)
    pieces, members = path.rsplit(":", 2), None
    if len(pieces) == 3 and pieces[1].endswith(".json"):
        path, parts = pieces[0], read_split(Path(pieces[1])).parts
        if pieces[2] not in parts:
            raise UsageError(f"{pieces[1]} has no part {pieces[2]!r}", expected=f"one of {', '.join(parts)}")
        members = parts[pieces[2]]
    labels, joints = coco_joints(read_set(Path(path)))
    pictures = chosen_pictures(labels, members, options.most)
    if not len(pictures):
        raise InputError(f"set {name}: no picture is left to measure", hint="Check the part of the split.")
    labels = labels.of_images(pictures)
    labelled = (labels.visibility >= (2 if name in options.seen_only else 1)) & (labels.score >= options.label_score)
    given = labels.visibility > 0
    if not (labelled.any(1) & ~labels.iscrowd).any():
        hint = "Check its labels, --label-score and --seen-only"
        raise InputError(f"set {name}: no labelled joint is left to measure", hint=hint)
    groups = [video or image for video, image in zip(labels.videos, labels.images, strict=True)]
    truth = Truth(
        name=name,
        group=np.unique(groups, return_inverse=True)[1].astype(np.int64),
        image=labels.image,
        boxes=labels.boxes,
        xy=labels.xy,
        labelled=labelled,
        area=labels.area,
        iscrowd=labels.iscrowd,
        part=parts_of(labels, Path(path), options.by),
        skeleton=labels.skeleton,
    )
    by_labeller = bool((labels.score[given] != 1).any())
    dropped = 100 * (1 - labelled.sum() / max(1, given.sum()))
    who = "a labeller (figures are agreement with it)" if by_labeller else "people"
    remark = f"{len(pictures)} pictures, {len(labels)} people; labels by {who}; {dropped:.1f} % of the joints left out"
    remark += joints
    return TestSet(truth, labels, remark)


def parts_of(labels: KeypointSet, path: Path, by: str | None) -> NDArray[np.str_]:
    """(P,) the video, or the state by PATH/states.csv (found by picture and box), of each person; "" where unknown."""
    if by == "video":
        return np.array([labels.videos[i] for i in labels.image], np.str_)
    table = path / "states.csv" if path.is_dir() else path.with_name("states.csv")
    if by is None or not table.is_file():
        return np.full(len(labels), "", np.str_)
    with table.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    states = {(r["video"], r["image_id"], *_corner(float(r["x"]), float(r["y"]))): r["state"] for r in rows}
    people = zip(labels.image, labels.boxes, strict=True)
    keys = [(labels.videos[i], Path(labels.images[i]).name, *_corner(box[0], box[1])) for i, box in people]
    return np.array([states.get(key, "") for key in keys], np.str_)


def tell_stateless(tests: Sequence[TestSet]) -> None:
    """Say which sets have no states; raises `UsageError` where that is all of them."""
    without = [test.truth.name for test in tests if not (test.truth.part != "").any()]
    if len(without) == len(tests):
        hint = "It has the columns video, image_id, x, y and state, x and y of the labels' boxes"
        raise UsageError(f"--by state, and no states.csv tells states of {', '.join(without)}", hint=hint)
    for name in without:
        print(f"{name} has no states: no table by state", file=sys.stderr)


def _corner(x: float, y: float) -> tuple[int, int]:
    """Whole px: boxes come through float32 and other roundings."""
    return round(float(x)), round(float(y))


def open_model(path: str, options: argparse.Namespace) -> PoseEstimator | KeypointSet:
    """A pose estimator, or the labels of a labeller."""
    file = Path(path)
    if file.is_dir() or file.suffix in _LABEL_SUFFIXES:
        labels, remark = coco_joints(read_set(file))
        if remark:
            print(f"labeller {labels.name}{remark}", file=sys.stderr)
        return labels
    network = build_pose(Config(pose=path, flip_test=options.flip, device=options.device, threads=options.threads))
    if network.skeleton.keypoints != COCO17.keypoints:
        raise UsageError(f"{path} does not find COCO's joints", got=network.skeleton.name, expected=COCO17.name)
    return network


def run_models(models: dict[str, PoseEstimator], test: TestSet, detector: Detector | None) -> dict[str, Guess]:
    """All models on all pictures of a set, each read and searched once; without a detector, by the labels' boxes."""
    if not models:
        return {}  # labellers need no pictures
    truth = test.truth
    wanted = truth.labelled.any(1) & ~truth.iscrowd
    parts: dict[str, list[Poses]] = {name: [] for name in models}
    image, person = [], []
    for index in range(len(test.labels.images)):
        people = np.flatnonzero((truth.image == index) & wanted)
        if detector is None and not len(people):
            continue
        file = test.labels.path(index)
        if file is None:
            raise InputError(f"set {truth.name}: its pictures are not at hand", hint="Put them beside the labels.")
        frame = Frame(index, 0.0, read_picture(file, Config.max_pixels))
        found = detector.detect(frame) if detector else _given(test.labels, people)
        image += [index] * len(found)
        person += people.tolist()
        for name, model in models.items():
            parts[name] += model.estimate([frame], [found])
    rows = None if detector else np.array(person, np.int64)
    return {name: _joined(poses, np.array(image, np.int64), rows) for name, poses in parts.items()}


def _joined(poses: list[Poses], image: NDArray[np.int64], person: NDArray[np.int64] | None) -> Guess:
    """One guess of all pictures' poses."""
    boxes, box_score, xy, score = (
        np.concatenate([getattr(p, key) for p in poses]) for key in ("boxes", "box_score", "xy", "score")
    )
    return Guess(image, boxes, box_score, xy, score, person)


def _given(labels: KeypointSet, people: NDArray[np.int64]) -> Detections:
    return Detections(labels.boxes[people], np.ones(len(people), np.float32))


def labeller_guess(labels: KeypointSet, test: TestSet) -> Guess | None:
    """What a labeller says of a set's pictures, paired by boxes; None where it knows none of them."""
    there = same_images(labels, test.labels)
    if not (there >= 0).any():
        return None
    image = there[labels.image]
    rows = np.flatnonzero(image >= 0)
    score = np.where(labels.visibility[rows] > 0, labels.score[rows], 0)
    return Guess(image[rows], labels.boxes[rows], np.ones(len(rows)), labels.xy[rows], score)


def evaluate(options: argparse.Namespace) -> list[Cell]:
    """Run everything and write OUT; returns the figures."""
    paths, sets = dict(all_named(options.models)), dict(all_named(options.sets))
    strange = [name for name in options.seen_only if name not in sets]
    if strange:
        raise UsageError(f"--seen-only names no set: {strange[0]!r}", expected=f"some of {', '.join(sets)}")
    options.out.mkdir(parents=True, exist_ok=True)
    models = {name: open_model(path, options) for name, path in paths.items()}
    networks = {name: m for name, m in models.items() if not isinstance(m, KeypointSet)}
    tests = [open_set(text, options) for text in options.sets]
    if options.by == "state":
        tell_stateless(tests)
    cells: list[Cell] = []
    for boxes in options.boxes:
        known = {"gt": None, "detected": Config.detector}.get(boxes, boxes)
        detector = (
            build_detector(Config(detector=known, device=options.device, threads=options.threads)) if known else None
        )
        for test in tests:
            guesses = run_models(networks, test, detector)
            for name, model in models.items():
                guess = labeller_guess(model, test) if isinstance(model, KeypointSet) else guesses[name]
                if guess is None:
                    print(f"{name} labels none of the pictures of {test.truth.name}", file=sys.stderr)
                    cells += [Cell(name, test.truth.name, boxes, "", metric, _NOTHING) for metric in METRICS]
                    continue
                tables = compare(test.truth, guess, draws=options.bootstrap, seed=options.seed)
                cells += [
                    Cell(name, test.truth.name, boxes, part, metric, figure)
                    for part, table in tables.items()
                    for metric, figure in table.items()
                ]
            print(f"{test.truth.name}, boxes {boxes}: done", file=sys.stderr, flush=True)
    if all(cell.figure is _NOTHING for cell in cells):
        raise UsageError(
            "no labeller is of any of the sets' pictures", hint="Name labels of the same videos or pictures"
        )
    write_csv(cells, options.out / "matrix.csv")
    draw_matrix(cells, options.out / "matrix.png")
    with atomic_path(options.out / "matrix.md") as unfinished:
        unfinished.write_text(report(options, tests, cells), "utf-8")
    return cells


def report(options: argparse.Namespace, tests: Sequence[TestSet], cells: Sequence[Cell]) -> str:
    """matrix.md: what was measured, and the tables."""
    lines = [
        "# Cross-evaluation",
        "",
        f"Percent, with 95 % intervals from {options.bootstrap} bootstrap draws of videos (pictures where a set has no",
        f"videos; none of a single one), seed {options.seed}. Labels count from a confidence of {options.label_score}.",
        f"Mirror images: {'averaged' if options.flip else 'not used'}.",
        "",
        *(f"- **{test.truth.name}**: {test.remark}." for test in tests),
        "",
    ]
    return "\n".join(lines) + "\n" + markdown(cells)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parse_arguments(arguments)
    try:
        cells = evaluate(options)
    except PosepipeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(markdown([cell for cell in cells if not cell.part]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
