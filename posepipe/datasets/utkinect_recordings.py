"""UTKinect-Action3D as long recordings: ten people, twice each, ten acts in a row (Xia et al. 2012).

A Kinect's skeletons stand in for what a pose network sees in a video: they are turned, looked at by a camera of chance,
and projected. Only keypoints that COCO has as well are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from posepipe.datasets.action_classes import UTKINECT
from posepipe.datasets.actions_utkinect import read_joints, read_segments
from posepipe.datasets.temporal import Recording
from posepipe.errors import InputError
from posepipe.streams.motion import motion_features

__all__ = ["RATE", "UTKINECT_ACTS", "KinectRecordings", "read_utkinect_recordings"]

UTKINECT_ACTS = UTKINECT.names
#: steps a second
RATE = 15.0
# Numbers of frames count sixtieths of a second: by them people walk 0.7 m/s and take a step in 0.65 s, and a recording
# holds the 15 skeletons a second that its authors tell of.
_NUMBERS_S = 60.0
# Seconds without a skeleton that are bridged.
_MAX_GAP_S = 0.5
# Rows of MOTION_KEYPOINTS among the 20 of a Kinect, left and right in turn.
_ROWS = (4, 8, 5, 9, 6, 10, 12, 16, 13, 17, 14, 18)


@dataclass(frozen=True, eq=False)
class _Skeletons:
    """(T,) places in steps, and (T,12,3) metres: x to the picture's right, y down, z away from the camera."""

    place: NDArray[np.float64]
    joints: NDArray[np.float64]


def read_utkinect_recordings(folder: Path, people: Sequence[int]) -> tuple[list[Recording], KinectRecordings]:
    """The recordings of some people and the source of their data.

    Parameters
    ----------
    folder
        Holds ``actionLabel_modified.txt``, in which seven slips of the authors' ``actionLabel.txt`` are put right, and
        ``joints/joints_sNN_eNN.txt``.
    people
        Their numbers, 1 to 10.

    Raises
    ------
    InputError
        A file is missing or is something else.
    """
    acts = _read_acts(folder / "actionLabel_modified.txt")
    recordings, skeletons = [], []
    for name, segments in acts.items():
        if int(name[1:3]) not in people:
            continue
        seen, first = _read_joints(folder / "joints" / f"joints_{name}.txt")
        spans = (np.array([ends for _, ends in segments], np.float64).reshape(-1, 2) - first) * (RATE / _NUMBERS_S)
        labels = np.array([UTKINECT_ACTS.index(act) for act, _ in segments], np.int64)
        steps = int(seen.place[-1]) + 1
        recordings.append(Recording(name, steps, RATE, spans, labels, steps / RATE))
        skeletons.append(seen)
    if not recordings:
        raise InputError(f"{folder} holds no recordings of the people {list(people)}")
    return recordings, KinectRecordings(skeletons)


def _read_acts(path: Path) -> dict[str, list[tuple[str, tuple[int, int]]]]:
    """Acts of each recording."""
    found: dict[str, list[tuple[str, tuple[int, int]]]] = {}
    for recording, name, start, end in read_segments(path):
        found.setdefault(recording, []).append((name, (start, end)))
    return found


def _read_joints(path: Path) -> tuple[_Skeletons, int]:
    """A recording's skeletons, and the number of its first frame."""
    numbers, joints = read_joints(path)
    # A Kinect's picture is mirrored, and its y goes up.
    place = (numbers - numbers[0]) * (RATE / _NUMBERS_S)
    return _Skeletons(place, joints[:, _ROWS] * (-1.0, -1.0, 1.0)), int(numbers[0])


class KinectRecordings:
    """Motion features of Kinect recordings, seen by the Kinect or by cameras of chance."""

    def __init__(self, skeletons: Sequence[_Skeletons]) -> None:
        self._skeletons = skeletons

    def at(
        self, index: int, places: NDArray[np.float64], rng: np.random.Generator | None
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Features (C,T) and where there was a skeleton; see :class:`~posepipe.datasets.temporal.WindowSource`."""
        known = self._skeletons[index]
        joints, there = _between(known, places)
        seen = np.repeat(there[:, None], joints.shape[1], axis=1)
        if rng is None:
            return motion_features(joints[..., :2] / joints[..., 2:], seen, RATE), there
        xy = _through_a_camera(joints, rng)
        xy, seen = _as_a_network_sees(xy, seen, rng)
        return motion_features(xy, seen, RATE), there


def _between(known: _Skeletons, places: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Joints at places, linear between skeletons that are not too far apart."""
    after = np.searchsorted(known.place, places).clip(1, len(known.place) - 1)
    gap = known.place[after] - known.place[after - 1]
    share = ((places - known.place[after - 1]) / gap).clip(0, 1)[:, None, None]
    joints = known.joints[after - 1] * (1 - share) + known.joints[after] * share
    inside = (places >= known.place[0] - 1) & (places <= known.place[-1] + 1)
    return joints, (gap <= _MAX_GAP_S * RATE) & inside


def _through_a_camera(joints: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """(T,12,2): the recording turned about its middle, seen from elsewhere, perhaps in a mirror."""
    middle = np.median(joints, axis=(0, 1))
    turned = joints - middle
    for axes, most in (((0, 2), 40.0), ((1, 2), 20.0), ((0, 1), 5.0)):
        angle = np.deg2rad(rng.uniform(-most, most))
        a, b = turned[..., axes[0]].copy(), turned[..., axes[1]].copy()
        turned[..., axes[0]] = np.cos(angle) * a - np.sin(angle) * b
        turned[..., axes[1]] = np.sin(angle) * a + np.cos(angle) * b
    turned[..., 2] = np.maximum(turned[..., 2] + rng.uniform(2.0, 6.0), 0.5)
    xy = turned[..., :2] / turned[..., 2:]
    if rng.random() < 0.5:
        swapped = np.arange(xy.shape[1]).reshape(-1, 2)[:, ::-1].ravel()
        xy = xy[:, swapped] * (-1.0, 1.0)
    return np.asarray(xy)


def _as_a_network_sees(
    xy: NDArray[np.float64], seen: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Joints where another labeller puts them, with noise, and some of them missing for a while."""
    trunk = np.median(np.linalg.norm(xy[:, 0:2].mean(1) - xy[:, 6:8].mean(1), axis=-1))
    offset = rng.normal(0, 0.04, (1, *xy.shape[1:]))
    noise = rng.normal(0, rng.uniform(0.0, 0.03), xy.shape)
    aspect = np.array([np.exp(rng.uniform(-0.1, 0.1)), 1.0])
    seen = seen.copy()
    for joint in np.flatnonzero(rng.random(xy.shape[1]) < 0.15):
        start = rng.integers(0, len(xy))
        seen[start : start + rng.integers(5, 60), joint] = False
    return xy * aspect + (offset + noise) * trunk, seen
