"""COCO person keypoints: the JSON file of the COCO dataset and of everything made in its likeness, in and out.

On top of COCO's own fields, which any reader of COCO skips: an image may carry ``video`` and ``frame``, an annotation
``track_id``, ``score``, ``keypoint_scores`` (K confidences) and ``area_is_estimate``, a category ``sigmas``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posepipe.datasets.coco_fields import LARGEST, are_numbers, refuse_other_kinds
from posepipe.datasets.findings import Code, Findings
from posepipe.datasets.labels import KeypointSet, area_of
from posepipe.datasets.skeletons import with_limbs
from posepipe.errors import InputError
from posepipe.io.atomic import atomic_path
from posepipe.skeleton import COCO17, Skeleton, named_skeleton

__all__ = ["load_coco", "read_coco", "refuse_guesses", "write_coco"]

# Faults after which a value had to be guessed: reading for training refuses them, a check lists them.
_REFUSED = (
    Code.CONFIDENCE,
    Code.NOT_FINITE,
    Code.KEYPOINT_COUNT,
    Code.BAD_BOX,
    Code.UNKNOWN_IMAGE,
    Code.DUPLICATE_IMAGE,
    Code.DUPLICATE_IMAGE_ID,
    Code.UNKNOWN_CATEGORY,
)


def read_coco(annotations: Path, images: Path | None = None, *, name: str = "") -> KeypointSet:
    """Read a COCO person-keypoints file; people without a labelled keypoint are kept with their boxes.

    Parameters
    ----------
    annotations
        The JSON file.
    images
        Folder of its pictures; None where they are not at hand.
    name
        Name of the set; the file's name without suffix where empty.

    Raises
    ------
    InputError
        The file is missing, is not of that form, or holds values that would have to be guessed (NaN, confidences
        where visibility belongs, ...).
    """
    people, faults = load_coco(annotations, images, name=name)
    refuse_guesses(annotations, faults)
    return people


def refuse_guesses(annotations: Path, faults: Findings) -> None:
    """Raise :class:`InputError` where `load_coco` had to guess values."""
    refused = [finding for finding in faults.all() if finding.code in _REFUSED]
    if refused:
        hint = f"posepipe data check {annotations} lists all of it"
        if refused[0].code is Code.CONFIDENCE:
            hint = f"posepipe data convert --from alphapose reads them as confidences; {hint}"
        raise InputError(f"{annotations}: {refused[0].line()}", hint=hint)


def load_coco(
    annotations: Path, images: Path | None = None, *, name: str = "", confidences: bool = False
) -> tuple[KeypointSet, Findings]:
    """Read as much of a COCO file as can be read, and what is wrong with the rest.

    Joints that cannot be used count as not labelled; rows that cannot be used are left out; both are found.

    Parameters
    ----------
    annotations, images, name
        As of `read_coco`.
    confidences
        The third number of a joint is a confidence, as AlphaPose writes it: above 0 the joint has visibility 2.

    Raises
    ------
    InputError
        The file is missing or is not of that form at all.
    """
    annotations = Path(annotations)
    faults = Findings()
    try:
        data = json.loads(annotations.read_text("utf-8-sig"))  # Windows begins files with a mark
        refuse_other_kinds(annotations, data)
        skeleton, rows = _of_people(annotations, data, faults)
        table = _Images(data["images"], faults)
        people = _People(rows, table, len(skeleton), faults, confidences)
        with np.errstate(over="ignore"):  # the set refuses what is too large for it
            columns = people.columns()
        found = KeypointSet(
            name=name or annotations.stem,
            skeleton=skeleton,
            images=tuple(table.names),
            sizes=np.array(table.sizes, np.int32).reshape(-1, 2),
            videos=tuple(table.videos),
            frames=np.array(table.frames, np.int64),
            root=None if images is None else Path(images),
            **columns,
        )
    except OSError as error:
        raise InputError(f"cannot read {annotations}: {error.strerror}", hint="Check the path") from error
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise InputError(
            f"{annotations} is not a COCO file: {error!r}"[:300],
            expected="a JSON object with images, annotations and categories",
        ) from error
    return found, faults


def _of_people(path: Path, data: dict[str, Any], faults: Findings) -> tuple[Skeleton, list[dict[str, Any]]]:
    """Skeleton and annotations of the category of people: the only one with keypoints, or that called person."""
    given, rows = data.get("categories") or [], data["annotations"]
    candidates = [c for c in given if c.get("keypoints")] or given
    wanted = [c for c in candidates if str(c.get("name")).lower() == "person"] or candidates
    if len(wanted) > 1:
        names = ", ".join(str(c.get("name")) for c in wanted[:10])
        raise InputError(f"{path}: which category is people", got=names, expected="one that is called person")
    if not wanted:
        return COCO17, rows
    category, known, people = wanted[0], {c["id"] for c in given}, []
    for row in rows:
        of = row.get("category_id")
        if of is None or of == category["id"]:
            people.append(row)
        else:
            code = Code.OTHER_CATEGORY if of in known else Code.UNKNOWN_CATEGORY
            faults.add(code, f"annotation {row.get('id', '?')} of category {of!r}", total=len(rows))
    return _skeleton(category), people


def _skeleton(category: dict[str, Any]) -> Skeleton:
    if not category.get("keypoints"):
        return COCO17
    names = tuple(str(n) for n in category["keypoints"])
    edges = tuple((names[a - 1], names[b - 1]) for a, b in category.get("skeleton") or ())
    return with_limbs(named_skeleton(str(category.get("name", "person")), names, edges, category.get("sigmas")))


class _Images:
    """The ``images`` of a COCO file as columns; ``row`` leads from an id to a row."""

    def __init__(self, images: list[dict[str, Any]], faults: Findings) -> None:
        self.row: dict[object, int] = {}
        self.names: list[str] = []
        self.sizes: list[tuple[int, int]] = []
        self.videos: list[str] = []
        self.frames: list[int] = []
        known: dict[str, int] = {}
        for image in images:
            name, key = image["file_name"].replace("\\", "/"), image["id"]  # Windows' paths
            if key in self.row:
                faults.add(Code.DUPLICATE_IMAGE_ID, f"image {key}", total=len(images))
            if name in known:
                faults.add(Code.DUPLICATE_IMAGE, name, total=len(images))
                self.row[key] = known[name]
                continue
            self.row[key] = known[name] = len(self.names)
            self.names.append(name)
            self.sizes.append((int(image.get("width") or 0), int(image.get("height") or 0)))
            self.videos.append(image.get("video") or "")
            self.frames.append(-1 if image.get("frame") is None else int(image["frame"]))


class _People:
    """The ``annotations`` of a COCO file as columns."""

    def __init__(
        self, rows: list[dict[str, Any]], images: _Images, joints: int, faults: Findings, confidences: bool
    ) -> None:
        self._faults = faults
        self._confidences = confidences
        self._total = len(rows)
        self._ids: set[object] = set()
        self._images: list[int] = []
        self._rows: list[dict[str, Any]] = []
        for row in rows:
            image = self._image(row, images, 3 * joints)
            if image is not None:
                self._images.append(image)
                self._rows.append(row)
        nobody = [0] * (3 * joints)
        values = np.array([row.get("keypoints") or nobody for row in self._rows], np.float64)
        self._joints = self._mended(values.reshape(-1, joints, 3))

    def _image(self, row: dict[str, Any], images: _Images, numbers: int) -> int | None:
        """Row of the person's image; None for a person who cannot be used."""
        key = row.get("id")
        if key is not None and key in self._ids:
            self._found(Code.DUPLICATE_ID, row)
        self._ids.add(key)
        image = images.row.get(row.get("image_id"))
        box = row.get("bbox")
        if image is None:
            self._found(Code.UNKNOWN_IMAGE, row)
        elif not are_numbers(box, 4):
            self._found(Code.BAD_BOX, row)
        elif not all(abs(v) < LARGEST for v in box or ()):
            self._found(Code.NOT_FINITE, row)
        elif row.get("keypoints") and not are_numbers(row["keypoints"], numbers):
            self._found(Code.KEYPOINT_COUNT, row)
        else:
            return image
        return None

    def _mended(self, joints: NDArray[np.float64]) -> NDArray[np.float64]:
        """(P,K,3) joints of which every one can be used or is not labelled."""
        finite = np.asarray((np.abs(joints) < LARGEST).all(axis=2))  # which NaN is not
        joints = np.where(finite[..., None], joints, 0)
        self._third = np.clip(joints[..., 2], 0, 1)
        sound = np.asarray(np.isin(joints[..., 2], (0, 1, 2)))
        if self._confidences:
            joints[..., 2] = 2 * (joints[..., 2] > 0)
            sound[:] = True
        joints[..., 2] = np.where(sound, joints[..., 2], 2 * (joints[..., 2] > 0))
        labelled = (joints[..., 2] > 0).sum(1)
        said = np.array(
            [_or(row, "num_keypoints", n) for row, n in zip(self._rows, labelled.tolist(), strict=True)], np.float64
        )
        for code, wrong in (
            (Code.NOT_FINITE, ~finite.all(axis=1)),
            (Code.CONFIDENCE, ~sound.all(axis=1)),
            (Code.NUM_KEYPOINTS, (said != labelled) & (sound & finite).all(axis=1)),
        ):
            for i in np.flatnonzero(wrong).tolist():
                self._found(code, self._rows[i])
        joints[joints[..., 2] == 0] = 0
        return joints

    def _found(self, code: Code, row: dict[str, Any]) -> None:
        self._faults.add(code, f"annotation {row.get('id', '?')}", total=self._total)

    def columns(self) -> dict[str, Any]:
        """The fields of a KeypointSet that have a row a person."""
        rows, joints = self._rows, self._joints
        boxes = np.array([row["bbox"] for row in rows], np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        area, known = self._areas(boxes)
        return {
            "image": np.array(self._images, np.int64),
            "boxes": boxes.astype(np.float32),
            "xy": joints[..., :2].astype(np.float32),
            "visibility": joints[..., 2].astype(np.int8),
            "score": self._scores(joints[..., 2] > 0),
            "person_score": np.array([_or(row, "score", 1) for row in rows], np.float32),
            "area": area,
            "area_known": known,
            "iscrowd": np.array([bool(row.get("iscrowd")) for row in rows], bool),
            "track_id": np.array([_or(row, "track_id", -1) for row in rows], np.int64),
        }

    def _areas(self, boxes: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        given = np.array([_or(row, "area", math.nan) for row in self._rows], np.float64)
        absent = np.array([row.get("area") is None for row in self._rows], bool)
        there = np.abs(given) < LARGEST**2  # which NaN is not
        for i in np.flatnonzero(~there & ~absent).tolist():
            self._found(Code.NOT_FINITE, self._rows[i])
        known = there & ~np.array([bool(row.get("area_is_estimate")) for row in self._rows], bool)
        return np.where(there, given, area_of(boxes)).astype(np.float32), known

    def _scores(self, labelled: NDArray[np.bool_]) -> NDArray[np.float32]:
        if self._confidences:
            return self._third.astype(np.float32)
        scores = labelled.astype(np.float32)
        for i, row in enumerate(self._rows):
            given = row.get("keypoint_scores")
            if given is not None and len(given) == labelled.shape[1]:
                scores[i] *= np.clip(np.nan_to_num(np.array(given, np.float64)), 0, 1)
        return scores


def _or(row: dict[str, Any], field: str, default: float) -> float:
    """The number of a field; the default where the field is absent or null."""
    value = row.get(field)
    return default if value is None else value


def write_coco(people: KeypointSet, path: str | Path) -> None:
    """Write a set as a COCO file: images in order, ids from 1, every derived field filled in.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    skeleton = people.skeleton
    edges = [[skeleton.index(a) + 1, skeleton.index(b) + 1] for a, b in skeleton.edges]
    category = {"id": 1, "name": "person", "supercategory": "person", "keypoints": list(skeleton.keypoints)}
    category |= {"skeleton": edges, "sigmas": list(skeleton.sigmas)}
    if skeleton != COCO17:
        category["name"] = skeleton.name
    with atomic_path(path) as unfinished, unfinished.open("w", encoding="utf-8", newline="\n") as file:
        file.write('{"categories":[' + _json(category) + '],\n"images":[')
        file.writelines(("," if i else "") + "\n" + _json(_image_row(people, i)) for i in range(len(people.images)))
        file.write('],\n"annotations":[')
        file.writelines(("," if i else "") + "\n" + _json(row) for i, row in enumerate(_person_rows(people)))
        file.write("]}\n")


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _image_row(people: KeypointSet, i: int) -> dict[str, Any]:
    width, height = people.sizes[i].tolist()
    row = {"id": i + 1, "file_name": people.images[i], "width": width, "height": height}
    if people.videos[i]:
        row["video"] = people.videos[i]
    if people.frames[i] >= 0:
        row["frame"] = int(people.frames[i])
    return row


def _person_rows(people: KeypointSet) -> Iterator[dict[str, Any]]:
    joints = np.concatenate([people.xy, people.visibility[..., None]], 2, dtype=np.float64)
    joints = joints.reshape(len(people), 3 * len(people.skeleton))
    boxes = people.boxes.astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    by_network = (people.score != (people.visibility > 0)).any(1)
    columns = zip(
        *(people.image.tolist(), _rounded(boxes), _rounded(people.area.astype(np.float64)), _rounded(joints)),
        *(people.iscrowd.tolist(), people.labelled.tolist(), people.area_known.tolist()),
        *(_rounded(people.person_score.astype(np.float64)), people.track_id.tolist()),
        strict=True,
    )
    for i, (image, box, area, keypoints, crowd, labelled, known, score, track) in enumerate(columns):
        row = {"id": i + 1, "image_id": image + 1, "category_id": 1, "bbox": box, "area": area, "iscrowd": int(crowd)}
        row |= {"num_keypoints": labelled, "keypoints": keypoints}
        if not known:
            row["area_is_estimate"] = True
        if by_network[i]:
            row["keypoint_scores"] = _rounded(people.score[i].astype(np.float64))
        if score != 1:
            row["score"] = score
        if track >= 0:
            row["track_id"] = track
        yield row


def _rounded(values: NDArray[np.float64]) -> list[Any]:
    """Nested lists with three decimals, and whole numbers without them."""
    rounded = np.round(values, 3)
    if rounded.ndim > 1:
        return [_rounded(row) for row in rounded]
    return [int(v) if v.is_integer() else v for v in rounded.tolist()]
