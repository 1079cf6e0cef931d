"""Pose sets in the form of YOLO: ``data.yaml``, ``images/`` and ``labels/`` with a text file a picture, in and out."""

from __future__ import annotations

import filecmp
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from posepipe.config import Config
from posepipe.datasets.findings import Code, Findings
from posepipe.datasets.labels import KeypointSet
from posepipe.datasets.places import places, refuse_others
from posepipe.datasets.rows import Rows, label_errors
from posepipe.datasets.skeletons import alphapose_skeleton
from posepipe.errors import InputError, OutputError, UsageError
from posepipe.io.atomic import atomic_path, output_errors
from posepipe.io.pictures import is_picture, read_picture
from posepipe.skeleton import COCO17, named_skeleton

__all__ = ["description", "read_yolo", "set_parts", "write_yolo"]

# Folders of `images` that are parts whether the YAML file names them or not.
_PARTS = ("train", "val", "valid", "test")
# EXIF's orientation (tag 0x0112, one SHORT), in either order of bytes, where it lays a picture on its side; it stands
# near the beginning of a file, or near its end.
_SIDEWAYS = re.compile(
    rb"\x12\x01\x03\x00\x01\x00\x00\x00[\x05-\x08]\x00|\x01\x12\x00\x03\x00\x00\x00\x01\x00[\x05-\x08]"
)
_END = 1 << 16


def description(path: Path) -> Path | None:
    """The YAML file of a set: the file itself, or the one of a folder that tells the shape of keypoints.

    A folder in ``images`` or ``labels`` of a set, such as ``SET/images/train``, is that part of the set.
    """
    return _place(Path(path))[0]


def _place(path: Path) -> tuple[Path | None, Path]:
    """The YAML file of a set, None where there is none, and the folder of the pictures that the path means."""
    files = [path] if path.is_file() else sorted(path.glob("*.yaml")) + sorted(path.glob("*.yml"))
    yaml = next((f for f in files if f.suffix in (".yaml", ".yml") and "kpt_shape" in f.read_text("utf-8-sig")), None)
    if yaml is not None:
        return yaml, _root(yaml) / "images"
    if not path.is_dir():
        return None, path.parent / "images" if path.is_file() else path / "images"
    whole = Path(os.path.abspath(path))  # noqa: PTH100 - a part may be a link to elsewhere, which is not followed
    for root in whole.parents:
        top, *inner = whole.relative_to(root).parts
        if top in ("images", "labels") and (yaml := _place(root)[0]) is not None:
            return yaml, _root(yaml).joinpath("images", *inner)
    return None, path / "images"


def _root(yaml: Path) -> Path:
    """The folder of ``images`` and ``labels``: what ``path`` says, if they lie there, else that of the YAML file."""
    with label_errors(yaml, "a description of a YOLO pose set", "text in UTF-8"):
        said = _entry(yaml.read_text("utf-8-sig"), "path")
        root = yaml.parent.joinpath(*said)
        return root if (root / "images").is_dir() else yaml.parent


def set_parts(path: Path) -> tuple[str, ...]:
    """The parts that reading a path would throw together, by their folders (``images/train``, ``images/val``).

    None where the path names a part, or the set has one only. Parts are what the YAML file calls train, val and test,
    and the folders of ``images`` with such names.
    """
    yaml, folder = _place(Path(path))
    if yaml is None:
        return ()
    root = _root(yaml)
    with label_errors(yaml, "a description of a YOLO pose set", "text in UTF-8"):
        text = yaml.read_text("utf-8-sig")
        entries = (_entry(text, key) for key in ("train", "val", "test"))
        relative = (tuple(Path(os.path.relpath(root / name, root)).as_posix() for name in names) for names in entries)
        parts = dict.fromkeys(names for names in relative if names)
    known = {name for entry in parts for name in entry}
    there = [f"images/{name}" for name in _PARTS if (root / "images" / name).is_dir()]
    parts |= dict.fromkeys((name,) for name in there if name not in known)
    if folder != root / "images":
        parts = {entry: None for entry in parts if any((root / name).is_relative_to(folder) for name in entry)}
    return tuple(", ".join(entry) for entry in parts) if len(parts) > 1 else ()


