"""Skeletons of other tools, and how their joints become those of COCO."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from posepipe.datasets.labels import KeypointSet
from posepipe.errors import InputError
from posepipe.skeleton import COCO17, Skeleton, named_skeleton

__all__ = [
    "BODY25",
    "COCO18",
    "HALPE26",
    "alphapose_skeleton",
    "canonical",
    "map_skeleton",
    "openpose_skeleton",
    "with_limbs",
]


def canonical(name: str) -> str:
    """The name that COCO gives a joint: ``LShoulder``, ``shoulder_l``, ``Left Shoulder`` -> ``left_shoulder``.

    A name of a joint that COCO does not have comes back in small letters, with underscores.
    """
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    words = [w for w in re.split(r"[^a-z0-9]+", spaced.lower()) if w]
    sides = {"l": "left", "left": "left", "r": "right", "right": "right"}
    side = [sides[w] for w in words if w in sides]
    rest = [w for w in words if w not in sides]
    joined = "_".join(side[:1] + rest)
    if not side and joined[:1] in "lr" and f"left_{joined[1:]}" in COCO17.keypoints:
        joined = f"{sides[joined[0]]}_{joined[1:]}"
    return joined


def with_limbs(skeleton: Skeleton) -> Skeleton:
    """The skeleton; where it has no limbs, with COCO's limbs between its joints of COCO's names, or usual ones."""
    if skeleton.edges:
        return skeleton
    own = {canonical(name): name for name in skeleton.keypoints}
    edges, pairs = (
        tuple((own[a], own[b]) for a, b in joined if a in own and b in own) for joined in (COCO17.edges, COCO17.pairs)
    )
    return replace(skeleton, edges=edges, pairs=skeleton.pairs or pairs)


_ARM = ("shoulder", "elbow", "wrist")
_LEG = ("hip", "knee", "ankle")


def _side(side: str, parts: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{side}_{part}" for part in parts)


_HEAD = ("right_eye", "left_eye", "right_ear", "left_ear")
_ARMS = ("nose", "neck", *_side("right", _ARM), *_side("left", _ARM))

#: OpenPose's COCO model, and AlphaPose's forms "cmu" and "open"
COCO18 = with_limbs(named_skeleton("coco18", (*_ARMS, *_side("right", _LEG), *_side("left", _LEG), *_HEAD)))

_FOOT = ("big_toe", "small_toe", "heel")
#: OpenPose's BODY_25
BODY25 = with_limbs(
    named_skeleton(
        "body25",
        (
            *_ARMS,
            "mid_hip",
            *_side("right", _LEG),
            *_side("left", _LEG),
            *_HEAD,
            *_side("left", _FOOT),
            *_side("right", _FOOT),
        ),
    )
)

_TOES = tuple(f"{side}_{part}" for part in _FOOT for side in ("left", "right"))
#: AlphaPose's Halpe 26
HALPE26 = with_limbs(named_skeleton("halpe26", (*COCO17.keypoints, "head", "neck", "mid_hip", *_TOES)))


def alphapose_skeleton(joints: int, *, with_neck: bool = False) -> Skeleton:
    """Skeleton of AlphaPose results with ``joints`` keypoints: COCO, Halpe 26, or COCO and further numbered joints."""
    if with_neck and joints == len(COCO18):
        return COCO18
    known = {len(COCO17): COCO17, len(HALPE26): HALPE26}
    if joints in known:
        return known[joints]
    # Halpe 136 and COCO-WholeBody begin with the joints of Halpe 26 and of COCO.
    first = HALPE26 if joints == 136 else COCO17
    if joints < len(first):
        raise ValueError(f"no skeleton of {joints} joints is known")
    numbered = (f"joint_{i}" for i in range(len(first), joints))
    return with_limbs(named_skeleton(f"joints{joints}", (*first.keypoints, *numbered)))


def openpose_skeleton(joints: int) -> Skeleton:
    """Skeleton of OpenPose's results with ``joints`` keypoints; ``ValueError`` for none of its models."""
    for skeleton in (BODY25, COCO18):
        if joints == len(skeleton):
            return skeleton
    raise ValueError(f"OpenPose has no body model of {joints} keypoints: 25 and 18 are known")


def map_skeleton(
    people: KeypointSet, target: Skeleton = COCO17
) -> tuple[KeypointSet, tuple[str, ...], tuple[str, ...]]:
    """The set with the joints of another skeleton, matched by name.

    Returns
    -------
    The set, the names of its joints that the target does not have (their labels are lost), and the names of the
    target's joints that the set does not have (never labelled).

    Raises
    ------
    InputError
        No joint is in both.
    """
    if people.skeleton == target:
        return people, (), ()
    own = [canonical(name) for name in people.skeleton.keypoints]
    wanted = [canonical(name) for name in target.keypoints]
    source = np.array([own.index(name) if name in own else -1 for name in wanted])
    if (source < 0).all():
        raise InputError(
            f"no joint of {people.name} is one of {target.name}",
            got=", ".join(people.skeleton.keypoints[:6]),
            expected=", ".join(target.keypoints[:6]),
            hint="Rename the joints in the label file",
        )
    there = source >= 0
    lost = tuple(n for n, c in zip(people.skeleton.keypoints, own, strict=True) if c not in wanted)
    never = tuple(n for n, t in zip(target.keypoints, there, strict=True) if not t)
    mapped = replace(
        people,
        skeleton=target,
        xy=np.where(there[:, None], people.xy[:, source], 0),
        visibility=np.where(there, people.visibility[:, source], 0),
        score=np.where(there, people.score[:, source], 0),
    )
    return mapped, lost, never
