"""Which format a label file or folder has, and reading and writing it by that."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import Enum
from pathlib import Path

from posepipe.datasets.alphapose import OWN_PLACES, label_files, load_alphapose, write_alphapose
from posepipe.datasets.coco import load_coco, read_coco, refuse_guesses, write_coco
from posepipe.datasets.deeplabcut import read_deeplabcut, write_deeplabcut
from posepipe.datasets.findings import Code, Findings
from posepipe.datasets.labels import KeypointSet
from posepipe.datasets.mmpose import read_mmpose, write_mmpose
from posepipe.datasets.openpose import frame_files, read_openpose, write_openpose
from posepipe.datasets.rows import label_json
from posepipe.datasets.yolo import description, read_yolo, set_parts, write_yolo
from posepipe.errors import InputError, UsageError
from posepipe.io.pictures import is_picture

__all__ = ["Form", "label_videos", "load_set", "pictures_beside", "read_set", "recognise", "write_set"]

_HEAD = 1 << 20
# An empty list is a smaller file.
_EMPTY = 100
# At most so many pictures are looked for where pictures may lie.
_TRIED = 20


class Form(Enum):
    """Formats of labels."""

    COCO = "coco"
    ALPHAPOSE = "alphapose"
    OPENPOSE = "openpose"
    MMPOSE = "mmpose"
    DLC = "dlc"
    YOLO = "yolo"


def recognise(path: Path) -> tuple[Form, Path]:
    """The format of what lies at a path, and the file or folder to read.

    Raises
    ------
    InputError
        Nothing is there, or nothing that is known, or several sets.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist", hint="Check the path")
    if path.is_file():
        return _of_file(path), path
    _refuse_locked(path)
    if description(path) is not None:
        return Form.YOLO, path
    if frame_files(path):
        return Form.OPENPOSE, path
    found = _of_folder(path)
    if found is not None:
        return found
    if any(path.glob("**/*.[cC][sS][vV]")):
        return Form.DLC, path
    raise InputError(
        f"{path} holds no labels that are known",
        expected="a COCO JSON file, or a folder of AlphaPose, OpenPose, mmpose, DeepLabCut or YOLO files",
        hint="docs/datasets.md shows how each is laid out",
    )


def _refuse_locked(folder: Path) -> None:
    """A folder that may not be read looks empty when files are searched: its labels would be left out in silence."""
    inner = sorted(Path(entry) for entry in os.scandir(folder) if entry.is_dir()) if os.access(folder, os.R_OK) else []
    for place in (folder, *inner):
        # Every disk of Linux has that one, for nobody to read.
        if place.name != "lost+found" and not os.access(place, os.R_OK | os.X_OK):
            raise InputError(f"cannot read the folder {place}: no permission", hint="Ask for the right to read it")


def label_videos(path: Path) -> tuple[str, ...]:
    """The videos that have a label file of their own, whether it can be read or not; none where one file holds all."""
    form, source = recognise(path)
    return tuple(label_files(source)) if form is Form.ALPHAPOSE and source.is_dir() else ()


def _of_folder(path: Path) -> tuple[Form, Path] | None:
    """What the JSON files of a folder are, and what to read: results that lie in places of their own, COCO, others."""
    own = sorted((file for place in OWN_PLACES for file in label_json(path, place)), key=_is_of_nobody)
    results = next((file for file in own if _known(file) not in (None, Form.COCO)), None)
    named, loose = _coco_files(path / "annotations"), sorted(label_json(path, "*.json"), key=_is_of_nobody)
    coco = named or ([] if results else _coco_files(path))
    rival = results if named else next((file for file in loose if _known(file) not in (None, Form.COCO)), None)
    if coco and rival:
        what = f"{path} holds labels twice: {coco[0].relative_to(path)} and {rival.relative_to(path)}"
        raise InputError(what, hint="Name one of them (the file, or its folder), or put the other elsewhere")
    if coco:
        return Form.COCO, _one_of(path, coco)
    first = results or next(iter(own), rival or next(iter(loose), None))
    return None if first is None else (_of_file(first), path)


