"""UTKinect-Action3D: ten acts by ten people, twice each, in long recordings of a Kinect (Xia et al. 2012)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from posepipe.datasets.action_classes import UTKINECT
from posepipe.datasets.action_skeletons import KINECT20
from posepipe.datasets.actions import ActionSample, ActionSet
from posepipe.datasets.rows import label_errors
from posepipe.errors import InputError

__all__ = ["read_joints", "read_segments", "read_utkinect"]

#: px for a metre
_UNIT = 200.0
_SEGMENT = re.compile(r"(\w+):\s*(\S+)\s+(\S+)")


def read_utkinect(folder: Path) -> ActionSet:
    """The labelled segments; people of odd number are the part ``train``, the others ``test``.

    Parameters
    ----------
    folder
        Holds ``actionLabel.txt`` and ``joints/joints_sNN_eNN.txt``, whose first column is the number of the frame: what
        labels refer to. Numbers are left out there, and frames stand twice.

    Returns
    -------
    ActionSet
        Joints (1,T,20,3) in units of half a centimetre, y down, depth last. A segment without a frame is left out, as
        the label ``NaN NaN`` of one segment says.

    Raises
    ------
    InputError
        A file is missing or is something else.
    """
    path = folder / "actionLabel.txt"
    samples: list[ActionSample] = []
    seen: dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]] = {}
    for recording, name, start, end in read_segments(path):
        if start >= end:
            raise InputError(f"{recording} {name} in {path} ends before it starts", got=(start, end))
        if recording not in seen:
            seen[recording] = read_joints(folder / "joints" / f"joints_{recording}.txt")
        sample = _segment(*seen[recording], recording, name, start, end)
        samples += [] if sample is None else [sample]
    if not samples:
        raise InputError(f"{path} names no segment that {folder / 'joints'} has frames of")
    return ActionSet("utkinect", KINECT20, UTKINECT, tuple(samples))


def read_segments(path: Path) -> list[tuple[str, str, int, int]]:
    """Recording, act, first and last frame of each labelled segment; one is labelled ``NaN NaN`` and left out.

    Raises :class:`InputError` for a file that is missing or something else.
    """
    found = []
    with label_errors(path, "UTKinect's list of segments", "a recording's name, then lines NAME: START END"):
        recording = ""
        for line in path.read_text("utf-8").splitlines():
            match = _SEGMENT.fullmatch(line.strip())
            if match is None:
                recording = line.strip() or recording
                continue
            name, start, end = match.groups()
            if name not in UTKINECT.names:
                raise ValueError(f"{recording} has an act {name!r}")
            if "nan" not in (start.lower(), end.lower()):
                found.append((recording, name, int(start), int(end)))
    return found


def read_joints(path: Path) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """A recording's frames: (T,) numbers, rising, and (T,20,3) metres, y up; raises as `read_segments`."""
    with label_errors(path, "a recording of UTKinect", "rows of a frame's number and 60 coordinates"):
        rows = np.loadtxt(path, ndmin=2)
        numbers, first = np.unique(rows[:, 0].astype(np.int64), return_index=True)
        return numbers, rows[first, 1:].reshape(-1, len(KINECT20), 3)


def _segment(
    numbers: NDArray[np.int64], joints: NDArray[np.float64], recording: str, name: str, start: int, end: int
) -> ActionSample | None:
    inside = (numbers >= start) & (numbers <= end)
    if not inside.any():
        return None
    # A Kinect sees y go up.
    xyz = np.asarray(joints[inside] * (_UNIT, -_UNIT, _UNIT), np.float32)[None]
    subject = recording[:3]
    return ActionSample(
        name=f"{recording}/{name}",
        label=UTKINECT.names.index(name),
        xy=xyz,
        score=np.ones(xyz.shape[:3], np.float32),
        frames=numbers[inside],
        part="train" if int(subject[1:]) % 2 else "test",
        subject=subject,
        trial=recording[4:],
    )