def read_yolo(path: Path, findings: Findings | None = None) -> KeypointSet:
    """Read a set, or a part of it, with visibilities 0, 1 and 2 (2 where there are none).

    People are the rows of the class ``person``, of the only class, or of class 0 where classes have no names. Pictures
    are upright, as training reads them: EXIF's turn is part of their size.

    Parameters
    ----------
    path
        The folder or its ``data.yaml``: all of ``images``; or the folder of a part, such as ``SET/images/train``.
    findings
        Takes the rows of other classes, which are left out.

    Raises
    ------
    InputError
        There is no such set, or a file of it cannot be read, or a labelled picture is missing (its size is needed), or
        none of several classes is ``person``.
    """
    yaml, folder = _place(Path(path))
    if yaml is None:
        raise InputError(f"{path} is no pose set of YOLO", expected="a data.yaml with kpt_shape", hint="Check the path")
    with label_errors(yaml, "a description of a YOLO pose set", "kpt_shape: [17, 3]"):
        text = yaml.read_text("utf-8-sig")
        joints, width = (int(v) for v in re.findall(r"^kpt_shape:\s*\[\s*(\d+)\s*,\s*(\d+)", text, re.MULTILINE)[0])
        names = _keypoint_names(text)
        skeleton = named_skeleton("yolo", names) if len(names) == joints else alphapose_skeleton(joints)
        people = _people_classes(text)
    root = _root(yaml)
    pictures = sorted(p for p in folder.rglob("*") if is_picture(p))
    if not pictures:
        raise InputError(f"{folder} holds no pictures, whose sizes the labels of YOLO need", hint="Check data.yaml")
    rows = Rows(joints)
    for picture in pictures:
        inner = picture.relative_to(root)
        labels = root / Path("labels", *inner.parts[1:]).with_suffix(".txt")
        with label_errors(labels, "a label file of YOLO", "class, box and keypoints, divided by the picture's size"):
            _add(rows, picture, inner, _lines(labels, people, findings or Findings()), joints, width)
    return rows.build(root.resolve().name, skeleton, root, visibilities=True)


def _entry(text: str, key: str) -> tuple[str, ...]:
    """What the YAML file says under a key: a value, or a list in either way of writing it."""
    found = re.search(rf"^{key}:(.*(?:\n(?:[ \t]+|-).*)*)", text, re.MULTILINE)
    said = re.sub(r"(?<!\S)#.*", "", found.group(1)) if found else ""
    names = [re.sub(r"^\s*(?:- )?\s*['\"]?|['\"]?\s*$", "", name) for name in re.split(r"[\n\[\]{},]", said)]
    return tuple(name for name in names if name not in ("", "null", "~"))


def _people_classes(text: str) -> tuple[int, ...]:
    """The numbers of the classes whose rows are people."""
    classes = {}
    for place, entry in enumerate(_entry(text, "names")):
        number, name = re.fullmatch(r"(?:(\d+)\s*:)?\s*['\"]?(.*)", entry, re.DOTALL).groups()  # type: ignore[union-attr]
        classes[place if number is None else int(number)] = name.casefold()
    if len(classes) < 2:
        return tuple(classes) or (0,)
    people = tuple(number for number, name in classes.items() if name == "person")
    if not people:
        raise ValueError(f"none of the classes {', '.join(classes.values())} is person")
    return people


def _keypoint_names(text: str) -> tuple[str, ...]:
    """``kpt_names`` of the first class, in either way of writing lists."""
    block = re.search(r"^kpt_names:\s*\n\s+\d+:\s*(\[[^\]]*\]|(?:\n\s+- .*)+)", text, re.MULTILINE)
    return tuple(re.findall(r"[A-Za-z_][\w -]*\w", block.group(1))) if block else ()


def _lines(labels: Path, people: tuple[int, ...], findings: Findings) -> list[NDArray[np.float64]]:
    """The numbers of each person of a picture."""
    if not labels.is_file():
        return []  # YOLO has no file for a picture that shows nobody
    rows = [np.array(line.split(), np.float64) for line in labels.read_text("utf-8-sig").splitlines() if line.strip()]
    found = [values for values in rows if values[0] in people]
    findings.add_all(Code.OTHER_CATEGORY, [labels.name] * (len(rows) - len(found)))
    return found


def _add(rows: Rows, picture: Path, inner: Path, people: list[NDArray[np.float64]], joints: int, width: int) -> None:
    size = _size(picture)
    image = rows.image(inner.as_posix(), size=size)
    scale = np.array(size, np.float64)
    for values in people:
        centre, span = values[1:3] * scale, values[3:5] * scale
        points = values[5 : 5 + joints * width].reshape(joints, width)
        seen = points[:, 2] if width == 3 else 2.0 * points.any(1)
        if not np.isin(seen, (0, 1, 2)).all():
            raise ValueError(f"visibility is 0, 1 or 2, got {seen.max()}")
        rows.person(image, np.column_stack([points[:, :2] * scale, seen]), [*(centre - span / 2), *(centre + span / 2)])


def _size(picture: Path) -> tuple[int, int]:
    """Width and height of the upright picture; only one that lies on its side, as its bytes say, is decoded."""
    try:
        with picture.open("rb") as file:
            ends = file.read(_END)
            file.seek(max(_END, picture.stat().st_size - _END))
            ends += file.read()
        if _SIDEWAYS.search(ends):
            height, width = read_picture(picture, Config.max_pixels).shape[:2]
            return width, height
        with av.open(str(picture)) as container:
            stream = container.streams.video[0]
            return int(stream.width), int(stream.height)
    except (av.FFmpegError, IndexError, OSError) as error:
        raise InputError(f"cannot read {picture}: {error}", hint="Get the picture anew, or remove it") from error


