"""Is a set of labels sound? What is looked at before any training, and what of it spoils one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posepipe.config import Config
from posepipe.datasets.duplicates import duplicate_people
from posepipe.datasets.findings import Code, Findings
from posepipe.datasets.labels import KeypointSet
from posepipe.datasets.video_checks import check_videos
from posepipe.errors import InputError
from posepipe.io.pictures import read_picture
from posepipe.skeleton import COCO17

__all__ = ["Report", "Sides", "check_set", "sides_of"]

# A joint may lie this far outside its person's box, in longer sides of the box: hands reach out of tight boxes.
_BOX_MARGIN = 0.25
_EDGE_PX = 1.0
_LOW_CONFIDENCE = 0.3
_FACE = ("nose", "left_eye", "right_eye", "left_shoulder", "right_shoulder")
# Confidences of a back's guessed face lie below this.
_FACE_CONFIDENCE = 0.5
_LEAST_FRONTAL = 20


@dataclass(frozen=True)
class Sides:
    """Left and right against the body.

    Attributes
    ----------
    frontal
        People whose nose, eyes and shoulders are labelled and seen: they look at the camera, nearly all of them.
    swapped
        Those of them whose left shoulder is on the picture's left. A body from the front has it on the right.
    against_face
        Those of them whose eyes and shoulders disagree.
    """

    frontal: int
    swapped: int
    against_face: int

    @property
    def wrong(self) -> bool:
        """Whether most people stand the wrong way round, so that the set's left and right must be swapped."""
        return self.frontal >= _LEAST_FRONTAL and self.swapped > self.frontal / 2


def sides_of(people: KeypointSet) -> Sides:
    """Count how left and right lie among people who look at the camera; none where the skeleton has no such joints."""
    if not set(_FACE) <= set(people.skeleton.keypoints):
        return Sides(0, 0, 0)
    rows = [people.skeleton.index(name) for name in _FACE]
    labels = people.visibility[:, rows]
    # Where no joint is marked as seen, labels of the face are guesses, but the only ones there are.
    seen = labels == 2 if (labels[:, :3] == 2).any() else labels > 0
    frontal = seen.all(1) & (people.score[:, rows] >= _FACE_CONFIDENCE).all(1) & ~people.iscrowd
    x = people.xy[frontal][:, rows, 0]
    eyes, shoulders = x[:, 1] - x[:, 2], x[:, 3] - x[:, 4]
    return Sides(int(frontal.sum()), int((shoulders < 0).sum()), int((eyes * shoulders < 0).sum()))


@dataclass(frozen=True, eq=False)
class Report:
    """What a check found: figures by name, left and right, and the findings."""

    name: str
    figures: dict[str, int | float | str]
    sides: Sides
    findings: Findings

    @property
    def sound(self) -> bool:
        """Whether nothing was found that spoils a training."""
        return not self.findings.spoiling

    def table(self) -> str:
        """The report as text for people."""
        lines = [self.name, *(f"  {name:<28}{value}" for name, value in self.figures.items())]
        sides = self.sides
        if sides.frontal:
            shares = f"{sides.swapped / sides.frontal:.1%} left shoulder left of the right one, "
            shares += f"{sides.against_face / sides.frontal:.1%} eyes against shoulders"
            lines.append(f"  {'people facing the camera':<28}{sides.frontal}: {shares}")
        for title, wanted in (("spoils training", True), ("worth knowing", False)):
            found = [finding for finding in self.findings.all() if finding.spoils == wanted]
            if found:
                lines += [f"{title}:", *(f"  {finding.line()}" for finding in found)]
        lines.append("sound" if self.sound else f"not sound: {len(self.findings.spoiling)} findings spoil training")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """The report for a JSON file (format posepipe-check/1)."""
        return {
            "format": "posepipe-check/1",
            "name": self.name,
            "sound": self.sound,
            "figures": self.figures,
            "sides": {
                "frontal": self.sides.frontal,
                "swapped": self.sides.swapped,
                "against_face": self.sides.against_face,
            },
            "findings": [
                {
                    "code": finding.code.label,
                    "spoils": finding.spoils,
                    "count": finding.count,
                    "total": finding.total,
                    "text": finding.code.text,
                    "examples": finding.examples,
                }
                for finding in self.findings.all()
            ],
        }


