"""Lists of labelled videos in parts (train, val, test), and what must be right with them before a training starts.

An own list is a CSV file with the columns ``video,label,split`` and, where some videos belong together, ``group``::

    video,label,split,group
    ward3/0012.mp4,stand up,train,patient 7
    ward3/0044.mp4,sit down,test,patient 9
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from posepipe.datasets.csv_lists import list_rows
from posepipe.errors import InputError

__all__ = ["PARTS", "LabelledVideo", "VideoList", "check_videos", "hold_out", "read_video_list"]

PARTS = ("train", "val", "test")
_NAMED = 10


@dataclass(frozen=True)
class LabelledVideo:
    """One video.

    Attributes
    ----------
    path
        The file.
    label
        Number of its class.
    group
        Videos of one group (a subject, a scene, several cameras) must stand in one part.
    """

    path: Path
    label: int
    group: str


@dataclass(frozen=True)
class VideoList:
    """Videos by part.

    Attributes
    ----------
    source
        What messages call it.
    classes
        Names of the classes, by number.
    parts
        The videos of train, val and test; a part that is not there is empty.
    """

    source: str
    classes: tuple[str, ...]
    parts: Mapping[str, tuple[LabelledVideo, ...]]

    def __getitem__(self, part: str) -> tuple[LabelledVideo, ...]:
        return self.parts.get(part, ())


def read_video_list(path: Path, videos: Path | None = None) -> VideoList:
    """Read an own list.

    Parameters
    ----------
    path
        A CSV file with the columns video, label, split (train, val or test) and, where wanted, group; others are left
        alone. Classes are numbered in the order of their names.
    videos
        Folder where relative paths begin; the list's own where None.

    Raises
    ------
    InputError
        The file cannot be read, lacks a column, or a row lacks a value: the row is named.
    """
    rows = list_rows(path, ("video", "label", "split"))
    for number, row in enumerate(rows, start=2):
        if not row["video"] or not row["label"] or row["split"] not in PARTS:
            got = f"video {row['video']!r}, label {row['label']!r}, split {row['split']!r}"
            raise InputError(f"row {number} of {path} is not whole", got=got, expected="split train, val or test")
    classes = tuple(sorted({row["label"] for row in rows}))
    folder = path.parent if videos is None else videos
    parts: dict[str, list[LabelledVideo]] = defaultdict(list)
    for row in rows:
        group = row.get("group") or row["video"]
        parts[row["split"]].append(LabelledVideo(folder / row["video"], classes.index(row["label"]), group))
    return VideoList(path.name, classes, {part: tuple(listed) for part, listed in parts.items()})


def hold_out(listed: VideoList, share: float, seed: int) -> VideoList:
    """Move whole groups of training videos, of all their classes, into the part val.

    Groups are gone through in an order that the seed draws; one is taken where it brings the classes' shares nearer to
    the one asked for (least squares). A class that is then without a validation video gets the group that serves most
    such classes. The last group of a class always stays.

    Parameters
    ----------
    listed
        A list without a part val; one that has it is given back as it is.
    share
        Of each class's training videos.
    seed
        Of the draw.

    Raises
    ------
    InputError
        Every training video belongs to one group, or every group is the only one of a class: none can be spared.
    """
    train = listed["train"]
    if listed["val"] or share <= 0 or not train:
        return listed
    groups = sorted({v.group for v in train})
    place = {group: row for row, group in enumerate(groups)}
    counts = np.zeros((len(groups), len(listed.classes)))
    np.add.at(counts, ([place[v.group] for v in train], [v.label for v in train]), 1)
    rows = _drawn_groups(counts[:, counts.any(0)], share, np.random.default_rng(seed))
    if not rows:
        raise InputError(
            f"{listed.source}: no group of the training videos can be held out to validate on",
            got="one group" if len(groups) == 1 else f"{len(groups)} groups, each the only one of a class",
            expected="another group of the same classes",
            hint="Give other videos the split val, or hold nothing out (hold_out = 0)",
        )
    stay, val = (tuple(v for v in train if (place[v.group] in rows) is held) for held in (False, True))
    return replace(listed, parts={**listed.parts, "train": stay, "val": val})


def _drawn_groups(counts: NDArray[np.float64], share: float, rng: np.random.Generator) -> set[int]:
    """The groups to hold out, of (groups, classes) counts of videos."""
    shares = counts / counts.sum(0)
    held, rows = np.zeros(counts.shape[1]), set[int]()

    def spared(row: int) -> bool:
        """Whether a video of each of its classes is left without it."""
        return row not in rows and bool((held + shares[row] < 1 - 1e-9)[counts[row] > 0].all())

    def distance(row: int) -> float:
        return float(((held + shares[row] - share) ** 2).sum())

    order = rng.permutation(len(counts)).tolist()
    for row in order:
        if spared(row) and distance(row) < ((held - share) ** 2).sum():
            rows.add(row)
            held += shares[row]
    while True:
        # What a group adds to classes that have nothing yet, and how far it leads from the share.
        wanted = [(-((held == 0) & (counts[row] > 0)).sum(), distance(row), row) for row in order if spared(row)]
        if not wanted:
            return rows
        served, _, row = min(wanted, key=lambda found: found[:2])
        if served == 0:
            return rows
        rows.add(row)
        held += shares[row]


def check_videos(
    listed: VideoList,
    count: Callable[[Path], int],
    *,
    least: int = 1,
    allow_leaks: bool = False,
    threads: int = 1,
) -> tuple[str, ...]:
    """Look at every video of a list before a training starts.

    Parameters
    ----------
    listed
        The list.
    count
        Frames of a video, such as ``FrameStore(...).count``, which also fills the cache; it raises `InputError` for a
        video that cannot be read.
    least
        Frames that a video must have.
    allow_leaks
        Train though a group stands in several parts.
    threads
        Videos that are looked at at once; `count` must bear it.

    Returns
    -------
    Notes for the summary of the training: what leaks, if something does and that is allowed.

    Raises
    ------
    InputError
        Videos are missing, unreadable or too short, a class has no training video, a video has two labels, or a group
        stands in several parts: all such videos and classes are named (the first ten of each kind, with their number).
    """
    _refuse(listed, [problem for problem in (_classes(listed), _missing(listed), _labels(listed)) if problem])
    leaking = _leaking(listed)
    if leaking and not allow_leaks:
        raise InputError(f"{listed.source}: {leaking}", hint="Split by group, or train all the same with --allow-leaks")

    def fault(video: LabelledVideo) -> str:
        try:
            frames = count(video.path)
        except InputError as error:
            return f"{video.path.name} ({error.what})"
        return f"{video.path.name} ({frames} frames, at least {least} are needed)" if frames < least else ""

    with ThreadPoolExecutor(threads) as pool:
        faults = [told for told in pool.map(fault, _all(listed)) if told]
    _refuse(listed, [_named("videos cannot be used", faults)] if faults else [])
    return (f"Figures of test and validation are too good: {leaking}",) if leaking else ()


def _all(listed: VideoList) -> list[LabelledVideo]:
    """Every video once."""
    return list({v.path: v for part in PARTS for v in listed[part]}.values())


def _refuse(listed: VideoList, problems: Sequence[str]) -> None:
    if problems:
        raise InputError(
            f"{listed.source} cannot be trained on: {'; '.join(problems)}", hint="Mend the list, or the videos' folder"
        )


def _named(what: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{len(names)} {what}: {', '.join(names[:_NAMED])}{more}"


def _classes(listed: VideoList) -> str:
    """Classes that are tested and never trained."""
    trained = {v.label for v in listed["train"]}
    if not trained:
        return "it has no training videos"
    seen = {v.label: part for part in ("test", "val") for v in listed[part]}
    only = [f"{listed.classes[label]} ({seen[label]} only)" for label in sorted(seen) if label not in trained]
    return _named("classes have no training video", only) if only else ""


def _missing(listed: VideoList) -> str:
    missing = [str(v.path) for v in _all(listed) if not v.path.exists()]
    return _named("videos are missing", missing) if missing else ""


def _labels(listed: VideoList) -> str:
    """Videos that stand in the list under two classes."""
    labels: dict[Path, set[int]] = defaultdict(set)
    for part in PARTS:
        for video in listed[part]:
            labels[video.path].add(video.label)
    double = [
        f"{path.name} ({', '.join(listed.classes[i] for i in sorted(s))})" for path, s in labels.items() if s - {min(s)}
    ]
    return _named("videos have two labels", double) if double else ""


def _leaking(listed: VideoList) -> str:
    """Groups that stand in several parts."""
    parts: dict[str, set[str]] = defaultdict(set)
    for part in PARTS:
        for video in listed[part]:
            parts[video.group].add(part)
    both = [
        f"{group} ({', '.join(p for p in PARTS if p in found)})" for group, found in parts.items() if len(found) > 1
    ]
    return _named("groups of videos stand in several parts", both) if both else ""
