"""Skeletons of the action sets."""

from __future__ import annotations

from itertools import pairwise

from posepipe.skeleton import Skeleton, named_skeleton

__all__ = ["JHMDB15", "KINECT20", "KINECT25", "OPENPOSE28", "action_skeleton"]


def _both(*parts: str) -> tuple[str, ...]:
    return tuple(f"{side}_{part}" for part in parts for side in ("right", "left"))


def _limbs(*chains: str) -> tuple[tuple[str, str], ...]:
    """Limbs of chains of keypoints; a chain with ``*`` stands for a left and a right one."""
    chains = tuple(c.replace("*", side) for c in chains for side in (("left_", "right_") if "*" in c else ("",)))
    joints = [chain.split() for chain in chains]
    return tuple((a, b) for chain in joints for a, b in pairwise(chain))


#: puppet joints of JHMDB (Jhuang et al. 2013)
JHMDB15 = named_skeleton(
    "jhmdb15",
    ("neck", "belly", "face", *_both("shoulder", "hip", "elbow", "knee", "wrist", "ankle")),
    _limbs("face neck belly", "neck *shoulder *elbow *wrist", "belly *hip *knee *ankle"),
)

_ARM, _LEG = ("shoulder", "elbow", "wrist", "hand"), ("hip", "knee", "ankle", "foot")


def _kinect(side: str, parts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{side}_{part}" for part in parts)


_KINECT_LIMBS = ("neck *shoulder *elbow *wrist *hand", "mid_hip *hip *knee *ankle *foot")

#: Kinect v1, as UTKinect-Action3D has it
KINECT20 = named_skeleton(
    "kinect20",
    (
        *("mid_hip", "spine", "neck", "head"),
        *_kinect("left", _ARM),
        *_kinect("right", _ARM),
        *_kinect("left", _LEG),
        *_kinect("right", _LEG),
    ),
    _limbs("head neck spine mid_hip", *_KINECT_LIMBS),
)

#: Kinect v2, as NTU RGB+D has it
KINECT25 = named_skeleton(
    "kinect25",
    (
        *("mid_hip", "spine", "neck", "head"),
        *_kinect("left", _ARM),
        *_kinect("right", _ARM),
        *_kinect("left", _LEG),
        *_kinect("right", _LEG),
        "chest",
        *("left_hand_tip", "left_thumb", "right_hand_tip", "right_thumb"),
    ),
    _limbs("head neck chest spine mid_hip", *_KINECT_LIMBS, "*hand *hand_tip", "*hand *thumb"),
)

_BODY = (
    *("nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist"),
    *("right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle"),
    *("right_eye", "left_eye", "right_ear", "left_ear"),
)
_TIPS = ("thumb", "index", "middle", "ring", "little")

#: OpenPose's 18 body points, then five points of either hand, as MA-52 comes with. PCAN's settings do not swap those of
#: the hands in the mirror; here they swap like the rest.
OPENPOSE28 = named_skeleton(
    "openpose28",
    (*_BODY, *(f"{side}_{tip}" for side in ("left", "right") for tip in _TIPS)),
    _limbs(
        *("nose neck", "neck *shoulder *elbow *wrist", "neck *hip *knee *ankle", "nose *eye *ear", "*shoulder *hip"),
        *(f"*wrist *{tip}" for tip in _TIPS),
    ),
)


def action_skeleton(name: str) -> Skeleton | None:
    """One of these skeletons by its name; None for another name."""
    return {s.name: s for s in (JHMDB15, KINECT20, KINECT25, OPENPOSE28)}.get(name)