def _is_of_nobody(path: Path) -> bool:
    """Whether a file is an empty list, which tells no format: such files come last."""
    return path.is_file() and path.stat().st_size < _EMPTY and b"".join(path.read_bytes().split()) == b"[]"


def _coco_of_folder(path: Path) -> Path:
    """The one COCO file of ``annotations/``, or of the folder itself."""
    found = _coco_files(path / "annotations") or _coco_files(path)
    if not found:
        raise InputError(f"{path} holds no COCO file", expected="one in annotations/, or in the folder itself")
    return _one_of(path, found)


def _coco_files(folder: Path) -> list[Path]:
    """The COCO files of a folder; those of keypoints where their names tell them apart."""
    found = [file for file in label_json(folder, "*.json") if _known(file) is Form.COCO]
    return [file for file in found if "keypoints" in file.name] or found


def _one_of(path: Path, files: list[Path]) -> Path:
    """The only one; a folder with several of them needs one to be named."""
    if len(files) > 1:
        names = ", ".join(file.name for file in files[:6])
        raise InputError(f"{path} holds {len(files)} COCO files: {names}", hint="Name one of them")
    return files[0]


def _known(path: Path) -> Form | None:
    """The format of a file; None of something else beside the labels."""
    try:
        return _of_file(path)
    except InputError:
        return None


def _of_file(path: Path) -> Form:
    if path.suffix.lower() == ".csv":
        return Form.DLC
    if path.suffix.lower() in (".yaml", ".yml"):
        return Form.YOLO
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD).decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", hint="Check the path") from error
    keys = set(re.findall(r'"(\w+)"\s*:', head))
    if head.startswith("["):
        # AlphaPose's list of nobody is empty, and so is mmpose's: both say the same (see `_is_of_nobody` of folders).
        return Form.MMPOSE if keys & {"instances", "keypoint_scores", "frame_id"} else Form.ALPHAPOSE
    if keys & {"instance_info", "meta_info"}:
        return Form.MMPOSE
    if keys & {"images", "annotations", "categories", "licenses"}:
        return Form.COCO
    if "bodies" in keys or "AlphaPose" in head[:4096]:
        return Form.ALPHAPOSE
    if "people" in keys:
        return Form.OPENPOSE
    raise InputError(f"{path} holds no labels that are known", hint="docs/datasets.md lists the formats")


