"""From the names in a configuration to stages."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from posepipe.config import Config
from posepipe.errors import UsageError
from posepipe.io.zoo import PublicWeights, fetched, public_weights
from posepipe.skeleton import COCO17, Skeleton
from posepipe.stages import ActionRecogniser, Detector, PoseEstimator, Tracker
from posepipe.stages.engine import Engine
from posepipe.stages.pose import CHECKPOINTS, HeatmapPose, open_pose
from posepipe.types import Poses, Tracks

__all__ = ["NoTracker", "build_actions", "build_detector", "build_pose", "build_tracker"]

_BOX_FILES = (".txt", ".csv", ".json")
_POSE_FILES = (".onnx", ".xml", *CHECKPOINTS)


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
    suffix = Path(config.detector).suffix.lower()
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
    if name in ("yolox", "rtmdet") and rest:
        return _openmmlab(config, Path(rest), name)
    if config.detector in public_weights():
        return _public_detector(config, public_weights()[config.detector])
    if suffix in _BOX_FILES:
        from posepipe.stages.detector_file import FileDetector

        return FileDetector(config.detector, score=score, max_people=most)
    if suffix == ".onnx":
        return _onnx_detector(config)
    choices = ["small", "yolo:FILE", "yolox:FILE", "rtmdet:FILE", "torchvision:NAME", "FILE.onnx"]
    raise _unknown("detector", config.detector, [*choices, *(f"FILE{suffix}" for suffix in _BOX_FILES)], "detector")


def _openmmlab(config: Config, path: Path, family: str, size: tuple[int, int] | None = None) -> Detector:
    """A YOLOX as its makers or as OpenMMLab export it, or an RTMDet."""
    score, most = config.detector_score, config.max_people
    engine = Engine(path, device=config.device, threads=config.threads, batch=1)
    if family == "yolox" and "dets" not in engine.outputs:
        from posepipe.stages.detector_yolox import YoloxDetector

        return YoloxDetector(engine, score=score, max_people=most)
    from posepipe.stages.detector_rtmdet import RtmDetector

    return RtmDetector(engine, normalise=family == "rtmdet", size=size, score=score, max_people=most)


def _public_detector(config: Config, entry: PublicWeights) -> Detector:
    """A detector that others published, if it was fetched."""
    if entry.kind != "detector":
        raise UsageError(f"{entry.name} is no detector, but a pose network", hint=f"Use it with --pose {entry.name}")
    if entry.adapter == "torchvision":
        from posepipe.stages.detector_torchvision import open_torchvision

        score, most = config.detector_score, config.max_people
        return open_torchvision(entry.name, device=config.device, threads=config.threads, score=score, max_people=most)
    return _openmmlab(config, fetched(entry.name), entry.adapter, entry.input_size)


def _onnx_detector(config: Config) -> Detector:
    """A detector in an ONNX file, by the form of its graph."""
    path, score, most = Path(config.detector), config.detector_score, config.max_people
    engine = Engine(path, device=config.device, threads=config.threads, batch=1)
    if {"names", "imgsz"} <= set(engine.metadata):
        from posepipe.stages.detector_yolo import open_yolo

        return open_yolo(path, device=config.device, threads=config.threads, score=score, max_people=most)
    if {"dets", "labels"} <= set(engine.outputs):
        raise UsageError(
            f"{path} is a detector of OpenMMLab that does not say what pixels it expects",
            hint=f"Say which it is: rtmdet:{path} or yolox:{path}",
        )
    if len(engine.outputs) == 1 and not engine.card:
        from posepipe.stages.detector_yolox import YoloxDetector

        return YoloxDetector(engine, score=score, max_people=most)
    from posepipe.stages.detector import OnnxDetector

    return OnnxDetector(path, device=config.device, threads=config.threads, score=score, max_people=most)


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
        if config.flip_test:
            raise UsageError("a flip test needs a pose network of its own", got="pose 'detector'")
        if isinstance(detector, PoseEstimator):
            return detector
        raise UsageError(
            "pose 'detector' needs a detector that gives keypoints",
            got=f"detector {config.detector!r}",
            hint="Such are yolo:FILE with a pose network of COCO keypoints, and keypointrcnn_resnet50_fpn",
        )
    if config.pose == "small":
        from posepipe.io.weights import weights_path

        return _pose_file(config, weights_path("sppe_small"))
    if config.pose in public_weights():
        entry = public_weights()[config.pose]
        if entry.kind == "sppe":
            return _pose_file(config, fetched(entry.name))
        both = f"Use it with --detector {entry.name}"
        raise UsageError(
            f"{entry.name} is a detector",
            hint=f"{both} --pose detector" if entry.name.startswith("keypointrcnn") else both,
        )
    if Path(config.pose).suffix.lower() in _POSE_FILES:
        return _pose_file(config, Path(config.pose))
    choices = ["small", "detector", *(f"FILE{suffix}" for suffix in _POSE_FILES)]
    raise _unknown("pose estimator", config.pose, choices, "sppe")


def _pose_file(config: Config, path: Path) -> PoseEstimator:
    """A pose network in a file, by its kind and the form of its graph."""
    suffix = path.suffix.lower()
    if suffix == ".xml":
        from posepipe.stages.openvino_engine import OpenVinoEngine

        network = OpenVinoEngine(path, device=config.device, threads=config.threads)
        return HeatmapPose(network, batch=config.batch, flip=config.flip_test)
    if suffix != ".onnx":
        return open_pose(path, device=config.device, threads=config.threads, batch=config.batch, flip=config.flip_test)
    engine = Engine(path, device=config.device, threads=config.threads, batch=config.batch)
    if {"simcc_x", "simcc_y"} <= set(engine.outputs):
        from posepipe.stages.pose_simcc import SimccPose

        return SimccPose(engine, batch=config.batch, flip=config.flip_test)
    return HeatmapPose(engine, batch=config.batch, flip=config.flip_test)


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


def build_actions(config: Config, skeleton: Skeleton) -> ActionRecogniser | None:
    """What says what people do, as ``config.actions`` names it; None for ``none``.

    Parameters
    ----------
    config
        Settings.
    skeleton
        The keypoints that it will be given.

    Raises
    ------
    UsageError
        The name is unknown, the device is not to be had, or the network takes keypoints that the skeleton lacks.
    WeightsError
        The weights cannot be used.
    """
    name = config.actions
    if name == "none":
        return None
    from posepipe.io.weights import read_card, weights_path
    from posepipe.stages.action import OnnxActions
    from posepipe.stages.action_spans import OnnxSpans

    if name in ("auto", "small", "tad"):
        path = weights_path("action_tad" if name == "tad" else "action_small")
    elif Path(name).suffix.lower() == ".onnx":
        path = Path(name)
    else:
        raise _unknown("action network", name, ["auto", "small", "tad", "none", "FILE.onnx"], "actions")
    card = read_card(path)
    if name == "auto" and not set(card.values.get("keypoints", ())) <= set(skeleton.keypoints):
        return None
    kind = OnnxSpans if card.kind == "tad" else OnnxActions
    return kind(path, skeleton, device=config.device, threads=config.threads)


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


def _unknown(what: str, name: str, choices: Sequence[str], kind: str = "") -> UsageError:
    """The error for a name that is none of `choices`, nor of the published weights of `kind`."""
    public = [entry.name for entry in public_weights().values() if entry.kind == kind]
    near = difflib.get_close_matches(name, [*choices, *public], n=3, cutoff=0.5)
    return UsageError(
        f"unknown {what} {name!r}",
        expected=f"one of {', '.join(choices)}" + (", or a name of: posepipe models list" if public else ""),
        hint=f"Did you mean {' or '.join(map(repr, near))}?" if near else None,
    )
