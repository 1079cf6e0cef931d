"""UP-Fall (HAR-UP): eleven activities, five of them falls, seen by two cameras (Martinez-Villasenor et al. 2019)."""

from __future__ import annotations

import csv
from pathlib import Path

from posepipe.datasets.action_classes import UPFALL
from posepipe.datasets.action_streams import main_actor, streams_of
from posepipe.datasets.actions import ActionSample, ActionSet
from posepipe.datasets.actions_own import unseen
from posepipe.datasets.rows import label_errors
from posepipe.errors import InputError, UsageError
from posepipe.skeleton import COCO17
from posepipe.types import PoseStream

__all__ = ["read_upfall"]

_SIZE = (640, 480)
# px; people who are further right in camera 2 do not act
_SEAT = 500.0


def read_upfall(folder: Path, protocol: str = "trial", runs: Path | None = None) -> ActionSet:
    """Read the clips of ``labels.csv``, with the poses that ``posepipe run`` found of the one who acts.

    Parameters
    ----------
    folder
        Holds the videos and ``labels.csv`` with the columns file, activity, name, is_fall, subject, trial, camera.
    protocol
        ``trial``: trials 1 and 2 are ``train``, 3 is ``test``; ``camera``: camera 1 is ``train``, 2 is ``test``.
    runs
        Folder of results, one folder a video; None: there are no poses, and pictures are all that there is.

    Raises
    ------
    InputError
        A file is missing or is something else; a video without results is named.
    UsageError
        There is no such protocol.
    """
    if protocol not in ("trial", "camera"):
        raise UsageError("UP-Fall has no such protocol", got=repr(protocol), expected="trial or camera")
    path = folder / "labels.csv"
    samples = []
    about = "columns file, activity, subject, trial, camera"
    with label_errors(path, "the list of UP-Fall's clips", about), path.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            training = int(row["trial"]) < 3 if protocol == "trial" else row["camera"] == "1"
            samples.append(_sample(folder, row, "train" if training else "test", runs))
    return ActionSet(f"upfall {protocol}", COCO17, UPFALL, tuple(samples))


def _sample(folder: Path, row: dict[str, str], part: str, runs: Path | None) -> ActionSample:
    video = folder / row["file"]
    if runs is None:
        found = unseen(video, COCO17)
    else:
        streams = [s for s in streams_of(runs / video.stem) if not _sits_behind(s, row["camera"])]
        if not streams:
            raise InputError(f"{runs / video.stem} has nobody who acts, so {video.name} has no poses")
        found = main_actor(streams)
    xy, score, frames = found
    return ActionSample(
        name=video.stem,
        label=int(row["activity"]) - 1,
        xy=xy,
        score=score,
        frames=frames,
        video=video,
        size=_SIZE,
        part=part,
        subject=row["subject"],
        camera=row["camera"],
        trial=row["trial"],
    )


def _sits_behind(stream: PoseStream, camera: str) -> bool:
    """Whether it is the one who sits at the right edge of camera 2's pictures all the time."""
    return camera == "2" and float(stream.boxes[:, [0, 2]].mean()) > _SEAT
