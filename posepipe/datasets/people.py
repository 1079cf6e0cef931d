"""Labelled people of every keypoint set, brought to the form of training: a picture, a box, joints, and trust in them.

``teacher.npz`` files carry a network's labels with scores; every other set is read into a `KeypointSet` first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from posepipe.datasets.labels import KeypointSet
from posepipe.errors import InputError
from posepipe.io.npz import UNREADABLE_NPZ
from posepipe.skeleton import COCO17

__all__ = ["ABSENT_TRUST", "Person", "set_people", "teacher_people"]

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
    video
        Name of the video that the picture is a frame of; "" for a still picture.
    state
        What the person does, where that is known; "" else. Videos and states are mixed evenly in training.
    """

    image: Path
    box: NDArray[np.float32]
    xy: NDArray[np.float32]
    located: NDArray[np.float32]
    absent: NDArray[np.float32]
    by_people: bool
    video: str = ""
    state: str = ""

    @property
    def group(self) -> tuple[str, str]:
        """The video, or the picture, and the state: members of a group are much alike."""
        return self.video or str(self.image), self.state


def set_people(labels: KeypointSet, *, hidden_trust: float = 1.0, confidence: float = 0.0) -> list[Person]:
    """The people of a set with at least one labelled joint, crowds left out.

    Parameters
    ----------
    labels
        A set whose pictures are at hand.
    hidden_trust
        Factor on the trust in joints of visibility 1.
    confidence
        Least score of a joint; below it counts as not labelled.

    Raises
    ------
    InputError
        The pictures are not at hand, or the joints are not COCO's 17.
    """
    if labels.root is None:
        raise InputError(f"the pictures of {labels.name} are not at hand", hint="Name their folder")
    if labels.skeleton.keypoints != COCO17.keypoints:
        hint = "Convert it with posepipe data convert"
        raise InputError(f"{labels.name} has the joints of {labels.skeleton.name}", expected=COCO17.name, hint=hint)
    located = np.where(labels.visibility == 1, hidden_trust, 1.0) * labels.score
    located = np.where((labels.visibility > 0) & (labels.score >= confidence), located, 0).astype(np.float32)
    absent = np.where(labels.visibility == 0, ABSENT_TRUST, 0).astype(np.float32)
    certain = ((labels.score == 1) | (labels.visibility == 0)).all(1)
    found = []
    for row in np.flatnonzero((located > 0).any(1) & ~labels.iscrowd):
        image = int(labels.image[row])
        found.append(
            Person(
                image=labels.root / labels.images[image],
                box=labels.boxes[row],
                xy=labels.xy[row],
                located=located[row],
                absent=absent[row],
                by_people=bool(certain[row]),
                video=labels.videos[image],
            )
        )
    return found


def teacher_people(
    labels: Path,
    images: Path,
    *,
    box_score: float = 0.3,
    agreement: float = 0.6,
    least_px: float = 64.0,
    without: Iterable[str] = (),
    shift_x: float = 0.0,
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
    shift_x
        Added to every x, in parts of the width of the box widened to the aspect 3:4. It takes back the bias of labels
        whose maps were averaged with those of the mirror image as if cells were centred on pixels (1.5 px of a crop
        192 px wide).

    Raises
    ------
    InputError
        The file is missing or not of that form.
    """
    try:
        with np.load(labels, allow_pickle=False) as file:
            table = {key: file[key] for key in ("names", "image", "box", "box_score", "xy", "score", "agreement")}
    except UNREADABLE_NPZ as error:
        raise InputError(f"cannot read teacher labels from {labels}: {error!r}") from error
    box = table["box"].astype(np.float32)
    side = np.maximum(box[:, 2] - box[:, 0], box[:, 3] - box[:, 1])
    wide = np.maximum(box[:, 2] - box[:, 0], 0.75 * (box[:, 3] - box[:, 1]))
    xy = table["xy"] + shift_x * np.stack([wide, np.zeros_like(wide)], -1)[:, None]
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
                xy=np.where(seen[:, None], xy[row], 0.0).astype(np.float32),
                located=np.where(seen, score, 0.0).astype(np.float32),
                absent=np.where(seen, 0.0, ABSENT_TRUST).astype(np.float32),
                by_people=False,
            )
        )
    return people