def pictures_beside(annotations: Path, names: Sequence[str]) -> Path | None:
    """The folder of a COCO file's pictures of these names, where it lies in one of the usual places; None else.

    Tried are the file's folder, ``images`` beside it or one up, and the folder one up that the end of its name tells
    (``annotations/person_keypoints_val2017.json`` and ``val2017/``).
    """
    tried = names[:: 1 + len(names) // _TRIED]  # evenly spread: the first ones may be those that are missing
    base, part = annotations.parent, annotations.stem.rpartition("_")[2]
    folders = [base / "images", base.parent / "images", base.parent / part, base.parent / "images" / part, base]
    folders += [base.parent]
    return next((f for f in folders if any((f / name).is_file() for name in tried)), None)


def _with_pictures(people: KeypointSet, annotations: Path, images: Path | None) -> KeypointSet:
    """The set of a COCO file with its pictures where they are said to be, else where they are found."""
    return replace(people, root=images or pictures_beside(annotations, people.images))


def read_set(path: str | Path, images: Path | None = None, *, first_frame: int = 0) -> KeypointSet:
    """Read whatever labels lie at a path; confidences of networks stay as they are (see `threshold_labels`).

    Parameters
    ----------
    path
        File or folder.
    images
        Folder of the pictures (of AlphaPose: of the frames); where None, found beside the labels of COCO, AlphaPose
        and YOLO, and not at hand of the others.
    first_frame
        Number in the image names of AlphaPose's results that stands for a video's first frame.

    Raises
    ------
    InputError
        Nothing known lies there, or it cannot be used as it is.
    """
    form, source = recognise(Path(path))
    if form is Form.COCO:
        return _with_pictures(read_coco(source), source, images)
    people, found = load_set(source, images, form, first_frame=first_frame)
    unreadable = found.of(Code.UNREADABLE_LABELS)
    if unreadable.count:
        raise InputError(f"{path}: {unreadable.line()}", hint=f"posepipe data check {path} lists all of it")
    refuse_guesses(Path(path), found)
    return people


def load_set(
    path: str | Path,
    images: Path | None = None,
    form: Form | None = None,
    *,
    first_frame: int = 0,
    keep_duplicates: bool = False,
) -> tuple[KeypointSet, Findings]:
    """As :func:`read_set`, leaving out what cannot be read, and what is wrong with it.

    Parameters
    ----------
    path, images, first_frame
        As of `read_set`.
    form
        The format; seen where None. Of a COCO file AlphaPose's says that confidences stand where visibility belongs.
    keep_duplicates
        Whether people who stand twice in a frame of AlphaPose's results stay; all other formats keep them.

    Raises
    ------
    InputError
        Nothing known lies there, or nothing of it can be read.
    """
    source = Path(path)
    if form is None:
        form, source = recognise(source)
    elif form is Form.COCO and source.is_dir():
        source = _coco_of_folder(source)
    confidences = form is Form.ALPHAPOSE and source.is_file() and _known(source) is Form.COCO
    if confidences and first_frame:
        raise UsageError(f"{source} has its images' frames in the field frame", hint="Leave the first frame out")
    if form is Form.COCO or confidences:
        people, found = load_coco(source, confidences=confidences)
        return _with_pictures(people, source, images), found
    if form is Form.ALPHAPOSE:
        return load_alphapose(source, frames=images, first_frame=first_frame, keep_duplicates=keep_duplicates)
    found = Findings()
    if form is Form.YOLO:
        found.add_all(Code.SEVERAL_PARTS, set_parts(source))
        return read_yolo(source, found), found
    pictures = {} if images is None else _pictures(images)
    if form is Form.OPENPOSE:
        people = read_openpose(source, pictures)
    else:
        people = {Form.MMPOSE: read_mmpose, Form.DLC: read_deeplabcut}[form](source)
    return (people if images is None else _at(people, images, pictures)), found


def _pictures(folder: Path) -> dict[str, str]:
    """The pictures of a folder and its folders: their names by the names without suffix."""
    found = sorted(path.relative_to(folder) for path in folder.rglob("*") if is_picture(path))
    return {path.with_suffix("").as_posix(): path.as_posix() for path in found}


def _at(people: KeypointSet, folder: Path, pictures: Mapping[str, str]) -> KeypointSet:
    """The set with its pictures in a folder, called as they are: the labels do not tell the suffix of a picture."""
    names, taken = [], set(people.images)
    for name in people.images:
        picture = pictures.get(Path(name).with_suffix("").as_posix(), name)
        names.append(name if picture in taken or (folder / name).is_file() else picture)
        taken.add(names[-1])
    return replace(people, images=tuple(names), root=folder)


def write_set(people: KeypointSet, path: Path, form: Form) -> None:
    """Write a set in a format. Raises :class:`UsageError` where the format cannot hold it, and :class:`OutputError`."""
    folder = form in (Form.YOLO, Form.OPENPOSE)
    if folder and path.is_file():
        raise UsageError(f"{form.value} sets are folders, and {path} is a file", hint="Name another folder")
    write = {
        Form.COCO: write_coco,
        Form.ALPHAPOSE: write_alphapose,
        Form.OPENPOSE: write_openpose,
        Form.MMPOSE: write_mmpose,
        Form.DLC: write_deeplabcut,
        Form.YOLO: write_yolo,
    }[form]
    write(people, path)