def write_yolo(people: KeypointSet, path: Path, parts: Mapping[str, KeypointSet] | None = None) -> None:
    """Write a set, or its parts, with pictures linked (copied where the disk cannot link) where they are at hand.

    Boxes are clipped to the picture, and joints outside it are written as absent (``0 0 0``); people whose box lies
    outside it altogether, and crowds, are left out. A picture that lies in its place already stays; none is replaced.

    Parameters
    ----------
    people
        The whole set.
    path
        The folder.
    parts
        The parts by name (train, val, test); all is the part train where None.

    Raises
    ------
    InputError
        The name of an image leads out of the folder.
    UsageError
        The size of an image is not known, or two images would have one label file.
    OutputError
        A file cannot be written, or the folder holds pictures or labels of another set, or another picture where one is
        to be.
    """
    path = Path(path)
    if (people.sizes <= 0).any():
        unknown = people.images[int(np.flatnonzero((people.sizes <= 0).any(1))[0])]
        raise UsageError(f"YOLO divides by the size of the picture, which is not known for {unknown}", hint="Use COCO")
    sets = parts or {"train": people}
    files = [(image, Path("labels", part, image)) for part, members in sets.items() for image in members.images]
    labels = places(path, ((image, file.with_suffix(".txt")) for image, file in files), people.name)
    pictures = [path / "images" / file.relative_to("labels") for _, file in files]
    own = description(path) if path.is_dir() else None
    refuse_others(path, [*_files(path), *([own] if own else [])], [*labels, *pictures, path / "data.yaml"])
    sources = [members.path(row) for members in sets.values() for row in range(len(members.images))]
    missing = list(_missing(sources, pictures))
    places(path, ((str(source), picture.relative_to(path)) for source, picture in missing), people.name)
    texts = [text for members in sets.values() for text in _texts(members)]
    for file, text in zip(labels, texts, strict=True):
        with output_errors(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
    for source, picture in missing:
        _link(source, picture)
    skeleton = people.skeleton
    lines = ["path: .", *(f"{part}: images/{part}" for part in sets)]
    lines += ["names:", "  0: person", f"kpt_shape: [{len(skeleton)}, 3]", f"flip_idx: {skeleton.mirror.tolist()}"]
    lines += ["kpt_names:", f"  0: [{', '.join(skeleton.keypoints)}]"] if skeleton != COCO17 else []
    with atomic_path(path / "data.yaml") as unfinished:
        unfinished.write_text("\n".join(lines) + "\n", "utf-8")


def _files(path: Path) -> Iterator[Path]:
    """The pictures and the label files of a set."""
    yield from (file for file in (path / "images").rglob("*") if is_picture(file))
    yield from (path / "labels").rglob("*.txt")


def _texts(people: KeypointSet) -> list[str]:
    """What stands in the label file of each image."""
    lines: dict[int, list[str]] = {i: [] for i in range(len(people.images))}
    for i in np.flatnonzero(~people.iscrowd).tolist():
        # What reaches out of [0,1] makes readers skip the whole picture.
        size = people.sizes[people.image[i]].astype(float)
        box = (people.boxes[i].astype(float).reshape(2, 2) / size).clip(0, 1)
        if (box[1] <= box[0]).any():
            continue  # none of it is in the picture
        joints = np.column_stack([people.xy[i] / size, people.visibility[i]])
        joints[((joints[:, :2] < 0) | (joints[:, :2] > 1)).any(1)] = 0
        values = [*box.mean(0), *(box[1] - box[0]), *joints.ravel()]
        lines[int(people.image[i])].append("0 " + " ".join(f"{v:.6f}".rstrip("0").rstrip(".") for v in values))
    return ["".join(line + "\n" for line in found) for found in lines.values()]


def _missing(sources: list[Path | None], pictures: list[Path]) -> Iterator[tuple[Path, Path]]:
    """The pictures that are at hand and not in their place, and that place; raises where another one is there."""
    for source, picture in zip(sources, pictures, strict=True):
        if source is None or not source.is_file():
            continue
        if not os.path.lexists(picture):
            yield source, picture
        elif not (picture.is_file() and (picture.samefile(source) or filecmp.cmp(source, picture, shallow=False))):
            what = f"{picture} is there and is not {source}: pictures are not replaced"
            raise OutputError(what, hint="Remove it if nobody needs it, or name another folder")


def _link(source: Path, target: Path) -> None:
    with output_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source.resolve(), target)
        except OSError:  # another disk, or a system without links
            with source.open("rb") as picture, target.open("xb") as copy:
                shutil.copyfileobj(picture, copy)
