"""Predictions of mmpose: the JSON files of its inferencer and of its demo scripts, in and out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from posepipe.datasets.labels import KeypointSet, concatenate
from posepipe.datasets.places import numbered_frames, places, plain_videos, refuse_others
from posepipe.datasets.rows import Rows, label_errors, label_json
from posepipe.datasets.skeletons import alphapose_skeleton
from posepipe.errors import InputError, UsageError
from posepipe.io.atomic import atomic_path, output_errors
from posepipe.skeleton import Skeleton, named_skeleton

__all__ = ["read_mmpose", "write_mmpose"]

# How the demo scripts begin the name of a result: results_VIDEO.json.
_PREFIX = "results_"
_EXPECTED = "a list of instances, a list of frames with instances, or an object with instance_info"


def read_mmpose(path: Path) -> KeypointSet:
    """Read predictions: a file of a video (frames with instances), a file of a picture, or a folder of such files.

    Frames count from 0, as the inferencer numbers them. The demo scripts write ``results_VIDEO.json`` and number frames
    from 1: one is taken off, unless a frame 0 is there. Frames with nobody are images without people.

    Raises
    ------
    InputError
        There are no such files, or one of them cannot be read.
    """
    files = [path] if path.is_file() else label_json(path, "*.json")
    sets = []
    for file in files:
        with label_errors(file, "a prediction of mmpose", _EXPECTED):
            sets.append(_read_file(file))
    if not sets:
        raise InputError(f"{path} holds no predictions of mmpose", expected="JSON files")
    skeleton = next((s.skeleton for s in sets if len(s)), sets[0].skeleton)
    with label_errors(path, "a set of mmpose", "files of one skeleton"):
        return concatenate([s if len(s) else _of_nobody(s, skeleton) for s in sets], path.stem)


def _of_nobody(people: KeypointSet, skeleton: Skeleton) -> KeypointSet:
    """A set without people, of which the file does not tell the skeleton, as one of another skeleton."""
    rows = Rows(len(skeleton))
    for image, video, frame in zip(people.images, people.videos, people.frames.tolist(), strict=True):
        rows.image(image, video=video, frame=frame)
    return rows.build(people.name, skeleton)


def _read_file(path: Path) -> KeypointSet:
    data = json.loads(path.read_text("utf-8-sig"))
    of_demo = isinstance(data, dict)
    frames = data["instance_info"] if of_demo else data
    names = data.get("meta_info", {}).get("keypoint_id2name") if of_demo else None
    origin = path.stem.removeprefix(_PREFIX) if of_demo else path.stem
    still = not frames or "instances" not in frames[0]  # videos have frames, if only such of nobody
    groups = [(-1, frames)] if still else [(int(f["frame_id"]), f["instances"]) for f in frames]
    if of_demo and not still and all(frame for frame, _ in groups):
        groups = [(frame - 1, people) for frame, people in groups]
    count = next((len(person["keypoints"]) for _, people in groups for person in people), 17)
    skeleton = _skeleton(count, names)
    rows = Rows(count)
    for frame, people in groups:
        name = f"{origin}.jpg" if still else f"{origin}/{frame:06d}.jpg"
        image = rows.image(name, video="" if still else origin, frame=frame)
        for person in people:
            joints = np.array(person["keypoints"], np.float64).reshape(count, -1)[:, :2]
            scores = np.array(person.get("keypoint_scores", np.ones(count)), np.float64)
            box = np.array(person["bbox"], np.float64).reshape(-1) if "bbox" in person else None
            score = float(np.array(person.get("bbox_score", 1.0)).reshape(-1)[0])
            track = int(person.get("track_id", person.get("instance_id", -1)))
            rows.person(image, np.column_stack([joints, scores]), box, score=score, track=track)
    return rows.build(origin, skeleton)


def _skeleton(count: int, names: dict[str, str] | None) -> Skeleton:
    if names and len(names) == count:
        return named_skeleton("mmpose", tuple(str(names[str(i)]) for i in range(count)))
    return alphapose_skeleton(count)


def write_mmpose(people: KeypointSet, path: Path) -> None:
    """Write a set in the form of mmpose's demo scripts: a JSON file of one video, or a folder, one file a video.

    A set of still pictures has one file a picture. A file has no place for the video's name: it is read as the video
    that its own name says.

    Raises
    ------
    UsageError
        The set mixes pictures and videos, has frames without a number of their own, pictures or videos in folders, or
        two pictures whose names differ in the suffix only.
    OutputError
        A file cannot be written, or the folder holds other files.
    """
    path = Path(path)
    videos = people.video_names()
    if videos and "" in people.videos:
        raise UsageError(f"set {people.name!r} mixes still pictures and videos", hint="Write them as COCO")
    numbered_frames(people)
    nested = next((name for name in people.images if not videos and len(Path(name).parts) > 1), None)
    if nested:
        # Results of mmpose lie side by side, and so they are read.
        raise UsageError(f"set {people.name!r} has pictures in folders", got=nested, hint="Write them as COCO")
    plain_videos(people)
    groups: dict[str, list[int]] = {}
    for row, video in enumerate(people.videos):
        groups.setdefault(video or people.images[row], []).append(row)
    of_image: dict[int, list[int]] = {}
    for i, image in enumerate(people.image.tolist()):
        of_image.setdefault(image, []).append(i)
    if len(groups) == 1 and path.suffix == ".json":
        files = [path]
    else:
        # Reading takes the prefix off once.
        stems = [_PREFIX + n if n.startswith(_PREFIX) else n for n in videos] or [Path(n).stem for n in groups]
        named = ((name, Path(f"{stem}.json")) for name, stem in zip(groups, stems, strict=True))
        files = places(path, named, people.name)
        refuse_others(path, label_json(path, "*.json"), files)
    names = {str(i): name for i, name in enumerate(people.skeleton.keypoints)}
    for file, rows in zip(files, groups.values(), strict=True):
        frames = [_frame(people, row, of_image.get(row, [])) for row in rows]
        content: Any = {"meta_info": {"keypoint_id2name": names}, "instance_info": frames}
        if not videos:
            content = frames[0]["instances"]
        with output_errors(file):
            file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(file) as unfinished:
            unfinished.write_text(json.dumps(content, allow_nan=False), "utf-8")


def _frame(people: KeypointSet, row: int, members: list[int]) -> dict[str, Any]:
    return {"frame_id": int(people.frames[row]) + 1, "instances": [_instance(people, i) for i in members]}


def _instance(people: KeypointSet, i: int) -> dict[str, Any]:
    person: dict[str, Any] = {
        "keypoints": np.round(people.xy[i].astype(float), 3).tolist(),
        "keypoint_scores": np.round(people.score[i].astype(float), 4).tolist(),
        "bbox": [np.round(people.boxes[i].astype(float), 3).tolist()],
        "bbox_score": round(float(people.person_score[i]), 4),
    }
    return person | ({"track_id": int(people.track_id[i])} if people.track_id[i] >= 0 else {})
