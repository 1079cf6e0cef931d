"""NTU RGB+D 60 and 120: a text file of Kinect skeletons a clip (Shahroudy et al. 2016, Liu et al. 2019)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from posepipe.datasets.action_classes import NTU60, NTU120
from posepipe.datasets.action_skeletons import KINECT25
from posepipe.datasets.actions import ActionSample, ActionSet
from posepipe.datasets.rows import label_errors
from posepipe.errors import InputError, UsageError

__all__ = ["missing_skeletons", "ntu_part", "read_ntu"]

_NAME = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})")
_SIZE = (1920, 1080)
_PEOPLE = 2
# place of the joint in the colour picture, and how it was tracked: 0 not, 1 guessed, 2 seen
_X, _Y, _STATE = 5, 6, 11
_SEEN = np.array([0.0, 0.5, 1.0], np.float32)

_SUBJECTS_60 = (1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38)
_SUBJECTS_120 = (
    *_SUBJECTS_60,
    *(45, 46, 47, 49, 50, 52, 53, 54, 55, 56, 57, 58, 59, 70, 74, 78, 80, 81, 82, 83, 84, 85, 86, 89, 91, 92, 93, 94),
    *(95, 97, 98, 100, 103),
)


def read_ntu(folder: Path, protocol: str = "xsub", videos: Path | None = None) -> ActionSet:
    """Read ``.skeleton`` files: keypoints in the colour picture, the two people who move most.

    Parameters
    ----------
    folder
        Holds ``SsssCcccPpppRrrrAaaa.skeleton`` files, and perhaps lists ``*missing_skeletons.txt`` of clips to leave
        out.
    protocol
        ``xsub`` (subjects), ``xview`` (cameras, 60 classes) or ``xset`` (setups, 120 classes); the second part is
        called ``test``.
    videos
        Folder of ``NAME_rgb.avi``.

    Raises
    ------
    InputError
        There are no such files, or one is something else.
    UsageError
        There is no such protocol.
    """
    paths = sorted(folder.glob("*.skeleton"))
    left_out = {name for lists in folder.glob("*missing_skeletons.txt") for name in missing_skeletons(lists)}
    paths = [path for path in paths if path.stem not in left_out]
    if not paths:
        raise InputError(f"{folder} holds no skeletons", expected="files SsssCcccPpppRrrrAaaa.skeleton")
    classes = NTU120 if any(_numbers(path.stem)[4] > len(NTU60.names) for path in paths) else NTU60
    large = classes is NTU120
    samples = tuple(_sample(path, ntu_part(path.stem, protocol, large=large), videos) for path in paths)
    return ActionSet(f"ntu{len(classes.names)} {protocol}", KINECT25, classes, samples)


def missing_skeletons(path: Path) -> tuple[str, ...]:
    """Names of clips in a list of those whose skeletons are missing; other lines are left alone."""
    with label_errors(path, "a list of clips", "a name a line"):
        return tuple(line.strip() for line in path.read_text("utf-8").splitlines() if _NAME.fullmatch(line.strip()))


def ntu_part(name: str, protocol: str, *, large: bool = False) -> str:
    """``train`` or ``test``; `large` is NTU-120, whose subjects for training are others. Raises `UsageError`."""
    setup, camera, subject, _, _ = _numbers(name)
    match protocol:
        case "xsub":
            training = subject in (_SUBJECTS_120 if large else _SUBJECTS_60)
        case "xview":
            training = camera in (2, 3)
        case "xset":
            training = setup % 2 == 0
        case _:
            raise UsageError("NTU has no such protocol", got=repr(protocol), expected="xsub, xview or xset")
    return "train" if training else "test"


def _numbers(name: str) -> tuple[int, ...]:
    found = _NAME.fullmatch(name)
    if found is None:
        raise InputError(f"{name!r} is no name of an NTU clip", expected="SsssCcccPpppRrrrAaaa")
    return tuple(int(number) for number in found.groups())


def _sample(path: Path, part: str, videos: Path | None) -> ActionSample:
    setup, camera, subject, repeat, action = _numbers(path.stem)
    with label_errors(path, "a file of Kinect skeletons", "frames of bodies of 25 joints of 12 numbers"):
        try:
            length, bodies = _bodies(path)
        except StopIteration:
            raise ValueError("it ends too early") from None
        if not bodies:
            raise ValueError("nobody is in it")
        people = sorted(bodies.values(), key=_motion, reverse=True)[:_PEOPLE]
    xy, score = np.zeros((len(people), length, 25, 2), np.float32), np.zeros((len(people), length, 25), np.float32)
    for person, (at, joints) in enumerate(people):
        there: NDArray[np.bool_] = np.isfinite(joints[..., _X] + joints[..., _Y])
        xy[person, at] = np.where(there[..., None], joints[..., (_X, _Y)], 0)
        score[person, at] = np.where(there, _SEEN[joints[..., _STATE].astype(np.int64)], 0)
    return ActionSample(
        name=path.stem,
        label=action - 1,
        xy=xy,
        score=score,
        frames=np.arange(length),
        video=None if videos is None else videos / f"{path.stem}_rgb.avi",
        size=_SIZE,
        part=part,
        subject=f"P{subject:03d}",
        camera=f"C{camera:03d}",
        setup=f"S{setup:03d}",
        trial=f"R{repeat:03d}",
    )


def _bodies(path: Path) -> tuple[int, dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]]:
    """Number of frames; frames (n,) and joints (n,25,12) of each body by its id."""
    lines: Iterator[str] = iter(path.read_text("ascii").splitlines())
    length = int(next(lines))
    found: dict[str, list[tuple[int, NDArray[np.float64]]]] = defaultdict(list)
    for frame in range(length):
        for _ in range(int(next(lines, "0"))):
            body = next(lines).split()[0]
            joints = np.array([next(lines).split() for _ in range(int(next(lines)))], np.float64)
            if joints.shape != (len(KINECT25), 12):
                raise ValueError(f"a body of shape {joints.shape} in frame {frame}")
            found[body].append((frame, joints))
    return length, {
        body: (np.array([frame for frame, _ in rows]), np.stack([joints for _, joints in rows]))
        for body, rows in found.items()
    }


def _motion(body: tuple[NDArray[np.int64], NDArray[np.float64]]) -> float:
    """How much a body moves about its middle, in metres; a chair or a table that is taken for a body hardly does."""
    return float(np.nan_to_num(body[1][..., :3]).var(0).sum() * len(body[0]))
