"""From the names in a configuration to stages."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from posepipe.config import Config
from posepipe.errors import UsageError
from posepipe.skeleton import COCO17, Skeleton
from posepipe.stages import Detector, PoseEstimator, Tracker
from posepipe.types import Poses, Tracks

__all__ = ["NoTracker", "build_detector", "build_pose", "build_tracker"]

_BOX_FILES = (".txt", ".csv", ".json")


def build_detector(config: Config) -> Detector:
    """The detector that ``config.detector`` names.

    Raises
    ------
    UsageError
        The name is unknown, or the device is not to be had.
    MissingExtraError
        The name needs packages that are not installed.
    WeightsError, InputError
        Its weights or its file of boxes cannot be used.
    """
    name, _, rest = config.detector.partition(":")
    score, most = config.detector_score, config.max_people
    if config.detector == "small":
        from posepipe.io.weights import weights_path
        from posepipe.stages.detector import OnnxDetector

        return OnnxDetector(
            weights_path("detector_small"), device=config.device, threads=config.threads, score=score, max_people=most
        )
    if name == "yolo" and rest:
        from posepipe.stages.detector_yolo import open_yolo

        return open_yolo(rest, device=config.device, threads=config.threads, score=score, max_people=most)
    if name == "torchvision" and rest:
        from posepipe.stages.detector_torchvision import open_torchvision

        return open_torchvision(rest, device=config.device, threads=config.threads, score=score, max_people=most)
    if Path(config.detector).suffix.lower() in _BOX_FILES:
        from posepipe.stages.detector_file import FileDetector

        return FileDetector(config.detector, score=score, max_people=most)
    if config.detector.lower().endswith(".onnx"):
        from posepipe.stages.detector import OnnxDetector

        return OnnxDetector(config.detector, device=config.device, threads=config.threads, score=score, max_people=most)
    choices = ["small", "yolo:FILE", "torchvision:NAME", "FILE.onnx", *(f"FILE{suffix}" for suffix in _BOX_FILES)]
    raise _unknown("detector", config.detector, choices)


def build_pose(config: Config, detector: Detector | None = None) -> PoseEstimator:
    """The pose estimator that ``config.pose`` names.

    Parameters
    ----------
    config
        Settings.
    detector
        The detector in use; needed where ``config.pose`` is ``detector``, and given back where it reads keypoints too.

    Raises
    ------
    UsageError
        The name is unknown, the device is not to be had, or the detector gives no keypoints.
    WeightsError
        The weights cannot be used.
    """
    if config.pose == "detector":
        if isinstance(detector, PoseEstimator):
            return detector
        raise UsageError(
            "pose 'detector' needs a detector that gives keypoints",
            got=f"detector {config.detector!r}",
            hint="Such are yolo:FILE with a pose network of COCO keypoints, and torchvision:keypointrcnn_resnet50_fpn",
        )
    if config.pose == "small":
        from posepipe.io.weights import weights_path

        path = weights_path("sppe_small")
    elif config.pose.lower().endswith(".onnx"):
        path = Path(config.pose)
    else:
        raise _unknown("pose estimator", config.pose, ["small", "detector", "FILE.onnx"])
    from posepipe.stages.pose import OnnxPose

    return OnnxPose(path, device=config.device, threads=config.threads, batch=config.batch)


def build_tracker(config: Config, skeleton: Skeleton = COCO17) -> Tracker:
    """The tracker that ``config.tracker`` names, for poses of ``skeleton``.

    Raises :class:`UsageError` for an unknown name.
    """
    age, hits = config.max_age, config.min_hits
    if config.tracker == "posesort":
        from posepipe.tracking.posesort import PoseSort

        return PoseSort(max_age=age, min_hits=hits, strong=config.track_score, skeleton=skeleton)
    if config.tracker == "sort":
        from posepipe.tracking.sort import Sort

        return Sort(max_age=age, min_hits=hits, iou_threshold=config.track_iou)
    if config.tracker == "bytetrack":
        from posepipe.tracking.bytetrack import ByteTrack

        return ByteTrack(track_threshold=config.track_score, max_age=age)
    if config.tracker == "ocsort":
        from posepipe.tracking.ocsort import OCSort

        return OCSort(det_threshold=0.0, max_age=age, min_hits=hits, iou_threshold=config.track_iou)
    if config.tracker == "none":
        return NoTracker()
    raise _unknown("tracker", config.tracker, ["posesort", "sort", "bytetrack", "ocsort", "none"])


class NoTracker:
    """Follows nobody: every person of every frame gets a new id."""

    def __init__(self) -> None:
        self._given = 0

    def reset(self) -> None:
        """Ids start again at 1."""
        self._given = 0

    def update(self, poses: Poses, image: NDArray[np.uint8] | None = None) -> Tracks:
        """The poses, row for row, with ids never given before; all are confirmed and of age 0."""
        count = len(poses)
        ids = np.arange(self._given + 1, self._given + count + 1, dtype=np.int64)
        self._given += count
        return Tracks(poses, poses.boxes, ids, np.ones(count, bool), np.zeros(count, np.int32))


def _unknown(what: str, name: str, choices: Sequence[str]) -> UsageError:
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    return UsageError(
        f"unknown {what} {name!r}",
        expected=f"one of {', '.join(choices)}",
        hint=f"Did you mean {near[0]!r}?" if near else None,
    )
