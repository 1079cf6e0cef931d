"""Pictures with person boxes from every set, brought to one form, and the merging of several detectors' opinions.

COCO-style JSON files carry boxes drawn by people. Boxes found by detectors carry a score: above one threshold they are
taken as people, between two thresholds the detector is told nothing about that spot (``ignore``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posepipe.errors import InputError
from posepipe.geometry import iou
from posepipe.io.npz import UNREADABLE_NPZ

__all__ = [
    "BoxedImage",
    "Opinion",
    "athlete_images",
    "coco_images",
    "judge",
    "merge_opinions",
    "read_opinions",
    "read_teacher",
]

PERSON_ID = 1
SAME_PERSON = 0.6
"""IoU from which two detectors' boxes are one person."""

CERTAIN = 0.4
DOUBTFUL = 0.06
"""Merged scores at which a found box counts as a person, and below which it counts as nothing."""

Boxes = NDArray[np.float32]


@dataclass(frozen=True)
class Opinion:
    """What one detector sees in one picture: boxes (N,4) float32 xyxy px, score (N,) float32 in [0,1]."""

    boxes: Boxes
    score: Boxes


@dataclass(frozen=True)
class BoxedImage:
    """A picture and the people in it.

    Attributes
    ----------
    path
        The picture.
    boxes
        (N,4) float32 xyxy px.
    ignore
        (N,) bool: crowds and doubtful people; cells there are neither person nor background.
    source
        Short name of the set, for figures by set.
    """

    path: Path
    boxes: Boxes
    ignore: NDArray[np.bool_]
    source: str


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the labels {path}: {error}", hint="Is POSEPIPE_DATA right?") from error


def coco_images(
    annotations: Path, images: Path, source: str, sizes: Mapping[str, tuple[int, int]] | None = None
) -> list[BoxedImage]:
    """Read a COCO-style file of person boxes; pictures with nobody are kept, crowds become ``ignore``.

    Parameters
    ----------
    annotations, images
        The JSON file and the folder of its pictures.
    source
        Name of the set.
    sizes
        Real (width, height) by file name, if known: pictures whose size differs from the labels' are left out.

    Raises
    ------
    InputError
        The file is missing or not of that form.
    """
    data = _read_json(annotations)
    try:
        rows: dict[int, list[tuple[list[float], bool]]] = {image["id"]: [] for image in data["images"]}
        for row in data["annotations"]:
            if row.get("category_id", PERSON_ID) == PERSON_ID:
                x, y, width, height = row["bbox"]
                rows[row["image_id"]].append(([x, y, x + width, y + height], bool(row.get("iscrowd", 0))))
        found = []
        for image in data["images"]:
            name = image["file_name"]
            if sizes is not None and sizes.get(name) != (image["width"], image["height"]):
                continue
            boxes = np.array([box for box, _ in rows[image["id"]]], np.float32).reshape(-1, 4)
            crowd = np.array([crowd for _, crowd in rows[image["id"]]], bool)
            found.append(BoxedImage(images / name, boxes, crowd, source))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{annotations} is not a COCO file of person boxes: {error!r}") from error
    return found


def read_teacher(path: Path) -> dict[str, Opinion]:
    """Boxes of a ``teacher.npz`` (``names``, ``image``, ``box``, ``box_score``) by picture name.

    Raises ``InputError`` for a file that is missing or of another form.
    """
    return _read_rows(path, "box_score")


def read_opinions(path: Path) -> dict[str, Opinion]:
    """One detector's stored boxes (``names``, ``image``, ``box``, ``score``) by picture name; see ``read_teacher``."""
    return _read_rows(path, "score")


def _read_rows(path: Path, score: str) -> dict[str, Opinion]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            names, image = stored["names"], stored["image"]
            boxes, scores = stored["box"].astype(np.float32), stored[score].astype(np.float32)
    except UNREADABLE_NPZ as error:
        raise InputError(f"cannot read the boxes {path}: {error}", hint="Is POSEPIPE_DATA right?") from error
    if boxes.shape != (len(image), 4) or scores.shape != image.shape:
        raise InputError(f"{path} is damaged", got=(boxes.shape, scores.shape), expected=f"{len(image)} rows")
    return {str(name): Opinion(boxes[image == i], scores[image == i]) for i, name in enumerate(names)}