def check_set(
    people: KeypointSet,
    found: Findings | None = None,
    *,
    pictures: int | None = None,
    videos: Mapping[str, Path] | None = None,
) -> Report:
    """Check a set.

    Parameters
    ----------
    people
        The set.
    found
        What the reading of its files found already.
    pictures
        How many pictures to decode, evenly spread; all where None. That they are there is looked at for all of them.
        Videos are decoded to their end where None, else only opened.
    videos
        Paths of the videos that the frames are to be taken from, by name, where the pictures are not at hand.
    """
    findings = Findings()
    if found is not None:
        findings.merge(found)
    if videos:
        check_videos(people, videos, findings, decode=pictures is None)
    sides = sides_of(people)
    usable = (people.labelled > 0) & ~people.iscrowd
    if not usable.any():
        findings.add(Code.NO_PEOPLE, people.name)
    if sides.wrong:
        findings.add(Code.SIDES_SWAPPED, f"{sides.swapped} of {sides.frontal} people who look at the camera")
    _check_skeleton(people, findings)
    _check_boxes(people, findings)
    _check_joints(people, findings)
    _check_people(people, findings)
    read: int | str = "none: not at hand"
    if videos:
        read = "none: frames of videos"
    elif people.root is not None:
        read = _check_pictures(people, people.root, findings, pictures)
    return Report(people.name, _figures(people, usable, read), sides, findings)


def _figures(people: KeypointSet, usable: NDArray[np.bool_], read: int | str) -> dict[str, int | float | str]:
    heights = people.boxes[usable, 3] - people.boxes[usable, 1]
    guessed = sorted(set(people.skeleton.keypoints) - set(COCO17.keypoints))
    of_coco = ", COCO's OKS constants" if not guessed else f", {len(guessed)} joints that COCO has not"
    return {
        "pictures": len(people.images),
        "pictures decoded": read,
        "videos": len(people.video_names()),
        "people": len(people),
        "people with joints": int(usable.sum()),
        "labelled joints": int((people.visibility > 0).sum()),
        "occluded joints (v = 1)": int((people.visibility == 1).sum()),
        "median box height px": round(float(np.median(heights)), 1) if len(heights) else 0.0,
        "skeleton": f"{people.skeleton.name} ({len(people.skeleton)} joints{of_coco})",
    }


def _places(people: KeypointSet, mask: np.bool_ | NDArray[np.bool_]) -> list[str]:
    return [f"row {i} in {people.images[people.image[i]]}" for i in np.flatnonzero(mask)]


def _check_skeleton(people: KeypointSet, findings: Findings) -> None:
    names = people.skeleton.keypoints
    if set(names) == set(COCO17.keypoints) and names != COCO17.keypoints:
        findings.add_all(
            Code.JOINT_ORDER,
            (f"{a} where COCO has {b}" for a, b in zip(names, COCO17.keypoints, strict=True) if a != b),
        )
    elif names != COCO17.keypoints:
        findings.add(Code.OTHER_JOINTS, f"{len(names)} joints: {', '.join(names[:6])} ...", total=1)
    findings.add_all(Code.SIGMAS_GUESSED, (n for n in names if n not in COCO17.keypoints), total=len(names))


