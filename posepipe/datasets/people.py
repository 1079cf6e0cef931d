"""Labelled people of every keypoint set, brought to one form: a picture, a box, joints and how far to trust them.

COCO-style JSON files carry labels made by people; ``teacher.npz`` files carry a network's labels with scores.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posepipe.errors import InputError

__all__ = ["Person", "coco_people", "held_out", "repeat", "split_people", "teacher_people"]

#: a teacher's joint below this score counts as "not to be seen", at or above it as located
TEACHER_LOCATED = 0.15
#: how far a joint that nobody located is trusted to be absent
ABSENT_TRUST = 0.1


@dataclass(frozen=True)
class Person:
    """One labelled person.

    Attributes
    ----------
    image
        Path of the picture.
    box
        (4,) float32 xyxy px.
    xy
        (K,2) float32 px in the picture; (0, 0) where not located.
    located
        (K,) float32 in [0,1]: trust in the location; 0 = none given.
    absent
        (K,) float32 in [0,1]: trust that the joint cannot be seen; 0 = unknown or located.
    by_people
        Whether the body joints were labelled by people.
    """

    image: Path
    box: NDArray[np.float32]
    xy: NDArray[np.float32]
    located: NDArray[np.float32]
    absent: NDArray[np.float32]
    by_people: bool


def coco_people(
    annotations: Path, images: Path, *, guessed_trust: float = 1.0, hidden_absent: bool = True
) -> list[Person]:
    """Read a COCO person-keypoints file.

    Parameters
    ----------
    annotations, images
        The JSON file and the folder of its pictures.
    guessed_trust
        Trust in joints of visibility 1 (COCO: occluded; LSPET here: found by a network). Visibility 2 has trust 1.
    hidden_absent
        Whether visibility 0 says that the joint cannot be seen (COCO) or nothing at all (LSPET's faces).

    Raises
    ------
    InputError
        The file is missing or not of that form.
    """
    try:
        data = json.loads(annotations.read_text("utf-8"))
        names = {image["id"]: image["file_name"] for image in data["images"]}
        rows = [a for a in data["annotations"] if a.get("num_keypoints", 0) > 0 and not a.get("iscrowd", 0)]
        return [_coco_person(row, images / names[row["image_id"]], guessed_trust, hidden_absent) for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"cannot read COCO keypoints from {annotations}: {error!r}") from error


def _coco_person(row: dict[str, Any], image: Path, guessed_trust: float, hidden_absent: bool) -> Person:
    joints = np.asarray(row["keypoints"], np.float32).reshape(-1, 3)
    x, y, width, height = row["bbox"]
    visibility = joints[:, 2]
    located = np.where(visibility == 2, 1.0, np.where(visibility == 1, guessed_trust, 0.0))
    absent = np.where(visibility == 0, ABSENT_TRUST if hidden_absent else 0.0, 0.0)
    return Person(
        image=image,
        box=np.array([x, y, x + width, y + height], np.float32),
        xy=joints[:, :2].copy(),
        located=located.astype(np.float32),
        absent=absent.astype(np.float32),
        by_people=True,
    )


def teacher_people(
    labels: Path,
    images: Path,
    *,
    box_score: float = 0.3,
    agreement: float = 0.6,
    least_px: float = 64.0,
    without: Iterable[str] = (),
) -> list[Person]:
    """Read a teacher's labels (``teacher.npz``), leaving out doubtful and small people.

    Parameters
    ----------
    labels, images
        The .npz file (names, image, box, box_score, xy, score, agreement) and the folder of its pictures.
    box_score, agreement
        Least agreement of the detectors, and of the pose with that of the mirror image.
    least_px
        Least longer side of the box, px.
    without
        File names to leave out (those that people labelled).

    Raises
    ------
    InputError
        The file is missing or not of that form.
    """
    try:
        with np.load(labels, allow_pickle=False) as file:
            table = {key: file[key] for key in ("names", "image", "box", "box_score", "xy", "score", "agreement")}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"cannot read teacher labels from {labels}: {error!r}") from error
    box = table["box"].astype(np.float32)
    side = np.maximum(box[:, 2] - box[:, 0], box[:, 3] - box[:, 1])
    names = table["names"][table["image"]]
    keep = (table["box_score"] > box_score) & (table["agreement"] > agreement) & (side >= least_px)
    keep &= ~np.isin(names, list(without))
    people = []
    for row in np.flatnonzero(keep):
        score = np.clip(table["score"][row], 0, 1).astype(np.float32)
        seen = score >= TEACHER_LOCATED
        people.append(
            Person(
                image=images / str(names[row]),
                box=box[row],
                xy=np.where(seen[:, None], table["xy"][row], 0.0).astype(np.float32),
                located=np.where(seen, score, 0.0).astype(np.float32),
                absent=np.where(seen, 0.0, ABSENT_TRUST).astype(np.float32),
                by_people=False,
            )
        )
    return people


def held_out(image: Path, share: float) -> bool:
    """Whether a picture belongs to the validation part: by the hash of its folder and name, so never by order."""
    key = f"{image.parent.parent.name}/{image.stem}".encode()
    return int.from_bytes(hashlib.sha256(key).digest()[:8], "big") / 2**64 < share


def split_people(
    people: Iterable[Person], share: float, keep: tuple[str, ...] = ()
) -> tuple[list[Person], list[Person]]:
    """Split into (training, validation) by picture; names that start with one of `keep` stay in training.

    `keep` is for groups of near-copies whose members cannot be told apart by name.
    """
    parts: tuple[list[Person], list[Person]] = ([], [])
    for person in people:
        kept = any(person.image.name.startswith(prefix) for prefix in keep)
        parts[0 if kept or not held_out(person.image, share) else 1].append(person)
    return parts


def repeat(people: list[Person], times: int) -> Iterator[Person]:
    """The same people `times` over, for small sets with good labels."""
    for _ in range(times):
        yield from people
