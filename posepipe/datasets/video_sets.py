"""Public sets of action videos as lists: UCF101 by its official splits, UP-Fall by trial.

UCF101: Soomro, Zamir and Shah 2012, CRCV-TR-12-01. UP-Fall: Martinez-Villasenor et al. 2019 (the clips of HAR-UP).
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from posepipe.datasets.video_lists import LabelledVideo, VideoList
from posepipe.errors import InputError

__all__ = ["UCF101_SIZES", "read_ucf101", "read_upfall"]

#: training and test videos of the three official splits
UCF101_SIZES = {1: (9537, 3783), 2: (9586, 3734), 3: (9624, 3696)}
_UCF101_CLASSES = 101
_TEST_TRIAL = 3


def read_ucf101(lists: Path, videos: Path, split: int = 1) -> VideoList:
    """UCF101 by the official files ``classInd.txt``, ``trainlist0N.txt`` and ``testlist0N.txt``.

    The lists say ``HandstandPushups/v_HandStandPushups_g01_c01.avi``, and copies of the set write either part both
    ways; so a video is looked for by its name whatever its capitals, in its class's folder and in `videos` itself. Its
    class is that of the folder in the list.

    Parameters
    ----------
    lists
        Folder of the files.
    videos
        Folder of the classes' folders, or of all videos.
    split
        1, 2 or 3.

    Raises
    ------
    InputError
        A file is missing or not whole: the counts of the official splits are known.
    """
    if split not in UCF101_SIZES:
        raise InputError(f"UCF101 has no split {split}", expected="1, 2 or 3")
    classes = tuple(line.split()[1] for line in _lines(lists / "classInd.txt", _UCF101_CLASSES))
    numbers = {name: number for number, name in enumerate(classes)}
    files, parts = _Files(videos), {}
    for part, count in zip(("train", "test"), UCF101_SIZES[split], strict=True):
        path = lists / f"{part}list0{split}.txt"
        found = []
        for line in _lines(path, count):
            folder, _, name = line.split()[0].partition("/")
            match = re.search(r"_(g\d+)_c\d+", name)
            if folder not in numbers or match is None:
                raise InputError(f"{path} has a line that is not UCF101's", got=repr(line))
            found.append(LabelledVideo(files.find(folder, name), numbers[folder], f"{folder} {match[1]}"))
        parts[part] = tuple(found)
    return VideoList(f"UCF101 split {split}", classes, parts)


def read_upfall(folder: Path) -> VideoList:
    """The clips of UP-Fall: trials 1 and 2 to train, 3 to test; both cameras of a trial stand on one side.

    Parameters
    ----------
    folder
        Of the clips and ``labels.csv`` (file, activity, name, trial).

    Raises
    ------
    InputError
        The file is missing, or a row is not whole.
    """
    path = folder / "labels.csv"
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        names = {int(row["activity"]): row["name"] for row in rows}
        order = sorted(names)
        videos = [
            (row["trial"], LabelledVideo(folder / row["file"], order.index(int(row["activity"])), _trial(row)))
            for row in rows
        ]
    except (OSError, UnicodeDecodeError, KeyError, ValueError, csv.Error) as error:
        raise InputError(f"cannot read {path}: {error}", expected="file,activity,name,...,trial of UP-Fall") from error
    parts = {
        "train": tuple(video for trial, video in videos if int(trial) != _TEST_TRIAL),
        "test": tuple(video for trial, video in videos if int(trial) == _TEST_TRIAL),
    }
    return VideoList("UP-Fall", tuple(names[number] for number in order), parts)


def _trial(row: dict[str, str]) -> str:
    return f"activity {row['activity']} subject {row['subject']} trial {int(row['trial'])}"


def _lines(path: Path, count: int) -> list[str]:
    """The lines of an official file that hold something; raises `InputError` where it is missing or not whole."""
    try:
        lines = [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}", hint="Get UCF101's official train/test splits") from error
    if len(lines) != count or any(len(line.split()) < (1 if "list" in path.name else 2) for line in lines):
        hint = "Get the official file anew; a part of the set, or another split, is a list of your own (CSV)"
        raise InputError(f"{path} is not the official list", got=f"{len(lines)} lines", expected=f"{count}", hint=hint)
    return lines


class _Files:
    """Where the videos of a folder are, by class and name without regard to capitals; every folder is read once."""

    def __init__(self, videos: Path) -> None:
        self.videos = videos
        self._folders: dict[str, dict[str, Path]] = {"": self._names(videos)}

    def find(self, folder: str, name: str) -> Path:
        """The video's path, also where there is no such file."""
        inside = self._folders[""].get(folder.lower())
        if folder not in self._folders:
            self._folders[folder] = self._names(inside) if inside is not None else {}
        found = self._folders[folder].get(name.lower()) or self._folders[""].get(name.lower())
        return found or self.videos / folder / name

    @staticmethod
    def _names(folder: Path) -> dict[str, Path]:
        return {path.name.lower(): path for path in folder.iterdir()} if folder.is_dir() else {}
