"""Results of AlphaPose as labels: a file, or a folder with one file a video beside its videos or frames.

Such files hold confidences where COCO holds visibility, boxes as x, y, w, h (under ``box`` or ``bbox``), base names of
images, person scores up to 3.25 (mean joint + box + 1.25 x best joint), no frames without people, and, from runs with
``--pose_track``, people twice in a frame.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from posepipe.datasets.coco import refuse_guesses
from posepipe.datasets.duplicates import duplicate_people
from posepipe.datasets.findings import Code, Findings
from posepipe.datasets.labels import KeypointSet, concatenate
from posepipe.datasets.places import places, plain_videos, refuse_others, refuse_two
from posepipe.datasets.rows import Rows, label_json
from posepipe.datasets.skeletons import alphapose_skeleton
from posepipe.errors import InputError, UsageError
from posepipe.io.atomic import atomic_path, output_errors
from posepipe.io.pictures import is_picture

__all__ = ["OWN_PLACES", "label_files", "load_alphapose", "read_alphapose", "write_alphapose"]

_RESULT = "alphapose-results.json"
#: where the results of a folder of videos lie, in order of preference; other JSON files there are none
OWN_PLACES = ("labels/*.json", f"*/{_RESULT}")
# Where AlphaPose's forms "cmu" and "open" keep the people of an image, and a person's joints (COCO-18, with a neck).
_FORMS = (("bodies", "joints"), ("people", "pose_keypoints_2d"))


def read_alphapose(
    path: Path, *, frames: Path | None = None, first_frame: int = 0, keep_duplicates: bool = False
) -> KeypointSet:
    """Read AlphaPose results: every joint with a confidence above 0 is labelled (see `threshold_labels`).

    Parameters
    ----------
    path
        A result file (``VIDEO.json`` or ``VIDEO/alphapose-results.json``: a video, or still pictures), or a folder:
        ``labels/VIDEO.json``, ``VIDEO/alphapose-results.json`` or ``VIDEO.json``.
    frames
        Folder of the frames, one folder a video; ``frames`` beside the labels where None and there.
    first_frame
        Number in an image's name that stands for the first frame of a video (AlphaPose: 0; FFmpeg's frames: 1).
    keep_duplicates
        Whether people who stand twice in a frame (OKS above 0.9) stay; else the higher score stays.

    Raises
    ------
    InputError
        There are no such files, or one of them cannot be read, or holds coordinates that are not finite.
    UsageError
        A frame has a number below `first_frame`.
    """
    people, findings = load_alphapose(path, frames=frames, first_frame=first_frame, keep_duplicates=keep_duplicates)
    unreadable = findings.of(Code.UNREADABLE_LABELS)
    if unreadable.count:
        raise InputError(f"{path}: {unreadable.line()}", hint="Mend or remove the files that are named")
    refuse_guesses(path, findings)
    return people


def load_alphapose(
    path: Path, *, frames: Path | None = None, first_frame: int = 0, keep_duplicates: bool = False
) -> tuple[KeypointSet, Findings]:
    """As :func:`read_alphapose`, leaving out files that cannot be read, and what was found.

    Raises
    ------
    InputError
        There are no such files, or none of them can be read.
    UsageError
        A frame has a number below `first_frame`.
    """
    path, findings = Path(path), Findings()
    files = label_files(path)
    folder = frames or _frames_folder(path)
    sets = []
    for video, file in files.items():
        try:
            sets.append(_read_file(file, video, folder, first_frame, findings, alone=path.is_file()))
        except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            findings.add(Code.UNREADABLE_LABELS, f"{file}: {error!r}"[:200], total=len(files))
    sets = _of_one_skeleton(sets, findings)
    if not sets:
        first = "; ".join(findings.of(Code.UNREADABLE_LABELS).examples[:1])
        raise InputError(f"{path} holds no AlphaPose results that can be read: {first}", hint="Name a result file")
    whole = concatenate(sets, path.stem, folder)
    twice = duplicate_people(whole)
    if len(twice) and not keep_duplicates:
        findings.add_all(Code.REPEATED_ROWS, (whole.images[whole.image[i]] for i in twice), total=len(whole))
        whole = whole.select(np.setdiff1d(np.arange(len(whole)), twice))
    return whole, findings


def _of_one_skeleton(sets: list[KeypointSet], findings: Findings) -> list[KeypointSet]:
    """Sets of the skeleton that the first file with people has; files of nobody fit any."""
    skeleton = next((s.skeleton for s in sets if len(s)), None)
    for other in sets:
        if len(other) and other.skeleton != skeleton:
            findings.add(Code.UNREADABLE_LABELS, f"{other.name}: joints of {other.skeleton.name}", total=len(sets))
    return [s for s in sets if s.skeleton == skeleton] if skeleton else sets


def label_files(path: Path) -> dict[str, Path]:
    """The label files by the name of their video, in order of the names.

    A single file is called by its stem, or, where that is AlphaPose's own, by its folder.
    Files that lie loosely in a folder are taken only where `OWN_PLACES` holds none.

    Raises
    ------
    InputError
        Nothing of that kind lies there.
    """
    path = Path(path)
    if path.is_file():
        return {path.absolute().parent.name if path.name == _RESULT else path.stem: path}
    files = {f.stem: f for f in label_json(path, OWN_PLACES[0])}
    files = files or {f.parent.name: f for f in label_json(path, OWN_PLACES[1])}
    files = files or {f.stem: f for f in label_json(path, "*.json")}
    if not files:
        raise InputError(
            f"{path} holds no AlphaPose results",
            expected=f"labels/VIDEO.json, VIDEO/{_RESULT}, VIDEO.json or one file",
            hint="Check the path",
        )
    return dict(sorted(files.items()))


def _frames_folder(path: Path) -> Path | None:
    base = path if path.is_dir() else path.parent
    found = next((base / name for name in ("frames", "images") if (base / name).is_dir()), None)
    return found or (base if path.is_file() and any(is_picture(p) for p in base.iterdir()) else None)


def _read_file(
    path: Path, video: str, frames: Path | None, first_frame: int, findings: Findings, *, alone: bool
) -> KeypointSet:
    people = list(_people(json.loads(path.read_text("utf-8-sig"))))
    joints = len(people[0]["keypoints"]) // 3 if people else 17
    rows = Rows(joints, lenient=True)
    numbered = any(_track(person) > 0 for person in people)
    ids = dict.fromkeys(str(person["image_id"]) for person in people)
    places = _images(tuple(ids), video, frames, first_frame, alone=alone)
    damaged = []
    for person in people:
        box = person.get("box", person.get("bbox"))
        if box is not None:
            x, y, width, height = (float(v) for v in box)
            box = [x, y, x + width, y + height]
        image, of_video, frame = places[str(person["image_id"])]
        rows.person(
            rows.image(image, video=of_video, frame=frame),
            person["keypoints"],
            box,
            score=float(person.get("score", 1)),
            # All ids are 0 where nothing was tracked.
            track=_track(person) if numbered else -1,
        )
        with np.errstate(over="ignore"):  # what is too large for float32 is not finite
            if not np.isfinite(np.asarray(person["keypoints"], np.float32)).all():
                damaged.append(image)
    found = rows.build(video, alphapose_skeleton(joints, with_neck=bool(people) and "form" in people[0]))
    findings.add_all(Code.NOT_FINITE, damaged)
    return found


def _images(
    ids: tuple[str, ...], video: str, frames: Path | None, first_frame: int, *, alone: bool
) -> dict[str, tuple[str, str, int]]:
    """Image, video and frame of each ``image_id`` of a file; ``alone``: the file was named, and may hold stills."""
    stems = {name: Path(name).stem for name in ids}
    numbers = {name: int(n.group()) if (n := re.search(r"\d+$", stem)) else -1 for name, stem in stems.items()}
    pictures = _stems(frames / video, f"{video}/") if frames else {}
    if not pictures and alone:
        pictures = _stems(frames) if frames else {}
        at_hand = not pictures.keys().isdisjoint(stems.values())
        if not first_frame and (at_hand or _are_stills(stems, numbers)):
            video, numbers = "", dict.fromkeys(ids, -1)
    places: dict[str, tuple[str, str, int]] = {}
    taken: dict[object, str] = {}
    for name, stem in stems.items():
        if 0 <= numbers[name] < first_frame:
            what = f"frame {numbers[name]} stands in the labels of {video}, which contradicts"
            raise UsageError(f"{what} --first-frame {first_frame}", hint="Give the number of the first frame")
        frame = max(numbers[name] - first_frame, -1)
        image = f"{frame:06d}.jpg" if frame >= 0 else Path(name).name
        places[name] = (pictures.get(stem) or (f"{video}/{image}" if video else image), video, frame)
        other = taken.setdefault(frame if frame >= 0 else places[name][0], name)
        if other != name:
            raise ValueError(f"{other} and {name} would both be {places[name][0]}")
    return places


def _stems(folder: Path, prefix: str = "") -> dict[str, str]:
    """The pictures of a folder by their name without suffix; none where there is no such folder."""
    found = folder.iterdir() if folder.is_dir() else ()
    return {path.stem: f"{prefix}{path.name}" for path in found if is_picture(path)}


def _are_stills(stems: dict[str, str], numbers: dict[str, int]) -> bool:
    """Whether a file's images are no frames: without number, with one that stands twice, or called like COCO's."""
    frames = {number for number in numbers.values() if number >= 0}
    return len(frames) < len(stems) or any(re.fullmatch(r"\d{12}", stem) for stem in stems.values())


def _people(data: Any) -> Iterator[dict[str, Any]]:
    """Every person of a result file in the list form, whatever form it has."""
    if isinstance(data, list):
        yield from data
        return
    for image, content in data.items():
        for people, joints in _FORMS:
            for person in content.get(people, ()):
                yield {"image_id": image, "keypoints": person[joints], "form": people}


def _track(person: dict[str, Any]) -> int:
    """The id, or -1; AlphaPose writes that of merged people as a list, of which the first is the one that stayed."""
    index = person.get("idx")
    while isinstance(index, list):
        index = index[0] if index else None
    return -1 if index is None else int(index)


def write_alphapose(people: KeypointSet, path: Path) -> None:
    """Write a set as AlphaPose results in the list form: a file for still pictures, else a folder, one file a video.

    Boxes without a labelled keypoint are left out, as AlphaPose has none; still pictures lose their folders.

    Raises
    ------
    UsageError
        The set mixes still pictures and frames of videos, has videos in folders, or two pictures of one base name.
    OutputError
        A file cannot be written, or the folder holds labels of other videos.
    """
    path = Path(path)
    videos = people.video_names()
    if not videos:
        _write_file(people, _image_ids(people), np.flatnonzero(people.labelled > 0).tolist(), path)
        return
    if "" in people.videos:
        raise UsageError(f"set {people.name!r} mixes still pictures and videos", hint="Write them as COCO")
    plain_videos(people)
    ids = _image_ids(people)
    files = places(path, ((video, Path("labels", f"{video}.json")) for video in videos), people.name)
    refuse_others(path, label_json(path, OWN_PLACES[0]), files)
    of_video = np.array(people.videos)[people.image]
    for video, file in zip(videos, files, strict=True):
        rows = np.flatnonzero((of_video == video) & (people.labelled > 0)).tolist()
        with output_errors(file):
            file.parent.mkdir(parents=True, exist_ok=True)
        _write_file(people, ids, rows, file)


def _image_ids(people: KeypointSet) -> list[str]:
    """What a result file calls each image: its number in the video, or its base name; no two the same."""
    ids: dict[tuple[str, str], str] = {}
    for image, video, frame in zip(people.images, people.videos, people.frames.tolist(), strict=True):
        name = f"{frame}.jpg" if video and frame >= 0 else Path(image).name
        refuse_two(ids, (video, name), image, people.name, f"the image {name}")
    return [name for _, name in ids]


def _write_file(people: KeypointSet, ids: list[str], rows: list[int], path: Path) -> None:
    tracks = people.track_id[rows]
    # Readers take a file whose ids are all 0 for one in which nothing was tracked.
    first = int((tracks == 0).any() and (tracks <= 0).all())
    with atomic_path(path) as unfinished:
        unfinished.write_text(
            json.dumps([_row(people, i, ids[people.image[i]], first) for i in rows], allow_nan=False), "utf-8"
        )


def _row(people: KeypointSet, i: int, image: str, first: int) -> dict[str, Any]:
    x1, y1, x2, y2 = people.boxes[i].astype(float)
    joints = np.concatenate([people.xy[i], people.score[i][:, None]], 1)
    row: dict[str, Any] = {
        "image_id": image,
        "category_id": 1,
        "keypoints": [round(float(v), 3) for v in joints.ravel()],
        "score": round(float(people.person_score[i]), 4),
        "box": [round(v, 3) for v in (x1, y1, x2 - x1, y2 - y1)],
    }
    return row | ({"idx": int(people.track_id[i]) + first} if people.track_id[i] >= 0 else {})
