"""A set of clips in one file of numbers and text: what readers of other forms give, ready to be carried elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import numpy as np

from posepipe.datasets.actions import ActionClasses, ActionSample, ActionSet
from posepipe.datasets.rows import label_errors
from posepipe.io.atomic import atomic_path
from posepipe.io.schema import skeleton_from_json, skeleton_to_json

__all__ = ["read_action_npz", "write_action_npz"]

_SCHEMA, _VERSION = "posepipe.actions", 1
_TEXT = ("name", "part", "subject", "camera", "setup", "trial", "video")


def write_action_npz(path: Path, clips: ActionSet) -> None:
    """Write a set; the file appears whole or not at all. Raises `OutputError` where it cannot be written.

    Keypoints of all clips follow one another: ``shape`` (S,2) people and frames of each, ``xy`` (sum of P T, K, 2 or 3)
    float32, ``score`` (sum of P T, K) float32, ``frames`` (sum of T) int64, ``label`` (S,), ``size`` (S,2), and the
    texts ``name``, ``part``, ``subject``, ``camera``, ``setup``, ``trial``, ``video``. ``about`` is JSON: classes and
    skeleton.
    """
    classes = clips.classes
    about = {
        "schema": _SCHEMA,
        "version": _VERSION,
        "name": clips.name,
        "skeleton": skeleton_to_json(clips.skeleton),
        "labels": classes.names,
        "coarse_labels": classes.coarse,
        "coarse_of": classes.coarse_of,
    }
    joints, axes = len(clips.skeleton), clips.samples[0].xy.shape[3] if clips.samples else 2
    text = {name: np.array([str(getattr(s, name) or "") for s in clips.samples], np.str_) for name in _TEXT}
    empty = np.zeros((0, joints, axes), np.float32)
    with atomic_path(path) as unfinished, unfinished.open("wb") as file:
        np.savez_compressed(
            file,
            about=np.array(json.dumps(about)),
            shape=np.array([s.score.shape[:2] for s in clips.samples], np.int64).reshape(-1, 2),
            xy=np.concatenate([empty, *(s.xy.reshape(-1, joints, axes) for s in clips.samples)]),
            score=np.concatenate([empty[..., 0], *(s.score.reshape(-1, joints) for s in clips.samples)]),
            frames=np.concatenate([np.zeros(0, np.int64), *(s.frames for s in clips.samples)]),
            label=clips.labels,
            size=np.array([s.size for s in clips.samples], np.int64).reshape(-1, 2),
            **cast("dict[str, Any]", text),
        )


def read_action_npz(path: Path) -> ActionSet:
    """Read what `write_action_npz` wrote; nothing in it is ever run. Raises `InputError` for anything else."""
    with label_errors(path, "a set of clips", "a file of write_action_npz"), np.load(path, allow_pickle=False) as data:
        about = json.loads(str(data["about"][()]))
        if about.get("schema") != _SCHEMA or about.get("version") != _VERSION:
            raise ValueError("it holds no clips of a version that is known here")
        classes = ActionClasses(tuple(about["labels"]), tuple(about["coarse_labels"]), tuple(about["coarse_of"]))
        shape, label, size = data["shape"], data["label"], data["size"]
        text = {name: [str(value) for value in data[name]] for name in _TEXT}
        rows, starts = np.cumsum([0, *shape.prod(1)]), np.cumsum([0, *shape[:, 1]])
        xy, score, frames = data["xy"], data["score"], data["frames"]
        if rows[-1] != len(xy) or len(score) != len(xy) or starts[-1] != len(frames):
            raise ValueError("its columns differ in length")
        samples = []
        for i, (people, length) in enumerate(shape.tolist()):
            part = slice(rows[i], rows[i + 1])
            samples.append(
                ActionSample(
                    label=int(label[i]),
                    xy=xy[part].reshape(people, length, *xy.shape[1:]),
                    score=score[part].reshape(people, length, score.shape[1]),
                    frames=frames[starts[i] : starts[i + 1]],
                    video=Path(text["video"][i]) if text["video"][i] else None,
                    size=(int(size[i, 0]), int(size[i, 1])),
                    **{name: text[name][i] for name in _TEXT if name != "video"},
                )
            )
        return ActionSet(str(about["name"]), skeleton_from_json(about["skeleton"]), classes, tuple(samples))