def merge_opinions(opinions: Sequence[Opinion], weights: Sequence[float]) -> Opinion:
    """Merge what several detectors (or one on mirrored pictures) see in one picture.

    Boxes are gathered greedily, best score first: a box joins the group whose mean box it overlaps by at least
    ``SAME_PERSON``, at most one box of each opinion a group, or founds a new one (weighted boxes fusion, Solovyev et
    al. 2021). A group's score is the weighted mean over **all** opinions, so who does not see a person votes 0.

    Parameters
    ----------
    opinions
        Boxes in the same picture's pixels.
    weights
        Trust in each opinion.

    Returns
    -------
    Opinion
        Merged boxes, best score first.
    """
    entries = [
        (float(score), source, box.astype(np.float64))
        for source, opinion in enumerate(opinions)
        for box, score in zip(opinion.boxes, opinion.score, strict=True)
    ]
    entries.sort(key=lambda entry: -entry[0])
    means: list[NDArray[np.float64]] = []
    mass: list[float] = []
    members: list[set[int]] = []
    for score, source, box in entries:
        overlap = iou(np.array(means).reshape(-1, 4), box[None])[:, 0] if means else np.zeros(0)
        open_groups = [i for i in np.argsort(-overlap) if overlap[i] >= SAME_PERSON and source not in members[i]]
        weight = max(score, 1e-6) * weights[source]
        if not open_groups:
            means.append(box)
            mass.append(weight)
            members.append({source})
            continue
        best = open_groups[0]
        means[best] = (means[best] * mass[best] + box * weight) / (mass[best] + weight)
        mass[best] += weight
        members[best].add(source)
    total = float(sum(weights))
    score = np.array(mass, np.float32) / np.float32(total)
    order = np.argsort(-score, kind="stable")
    return Opinion(np.array(means, np.float32).reshape(-1, 4)[order], score[order])


def judge(path: Path, opinion: Opinion, source: str) -> BoxedImage:
    """A picture labelled by a merged opinion: people from ``CERTAIN`` up, ``ignore`` from ``DOUBTFUL`` up."""
    kept = opinion.score >= DOUBTFUL
    return BoxedImage(path, opinion.boxes[kept], opinion.score[kept] < CERTAIN, source)


def athlete_images(annotations: Path, images: Path, seen: Mapping[str, Opinion], source: str) -> list[BoxedImage]:
    """Pictures of one labelled athlete each (COCO keypoints), and of whoever else a detector saw.

    The athlete is always a person: the detector's box where one fits the labelled joints' box (it spans the body, not
    only the joints), else the joints' box widened by a tenth. The other boxes are judged by their score.

    Parameters
    ----------
    annotations, images
        Keypoint file and folder of pictures.
    seen
        Merged opinion by picture name.
    source
        Name of the set.
    """
    data = _read_json(annotations)
    nothing = Opinion(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
    try:
        names = {image["id"]: image["file_name"] for image in data["images"]}
        return [
            _athlete(
                row["bbox"], judge(images / names[row["image_id"]], seen.get(names[row["image_id"]], nothing), source)
            )
            for row in data["annotations"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{annotations} is not a COCO keypoint file: {error!r}") from error


def _athlete(bbox: Sequence[float], image: BoxedImage) -> BoxedImage:
    x, y, width, height = bbox
    grow = np.array([-width, -height, width, height]) / 20
    box = (np.array([x, y, x + width, y + height]) + grow).astype(np.float32)
    overlap = iou(image.boxes, box[None])[:, 0]
    if len(overlap) and overlap.max() >= 0.5:
        ignore = image.ignore.copy()
        ignore[overlap.argmax()] = False
        return replace(image, ignore=ignore)
    return replace(image, boxes=np.concatenate((image.boxes, box[None])), ignore=np.append(image.ignore, False))
