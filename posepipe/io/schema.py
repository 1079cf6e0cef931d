"""One frame's result as one line of JSON and back, without loss.

Coordinates are written to 0.01 px and scores to 0.001. A ``float32`` that was read from such a text is written as the
same text again, so reading and writing a file gives the same bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posepipe.skeleton import COCO17, Skeleton
from posepipe.types import Action, FrameResult, Poses, Refinement, Tracks

__all__ = [
    "SCHEMA",
    "SCORE_DECIMALS",
    "VERSION",
    "XY_DECIMALS",
    "dump",
    "frame_from_json",
    "frame_to_json",
    "parse",
    "rounded",
    "skeleton_from_json",
    "skeleton_to_json",
]

SCHEMA = "posepipe.records"
VERSION = 1

#: The resolution of records: 0.01 px, 0.001 of a score.
XY_DECIMALS = 2
SCORE_DECIMALS = 3


def dump(value: dict[str, Any]) -> str:
    """Compact JSON of one line. Raises ``ValueError`` for NaN and infinity, which JSON does not have."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def parse(line: str) -> dict[str, Any]:
    """The object that a line holds. Raises ``ValueError`` with the reason where it does not hold one."""
    try:
        value = json.loads(line, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError(f"a line is a JSON object, got {type(value).__name__}")
    return value


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


def skeleton_to_json(skeleton: Skeleton) -> dict[str, Any]:
    """All that makes a skeleton, as JSON values."""
    return {
        "name": skeleton.name,
        "keypoints": list(skeleton.keypoints),
        "edges": [list(edge) for edge in skeleton.edges],
        "pairs": [list(pair) for pair in skeleton.pairs],
        "sigmas": list(skeleton.sigmas),
    }


def skeleton_from_json(value: Any) -> Skeleton:
    """The skeleton that :func:`skeleton_to_json` wrote. Raises ``ValueError`` for anything else."""
    try:
        skeleton = Skeleton(
            name=_text(value["name"]),
            keypoints=tuple(_text(name) for name in value["keypoints"]),
            edges=tuple((_text(a), _text(b)) for a, b in value["edges"]),
            pairs=tuple((_text(a), _text(b)) for a, b in value["pairs"]),
            sigmas=tuple(float(s) for s in value["sigmas"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"the skeleton lacks a field or has one of the wrong type: {error}") from error
    return COCO17 if skeleton == COCO17 else skeleton


def frame_to_json(result: FrameResult) -> dict[str, Any]:
    """A frame's line, without ``type`` checks of its own: every :class:`FrameResult` can be written."""
    tracks, poses = result.tracks, result.tracks.poses
    keypoints = np.concatenate(
        [rounded(poses.xy, XY_DECIMALS), rounded(poses.score, SCORE_DECIMALS)[..., None]], axis=-1
    ).tolist()
    columns = zip(
        tracks.track_id.tolist(),
        tracks.confirmed.tolist(),
        tracks.age.tolist(),
        rounded(poses.boxes, XY_DECIMALS).tolist(),
        rounded(tracks.boxes, XY_DECIMALS).tolist(),
        rounded(poses.box_score, SCORE_DECIMALS).tolist(),
        keypoints,
        strict=True,
    )
    names = ("id", "confirmed", "age", "box", "track_box", "score", "keypoints")
    line: dict[str, Any] = {"type": "frame", "frame": result.frame_index, "pts": result.pts}
    line["people"] = [dict(zip(names, person, strict=True)) for person in columns]
    if tracks.refinement is not None:
        for person, more in zip(line["people"], _refinement_to_json(tracks.refinement), strict=True):
            person.update(more)
    if result.actions:
        line["actions"] = [_action_to_json(action) for action in result.actions]
    if result.skipped:
        line["skipped"] = True
    if result.cut:
        line["cut"] = True
    return line


def frame_from_json(line: dict[str, Any], skeleton: Skeleton) -> FrameResult:
    """The frame that a line holds. Raises ``ValueError`` with the reason where it does not hold one."""
    people = _get(line, "people", list)
    if not all(isinstance(person, dict) for person in people):
        raise ValueError("'people' holds something that is not an object")
    count, joints = len(people), len(skeleton)
    keypoints = _numbers(people, "keypoints", (count, joints, 3))
    poses = Poses(
        xy=keypoints[..., :2].astype(np.float32),
        score=keypoints[..., 2].astype(np.float32),
        boxes=_numbers(people, "box", (count, 4)).astype(np.float32),
        box_score=_numbers(people, "score", (count,)).astype(np.float32),
        skeleton=skeleton,
    )
    tracks = Tracks(
        poses=poses,
        boxes=_numbers(people, "track_box", (count, 4)).astype(np.float32),
        track_id=np.array([_get(p, "id", int) for p in people], np.int64),
        confirmed=np.array([_get(p, "confirmed", bool) for p in people], bool),
        age=np.array([_get(p, "age", int) for p in people], np.int32),
        refinement=_refinement_from_json(people) if any("raw_id" in person for person in people) else None,
    )
    actions = tuple(_action_from_json(a) for a in (_get(line, "actions", list) if "actions" in line else ()))
    skipped = _get(line, "skipped", bool) if "skipped" in line else False
    cut = _get(line, "cut", bool) if "cut" in line else False
    return FrameResult(_get(line, "frame", int), _real(line, "pts"), tracks, actions, skipped, cut)


def rounded(values: NDArray[np.float32], decimals: int) -> NDArray[np.float64]:
    """Values at the resolution of records; -0.0 becomes 0.0, as it will be read back."""
    return np.asarray(np.round(values.astype(np.float64), decimals) + 0.0)


def _numbers(people: list[dict[str, Any]], key: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """A field of all people as one array; numbers only, since numpy would turn texts into numbers unasked."""
    try:
        values = np.array([person[key] for person in people])
    except KeyError as error:
        raise ValueError(f"a person has no {key!r}") from error
    except ValueError as error:
        raise ValueError(f"a person's {key!r} is not of shape {shape[1:]}") from error
    if not people:
        return np.zeros(shape)
    if values.shape != shape:
        raise ValueError(f"a person's {key!r} has shape {values.shape[1:]}, expected {shape[1:]}")
    if values.dtype.kind not in "if":
        raise ValueError(f"a person's {key!r} holds something that is not a number")
    if not (np.abs(values) < np.finfo(np.float32).max).all():
        raise ValueError(f"a person's {key!r} holds a number that is too large")
    return values.astype(np.float64)


def _get(owner: dict[str, Any], key: str, kind: type) -> Any:
    value: Any = owner.get(key)
    if type(value) is not kind:
        raise ValueError(f"{key!r} is {type(value).__name__ if key in owner else 'missing'}, expected {kind.__name__}")
    if isinstance(value, int) and not -(2**31) <= value < 2**31:
        raise ValueError(f"{key!r} is out of range: {value}")
    return value


def _real(owner: dict[str, Any], key: str) -> float:
    value: Any = owner.get(key)
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"{key!r} is not a finite number")
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a text, got {type(value).__name__}")
    return value


def _refinement_to_json(refinement: Refinement) -> Iterator[dict[str, Any]]:
    columns = (
        refinement.raw_id.tolist(),
        refinement.raw_confirmed.tolist(),
        rounded(refinement.id_confidence, SCORE_DECIMALS).tolist(),
        refinement.seen.tolist(),
    )
    for row in zip(*columns, strict=True):
        yield dict(zip(("raw_id", "raw_confirmed", "id_confidence", "seen"), row, strict=True))


def _refinement_from_json(people: list[dict[str, Any]]) -> Refinement:
    return Refinement(
        raw_id=np.array([_get(p, "raw_id", int) for p in people], np.int64),
        raw_confirmed=np.array([_get(p, "raw_confirmed", bool) for p in people], bool),
        id_confidence=_numbers(people, "id_confidence", (len(people),)).astype(np.float32),
        seen=np.array([_get(p, "seen", bool) for p in people], bool),
    )


def _action_to_json(action: Action) -> dict[str, Any]:
    return {
        "id": action.track_id,
        "label": action.label,
        "label_id": action.label_id,
        "probs": rounded(action.probs, SCORE_DECIMALS).tolist(),
        "start": action.start,
        "end": action.end,
        "start_s": action.start_s,
        "end_s": action.end_s,
    }


def _action_from_json(value: Any) -> Action:
    if not isinstance(value, dict):
        raise ValueError("'actions' holds something that is not an object")
    probs = _get(value, "probs", list)
    return Action(
        track_id=_get(value, "id", int),
        label=_get(value, "label", str),
        label_id=_get(value, "label_id", int),
        probs=_numbers([value], "probs", (1, len(probs)))[0].astype(np.float32),
        start=_get(value, "start", int),
        end=_get(value, "end", int),
        start_s=_real(value, "start_s"),
        end_s=_real(value, "end_s"),
    )
