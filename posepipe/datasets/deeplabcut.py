"""Tables of DeepLabCut: labelled frames (``CollectedData_*.csv``) and analysed videos (``*DLC*.csv``), in and out."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from posepipe.datasets.labels import KeypointSet, concatenate
from posepipe.datasets.places import numbered_frames, places, plain_videos, refuse_others
from posepipe.datasets.rows import Rows, label_errors
from posepipe.errors import InputError, UsageError
from posepipe.io.atomic import atomic_path, output_errors
from posepipe.skeleton import named_skeleton

__all__ = ["read_deeplabcut", "write_deeplabcut"]

_HEADER = ("scorer", "individuals", "bodyparts", "coords")
# How the names of DeepLabCut's networks begin, which it writes behind the name of the video (clip1DLC_resnet50_...csv).
_NETWORK = "DLC_"


def read_deeplabcut(path: Path) -> KeypointSet:
    """Read a table, or every table of a folder, with the joints' own names; empty and NaN cells are not labelled.

    Analysed videos have a likelihood, which becomes the confidence; tables labelled by people have none (confidence 1).
    Tables of several individuals give each of them a track id, in order of the columns. The video of an analysed table
    is the part of its file's name before the scorer (``DLC_...``), or all of it. Two tables of one video, such as a
    filtered one beside the first, are refused.

    Raises
    ------
    InputError
        There is no such table, or it cannot be read.
    """
    files = [path] if path.is_file() else sorted(path.glob("**/*.[cC][sS][vV]"))
    sets = []
    for file in files:
        with label_errors(file, "a table of DeepLabCut", "rows scorer, bodyparts and coords, then one row a frame"):
            sets.append(_read_file(file))
    if not sets:
        raise InputError(f"{path} holds no tables of DeepLabCut", expected="CSV files")
    with label_errors(path, "a set of DeepLabCut", "tables of the same joints, each image once"):
        return concatenate(sets, path.stem)


def _read_file(path: Path) -> KeypointSet:
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = [line for line in csv.reader(file) if line]
    header = {line[0]: line for line in lines[: len(_HEADER)] if line[0] in _HEADER}
    parts, coords = header["bodyparts"], header["coords"]
    # Newer tables of labelled frames name a frame in three columns: labeled-data, video, image.
    start = next(i for i, word in enumerate(parts) if word and word not in _HEADER)
    columns = range(start, len(parts))
    people = header.get("individuals", [""] * len(parts))
    individuals = list(dict.fromkeys(people[i] for i in columns))
    joints = list(dict.fromkeys(parts[i] for i in columns))
    place = {name: k for k, name in enumerate(joints)}
    field = {"x": 0, "y": 1, "likelihood": 2}
    cells = [(i, individuals.index(people[i]), place[parts[i]], field[coords[i]]) for i in columns]
    video = _video(path, header.get("scorer", parts)[start])
    rows = Rows(len(joints))
    for line in lines[len(header) :]:
        values = np.full((len(individuals), len(joints), 3), np.nan)
        values[..., 2] = np.nan if "likelihood" in coords else 1
        for i, person, joint, axis in cells:
            values[person, joint, axis] = float(line[i]) if line[i].strip() else math.nan
        _add(rows, line[:start], video, values, several=len(individuals) > 1)
    return rows.build(path.stem, named_skeleton("deeplabcut", tuple(joints)))


def _video(path: Path, scorer: str) -> str:
    cut = scorer if scorer.startswith(_NETWORK) and scorer in path.stem else _NETWORK
    return path.stem.rpartition(cut)[0] or path.stem


def _add(rows: Rows, index: Sequence[str], analysed: str, values: NDArray[np.float64], *, several: bool) -> None:
    if len(index) == 1 and index[0].strip().isdigit():
        frame = int(index[0])
        image = rows.image(f"{analysed}/{frame:06d}.jpg", video=analysed, frame=frame)
    else:
        words = "/".join(index).replace("\\", "/").split("/")
        video = words[-2] if len(words) > 1 else ""
        digits = re.findall(r"\d+", Path(words[-1]).stem)
        image = rows.image("/".join(words[-2:]), video=video, frame=int(digits[-1]) if video and digits else -1)
    for person, joints in enumerate(values):
        if (np.isfinite(joints).all(1) & (joints[:, 2] > 0)).any():
            rows.person(image, joints, track=person if several else -1)


def write_deeplabcut(people: KeypointSet, path: Path) -> None:
    """Write the frames of one video as an analysed table, with an individual for each track id where there are several.

    Parameters
    ----------
    people
        The set.
    path
        The table (``.csv``), which is read as the video that its name says; or a folder, in which it is called like the
        video.

    Raises
    ------
    UsageError
        The set is not one video, has frames without a number of their own, or a frame holds several people without
        track ids.
    OutputError
        The table cannot be written, or the folder holds others.
    """
    path = Path(path)
    if len(people.video_names()) != 1 or "" in people.videos:
        names = len(people.video_names())
        raise UsageError(f"a table of DeepLabCut holds one video, {people.name} has {names}", hint="Write it as COCO")
    numbered_frames(people)
    slots, count = _slots(people)
    several = count > 1
    joints = people.skeleton.keypoints
    cells = [(f"individual{p + 1}", joint, axis) for p in range(count) for joint in joints for axis in _AXES]
    table = np.full((len(people.images), count, len(joints), 3), np.nan)
    for i, slot in enumerate(slots):
        labelled = people.visibility[i] > 0
        table[people.image[i], slot, labelled, :2] = people.xy[i, labelled]
        table[people.image[i], slot, labelled, 2] = people.score[i, labelled]
    file = path if path.suffix.lower() == ".csv" else _table_in(people, path)
    with atomic_path(file) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as stream:
        out = csv.writer(stream, lineterminator="\n")
        out.writerow(["scorer", *("posepipe" for _ in cells)])
        if several:
            out.writerow(["individuals", *(cell[0] for cell in cells)])
        out.writerow(["bodyparts", *(cell[1] for cell in cells)])
        out.writerow(["coords", *(cell[2] for cell in cells)])
        for row in np.argsort(people.frames, kind="stable").tolist():
            values = ("" if math.isnan(v) else f"{v:.4f}" for v in table[row].ravel().tolist())
            out.writerow([int(people.frames[row]), *values])


_AXES = ("x", "y", "likelihood")


def _table_in(people: KeypointSet, folder: Path) -> Path:
    plain_videos(people)
    video = people.video_names()[0]
    files = places(folder, [(video, Path(f"{video}.csv"))], people.name)
    refuse_others(folder, folder.glob("**/*.[cC][sS][vV]"), files)
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return files[0]


def _slots(people: KeypointSet) -> tuple[list[int], int]:
    """The individual that each person is, and how many there are: one where nobody has an id, else one for each id."""
    if len(set(people.image.tolist())) == len(people) and (people.track_id < 0).all():
        return [0] * len(people), 1
    names, slots = np.unique(people.track_id, return_inverse=True)
    pairs = set(zip(people.image.tolist(), slots.tolist(), strict=True))
    if (people.track_id < 0).any() or len(pairs) < len(people):
        what = f"individuals of DeepLabCut are identities, and people of {people.name} have no track id of their own"
        raise UsageError(what, hint="Track them, or write the set as COCO")
    return slots.tolist(), len(names)