def _check_boxes(people: KeypointSet, findings: Findings) -> None:
    total = len(people)
    span = people.boxes[:, 2:] - people.boxes[:, :2]
    inverted = (span <= 0).any(1)
    findings.add_all(Code.INVERTED_BOX, _places(people, inverted), total=total)
    sizes = people.sizes[people.image].astype(np.float32)
    known = (sizes > 0).all(1)
    outside = (people.boxes[:, :2] < -_EDGE_PX).any(1) | (people.boxes[:, 2:] > sizes + _EDGE_PX).any(1)
    findings.add_all(Code.BOX_OUTSIDE, _places(people, outside & known), total=total)
    labelled = (people.labelled > 0) & ~people.iscrowd
    findings.add_all(Code.ZERO_AREA, _places(people, labelled & (people.area <= 0)), total=total)
    findings.add_all(Code.AREA_UNKNOWN, _places(people, ~people.area_known & labelled), total=total)
    beyond = people.area > 1.05 * np.clip(span, 0, None).prod(1) + 1
    findings.add_all(Code.AREA_BEYOND_BOX, _places(people, beyond & people.area_known & ~inverted), total=total)


def _check_joints(people: KeypointSet, findings: Findings) -> None:
    total = len(people)
    labelled = people.visibility > 0
    sizes = people.sizes[people.image].astype(np.float32)[:, None]
    out = ((people.xy < -_EDGE_PX) | (people.xy > sizes + _EDGE_PX)).any(2) & labelled & (sizes > 0).all(2)
    findings.add_all(Code.OUTSIDE_PICTURE, _places(people, out.any(1)), total=total)
    low, high = people.boxes[:, None, :2], people.boxes[:, None, 2:]
    margin = _BOX_MARGIN * (high - low).max(2, keepdims=True)
    far = ((people.xy < low - margin) | (people.xy > high + margin)).any(2) & labelled
    findings.add_all(Code.OUTSIDE_BOX, _places(people, far.any(1)), total=total)
    low_ones = labelled & (people.score < _LOW_CONFIDENCE)
    findings.add_all(Code.LOW_CONFIDENCE, _places(people, low_ones.any(1)), total=total)


def _check_people(people: KeypointSet, findings: Findings) -> None:
    total = len(people)
    findings.add_all(Code.CROWD, _places(people, people.iscrowd), total=total)
    findings.add_all(Code.NO_KEYPOINTS, _places(people, (people.labelled == 0) & ~people.iscrowd), total=total)
    twice = np.zeros(total, bool)
    twice[duplicate_people(people)] = True
    findings.add_all(Code.DUPLICATE_PERSON, _places(people, twice), total=total)
    empty = np.bincount(people.image, minlength=len(people.images)) == 0
    images = len(people.images)
    findings.add_all(Code.EMPTY_IMAGE, (people.images[i] for i in np.flatnonzero(empty)), total=images)
    unknown = (people.sizes <= 0).any(1)
    findings.add_all(Code.NO_SIZE, (people.images[i] for i in np.flatnonzero(unknown)), total=images)


def _check_pictures(people: KeypointSet, root: Path, findings: Findings, pictures: int | None) -> int:
    """Look for the pictures and decode some of them; the number of those that were decoded."""
    total = len(people.images)
    there = np.array([(root / name).is_file() for name in people.images], bool)
    findings.add_all(Code.MISSING_IMAGE, (people.images[i] for i in np.flatnonzero(~there)), total=total)
    rows = np.flatnonzero(there)
    if pictures is not None and len(rows) > pictures:
        rows = rows[np.linspace(0, len(rows) - 1, pictures).astype(int)] if pictures else rows[:0]
    for i in rows.tolist():
        _check_picture(people, i, root / people.images[i], findings, len(rows))
    return len(rows)


def _check_picture(people: KeypointSet, row: int, path: Path, findings: Findings, total: int) -> None:
    try:
        height, width = read_picture(path, Config.max_pixels).shape[:2]
    except InputError:
        findings.add(Code.UNREADABLE_IMAGE, people.images[row], total=total)
        return
    said = tuple(people.sizes[row].tolist())
    if 0 not in said and said != (width, height):
        findings.add(Code.IMAGE_SIZE, f"{people.images[row]} {width}x{height}, not {said[0]}x{said[1]}", total=total)
