"""Skeleton sets as mmaction2 and pyskl share them (one pickle), and MA-52, which comes so too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from posepipe.datasets.action_classes import MA52, NTU60, NTU120
from posepipe.datasets.action_skeletons import KINECT25, OPENPOSE28
from posepipe.datasets.actions import ActionClasses, ActionSample, ActionSet
from posepipe.datasets.plain_pickle import read_plain_pickle
from posepipe.datasets.rows import label_errors
from posepipe.errors import InputError, UsageError
from posepipe.skeleton import COCO17, Skeleton

__all__ = ["read_action_pickle", "read_ma52"]

_FORM = "a skeleton set of mmaction2 or pyskl"
_WANTED = "split and annotations, or a list of annotations, with frame_dir, label, keypoint and keypoint_score"
_SKELETONS = {17: COCO17, 25: KINECT25, 28: OPENPOSE28}
_MA52_PARTS = ("train", "val", "test")
_VIDEO_ENDINGS = ("", ".mp4", ".avi", "_rgb.avi")


def read_action_pickle(
    path: Path,
    protocol: str = "",
    classes: ActionClasses | None = None,
    skeleton: Skeleton | None = None,
    videos: Path | None = None,
) -> ActionSet:
    """Read a pickle, of which nothing is ever run.

    Parameters
    ----------
    path
        The file: a dictionary with ``split`` (lists of names by part) and ``annotations``, or the annotations alone. An
        annotation has ``frame_dir`` (the name), ``label``, ``keypoint`` (P,T,K,2 or 3), ``keypoint_score`` (P,T,K;
        absent: every point is there that is not 0) and perhaps ``img_shape`` (height, width).
    protocol
        Parts to take: ``xsub`` takes ``xsub_train`` as train and ``xsub_val`` as test, ``1`` takes ``train1`` and
        ``test1``; empty for the only one. Without a split the part of every clip is empty.
    classes
        What labels count; None: NTU's 60 or 120 where the name of the file says so, else numbers.
    skeleton
        Of the keypoints; None: by their number, 17 (COCO), 25 (Kinect v2) or 28 (OpenPose with hands).
    videos
        Folder of the videos, by name of the clip.

    Raises
    ------
    InputError
        The file is refused or is something else.
    UsageError
        It has no such protocol.
    """
    content = read_plain_pickle(path)
    with label_errors(path, _FORM, _WANTED):
        rows = content["annotations"] if isinstance(content, dict) else content
        parts = _parts(content.get("split", {}) if isinstance(content, dict) else {}, protocol, path)
        joints = int(np.asarray(rows[0]["keypoint"]).shape[2])
        if skeleton is None and joints not in _SKELETONS:
            raise ValueError(f"no skeleton of {joints} keypoints is known")
        known = classes or _classes(path, max(int(row["label"]) for row in rows) + 1)
        taken = [row for row in rows if not parts or str(row["frame_dir"]) in parts]
        samples = tuple(_sample(row, parts.get(str(row["frame_dir"]), ""), videos) for row in taken)
        return ActionSet(path.stem, skeleton or _SKELETONS[joints], known, samples)


def read_ma52(folder: Path, videos: Path | None = None) -> ActionSet:
    """Read MA-52: ``MA-52_openpose_28kp/MA52_{train,val,test}.pkl``, videos in ``raw_videos``.

    Parts that are not there are left out, but for ``train``. Raises `InputError` as `read_action_pickle`.
    """
    videos = videos or folder / "raw_videos"
    samples: list[ActionSample] = []
    for part in _MA52_PARTS:
        path = folder / "MA-52_openpose_28kp" / f"MA52_{part}.pkl"
        if part == "train" or path.is_file():
            found = read_action_pickle(path, "", MA52, OPENPOSE28, videos)
            samples += [replace(s, name=f"{part}/{s.name}", part=part) for s in found.samples]
    return ActionSet("ma52", OPENPOSE28, MA52, tuple(samples))


def _parts(split: Mapping[str, Any], protocol: str, path: Path) -> dict[str, str]:
    """Part of each clip by name; none without a split."""
    pairs = [(n.removesuffix("_train"), n, n.removesuffix("_train") + "_val") for n in split if n.endswith("_train")]
    pairs += [(n[5:], n, f"test{n[5:]}") for n in split if n.startswith("train") and f"test{n[5:]}" in split]
    pairs += [("", "train", "val")] if "train" in split and "val" in split else []
    known = {name: (train, test) for name, train, test in pairs if test in split}
    if not split:
        return {}
    if protocol not in known and (protocol or len(known) != 1):
        raise UsageError(f"{path} has no protocol {protocol!r}", expected=", ".join(map(repr, known)))
    train, test = known.get(protocol) or next(iter(known.values()))
    parts = {str(name): "train" for name in split[train]} | {str(name): "test" for name in split[test]}
    both = set(map(str, split[train])) & set(map(str, split[test]))
    if both:
        raise InputError(f"clips of {path} are in {train} and in {test}: {', '.join(sorted(both)[:4])}")
    return parts


def _classes(path: Path, count: int) -> ActionClasses:
    for name, classes in (("ntu60", NTU60), ("ntu120", NTU120)):
        if name in path.stem.lower().replace("_", "") and count <= len(classes.names):
            return classes
    return ActionClasses(tuple(f"action {number}" for number in range(count)))


def _sample(row: Mapping[str, Any], part: str, videos: Path | None) -> ActionSample:
    name = str(row["frame_dir"])
    xy = np.nan_to_num(np.asarray(row["keypoint"], np.float32))
    score = np.clip(np.nan_to_num(np.asarray(row.get("keypoint_score", xy.any(-1)), np.float32)), 0, 1)
    height, width = row.get("img_shape") or (0, 0)
    return ActionSample(
        name=name,
        label=int(row["label"]),
        xy=xy,
        score=score.reshape(xy.shape[:3]),
        frames=np.arange(xy.shape[1]),
        video=None if videos is None else _video(videos, name, part),
        size=(int(width), int(height)),
        part=part,
    )


def _video(folder: Path, name: str, part: str) -> Path:
    """The video of a clip, which may lie in a folder of its part and lack its ending in the name."""
    places = [base / f"{name}{end}" for base in (folder, folder / part) for end in _VIDEO_ENDINGS]
    return next((place for place in places if place.is_file()), places[1])
