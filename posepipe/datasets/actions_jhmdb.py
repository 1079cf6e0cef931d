"""JHMDB: joints of 15 puppets' parts in clips of up to 40 frames (Jhuang et al. 2013)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posepipe.datasets.action_classes import JHMDB14
from posepipe.datasets.action_skeletons import JHMDB15
from posepipe.datasets.actions import ActionClasses, ActionSample, ActionSet
from posepipe.datasets.rows import label_errors
from posepipe.errors import InputError, MissingExtraError, UsageError

__all__ = ["read_jhmdb", "read_jhmdb14"]

#: px for a unit of the shared joints, which are about 0.87 of it high
_UNIT = 200.0
_SIZE = (320, 240)
_FORM = "a split of JHMDB's joints"


def read_jhmdb14(folder: Path, split: str = "1") -> ActionSet:
    """One split of 14 classes as normalised joints; the classes whose names have two words are absent.

    Parameters
    ----------
    folder
        Holds ``split1.npz`` to ``split3.npz``: for ``train`` and ``test`` the joints of all frames ``_xy``
        (sum of frames,15,2), the ``_frames`` (clips,) of each clip and the ``_label`` (clips,).
    split
        1, 2 or 3.

    Returns
    -------
    ActionSet
        Joints in units of a two-hundredth of the original's, parts ``train`` and ``test``.

    Raises
    ------
    InputError
        The file cannot be read or holds something else.
    UsageError
        There is no such split.
    """
    path = folder / f"split{_split(split)}.npz"
    samples: list[ActionSample] = []
    about = "train_xy, train_frames, train_label and the same of test"
    with label_errors(path, _FORM, about), np.load(path, allow_pickle=False) as data:
        for part in ("train", "test"):
            xy = np.asarray(data[f"{part}_xy"], np.float32) * _UNIT
            lengths, labels = data[f"{part}_frames"], data[f"{part}_label"]
            if lengths.sum() != len(xy) or len(lengths) != len(labels):
                raise ValueError(f"{lengths.sum()} frames of {len(labels)} clips, but {len(xy)} rows of joints")
            for number, rows in enumerate(np.split(xy, np.cumsum(lengths)[:-1])):
                label = JHMDB14.names.index(str(labels[number]))
                samples.append(_sample(f"{part}/{number:03d}", label, rows, part))
    return ActionSet(f"jhmdb14 split {split}", JHMDB15, JHMDB14, tuple(samples))


def read_jhmdb(folder: Path, split: str = "1", videos: Path | None = None) -> ActionSet:
    """One split of the set as it is published: ``joint_positions/CLASS/CLIP/joint_positions.mat`` and ``splits/``.

    Parameters
    ----------
    folder
        Holds ``joint_positions`` and ``splits/CLASS_test_splitN.txt`` with lines ``CLIP.avi 1`` (training) or ``2``.
    split
        1, 2 or 3.
    videos
        Folder of CLASS/CLIP.avi, where pixels are wanted.

    Raises
    ------
    InputError
        A list or a file of joints is missing or is something else.
    MissingExtraError
        scipy, which reads such files, is not installed.
    """
    lists = sorted(folder.glob(f"splits/*_test_split{_split(split)}.txt"))
    if not lists:
        raise InputError(
            f"there are no lists of split {split} in {folder / 'splits'}", expected="CLASS_test_splitN.txt"
        )
    names = tuple(path.name.rpartition("_test_split")[0] for path in lists)
    samples = []
    for label, (name, path) in enumerate(zip(names, lists, strict=True)):
        with label_errors(path, _FORM, "lines of a clip and 1 or 2"):
            for line in path.read_text("utf-8").splitlines():
                clip, part = line.split()
                stem = clip.removesuffix(".avi")
                xy = _positions(folder / "joint_positions" / name / stem / "joint_positions.mat")
                video = None if videos is None else videos / name / f"{stem}.avi"
                samples.append(_sample(f"{name}/{stem}", label, xy, {"1": "train", "2": "test"}[part], video))
    return ActionSet(f"jhmdb split {split}", JHMDB15, ActionClasses(names), tuple(samples))


def _sample(name: str, label: int, xy: NDArray[np.float32], part: str, video: Path | None = None) -> ActionSample:
    score = np.ones((1, *xy.shape[:2]), np.float32)
    return ActionSample(name, label, xy[None], score, np.arange(len(xy)), video, _SIZE, part)


def _positions(path: Path) -> NDArray[np.float32]:
    """(T,15,2) px from the picture's ``pos_img`` (2,15,T), which counts from 1."""
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise MissingExtraError("reading joint_positions.mat", "bench") from error
    with label_errors(path, "a file of JHMDB's joints", "pos_img of 2 x 15 x frames"):
        if not path.is_file():
            raise ValueError("there is no such file")
        stored: dict[str, Any] = loadmat(path, variable_names=["pos_img"])
        return np.asarray(np.asarray(stored["pos_img"], np.float32).transpose(2, 1, 0) - 1, np.float32)


def _split(split: str) -> str:
    if split not in ("1", "2", "3"):
        raise UsageError("JHMDB has no such split", got=repr(split), expected="1, 2 or 3")
    return split
