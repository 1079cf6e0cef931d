"""OpenPose results: a folder with one JSON file a frame (``VIDEO_000000000012_keypoints.json``), in and out."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from posepipe.datasets.labels import KeypointSet
from posepipe.datasets.places import places, plain_videos, refuse_others
from posepipe.datasets.rows import Rows, label_errors
from posepipe.datasets.skeletons import BODY25, COCO18, canonical, openpose_skeleton
from posepipe.errors import InputError, UsageError
from posepipe.io.atomic import output_errors
from posepipe.skeleton import COCO17, Skeleton

__all__ = ["frame_files", "read_openpose", "write_openpose"]

_NAME = re.compile(r"(?P<video>.*?)_?(?P<frame>\d+)_keypoints$")


def frame_files(folder: Path) -> list[Path]:
    """The files of a folder, then those of its folders (one a video), each in order of their names; not hidden ones."""
    found = sorted(folder.glob("*_keypoints.json")) + sorted(folder.glob("*/*_keypoints.json"))
    return [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def read_openpose(path: Path, pictures: Mapping[str, str] | None = None) -> KeypointSet:
    """Read the people of every frame; frames with nobody are images without people, and people without joints nobody.

    Boxes are the extent of the joints with a margin of an eighth on each side, as OpenPose has none.

    A number at the end of a name is that of a frame; the video is the file's folder, or else what stands before the
    number, or else the folder that is read. A name of nothing but a number is a still picture where there is a picture
    of that name.

    Parameters
    ----------
    path
        A folder of per-frame files, a folder of such folders, or one file.
    pictures
        Names of the pictures that are at hand, by the name without suffix: images are called as these are.

    Raises
    ------
    InputError
        There are no such files, one of them cannot be read, or two are of one frame.
    """
    files = [path] if path.is_file() else frame_files(path)
    if not files:
        raise InputError(f"{path} holds no results of OpenPose", expected="VIDEO_000000000000_keypoints.json")
    frames: list[tuple[Path, list[dict[str, Any]]]] = []
    for file in files:
        with label_errors(file, "a result of OpenPose", "a JSON object with people"):
            people = json.loads(file.read_text("utf-8-sig"))["people"]
            # Of a person who has only hands or a face nothing is left.
            frames.append((file, [person for person in people if person["pose_keypoints_2d"]]))
    with label_errors(path, "a set of OpenPose", "BODY_25 or COCO-18 joints"):
        counts = [len(person["pose_keypoints_2d"]) // 3 for _, people in frames for person in people]
        skeleton = openpose_skeleton(counts[0] if counts else len(BODY25))
        rows = Rows(len(skeleton))
        for file, people in frames:
            image = _image_row(rows, file, path, pictures or {})
            for person in people:
                rows.person(image, person["pose_keypoints_2d"], track=_track(person))
        found = rows.build(path.stem, skeleton)
        if len(found.images) < len(files):
            raise ValueError(f"{len(files)} files of {len(found.images)} frames: numbers that stand twice")
        return found


def _image_row(rows: Rows, file: Path, folder: Path, pictures: Mapping[str, str]) -> int:
    name = _NAME.match(file.stem)
    inner = file.parent.name if file.parent != folder and folder.is_dir() else ""
    place = f"{inner}/{file.stem}".lstrip("/").removesuffix("_keypoints")
    video = inner or (name["video"] if name else "")
    if name is None or (place in pictures and not video):
        return rows.image(pictures.get(place, f"{place}.jpg"))
    video, frame = video or folder.stem, int(name["frame"])
    return rows.image(pictures.get(place, f"{video}/{frame:06d}.jpg"), video=video, frame=frame)


def _track(person: dict[str, Any]) -> int:
    given = person.get("person_id", -1)
    return int(given[0] if isinstance(given, list) and given else -1 if isinstance(given, list) else given)


def write_openpose(people: KeypointSet, path: Path) -> None:
    """Write a set of COCO's joints as COCO-18 files of OpenPose, one a frame; the neck is the middle of the shoulders.

    Files lie in a folder a video (of still pictures: the folder that a picture lies in) where the set has several.

    Raises
    ------
    UsageError
        The set has neither COCO's joints nor those of OpenPose, or videos in folders, or two of its images would be one
        file.
    OutputError
        A file cannot be written, or the folder holds files of other frames.
    """
    skeleton = COCO18 if people.skeleton == COCO17 else people.skeleton
    if skeleton not in (COCO18, BODY25):
        raise UsageError(f"OpenPose has no joints like those of {people.name}", got=skeleton.name, expected="COCO-17")
    of_image: dict[int, list[int]] = {}
    for i, image in enumerate(people.image.tolist()):
        of_image.setdefault(image, []).append(i)
    files = _files(people, Path(path))
    refuse_others(path, frame_files(path), files)
    for row, file in enumerate(files):
        bodies = [{"person_id": [int(people.track_id[i])], **_body(people, i, skeleton)} for i in of_image.get(row, [])]
        with output_errors(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps({"version": 1.3, "people": bodies}, allow_nan=False), "utf-8")


def _files(people: KeypointSet, path: Path) -> list[Path]:
    """The file of each image, in a folder that says which video or folder it is of where there are several."""
    plain_videos(people)
    folders = [v or Path(name).parent.name for v, name in zip(people.videos, people.images, strict=True)]
    several = len(set(folders)) > 1
    files = []
    for name, folder, frame in zip(people.images, folders, people.frames.tolist(), strict=True):
        stem = f"{folder}_{frame:012d}" if frame >= 0 else Path(name).stem
        files.append((name, Path(folder if several else "", f"{stem}_keypoints.json")))
    return places(path, files, people.name)


def _body(people: KeypointSet, i: int, skeleton: Skeleton) -> dict[str, list[float]]:
    joints = np.concatenate([people.xy[i], people.score[i][:, None]], 1).astype(float)
    own = {canonical(name): joints[k] for k, name in enumerate(people.skeleton.keypoints)}
    if "neck" not in own:
        shoulders = np.array([own["left_shoulder"], own["right_shoulder"]])
        own["neck"] = shoulders.mean(0) if shoulders[:, 2].all() else np.zeros(3)
        own["neck"][2] = shoulders[:, 2].min()
    found = np.array([own[name] for name in skeleton.keypoints])
    return {"pose_keypoints_2d": [round(float(v), 3) for v in found.ravel()]}
