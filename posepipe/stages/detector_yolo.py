"""Any YOLO a user has (ultralytics .pt or .onnx): people, and their keypoints where it is a pose network.

An .onnx file runs on ONNX Runtime alone; a .pt file needs the extra ``posepipe[yolo]``. Pictures, boxes and keypoints
are handled here for both, so both give the same people.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posepipe.errors import WeightsError
from posepipe.skeleton import COCO17
from posepipe.stages.detector import people_boxes
from posepipe.stages.engine import Engine
from posepipe.stages.one_stage import OneStage
from posepipe.stages.pixels import View, fit_picture, letterbox
from posepipe.types import Detections, Frame, Poses

__all__ = ["YoloDetector", "YoloNetwork", "YoloPose", "keypoint_shape", "open_yolo"]

# The overlap at which ultralytics' own predict merges boxes.
_OVERLAP = 0.7
_PERSON = "person"
_TASKS = ("detect", "segment", "pose")


@dataclass(frozen=True)
class YoloNetwork:
    """A YOLO ready to run.

    Attributes
    ----------
    path
        Its file.
    run
        (1,3,H,W) float32 RGB in 0..1 -> raw output (1,4+C+E,A), or (1,A,6+E) where ``suppressed``.
    names
        Class names.
    size, stride, free_size
        (height, width) of the input; where it is free, any multiple of the stride up to that.
    suppressed
        Boxes come merged: xyxy, score, class; otherwise centre, width, height, a score a class.
    keypoints
        Number of keypoints and of values of each, or None.
    description
        What it runs on.
    """

    path: Path
    run: Callable[[NDArray[np.float32]], NDArray[np.floating]]
    names: Mapping[int, str]
    size: tuple[int, int]
    stride: int
    free_size: bool
    suppressed: bool
    keypoints: tuple[int, int] | None
    description: str


def open_yolo(
    path: str | Path, *, device: str = "auto", threads: int = 0, score: float = 0.4, max_people: int = 50
) -> YoloDetector:
    """A detector from a YOLO file; a :class:`YoloPose` where the network gives the 17 keypoints of COCO.

    Parameters
    ----------
    path
        A .pt or .onnx file of ultralytics (YOLOv8 and later, YOLOv5u; detection, segmentation, pose).
    device, threads
        As for :class:`Engine`.
    score
        Least score of a person.
    max_people
        Most people in a frame.

    Raises
    ------
    MissingExtraError
        A .pt file, and ultralytics is not installed.
    WeightsError
        The file is missing, is no such network, knows no people, or holds more than a network.
    """
    path = Path(path)
    if path.suffix.lower() not in (".pt", ".onnx"):
        raise WeightsError(f"{path} is not a YOLO file", got=repr(path.suffix), expected="a .pt or .onnx file")
    if not path.is_file():
        raise WeightsError(
            f"there is no weights file {path}", hint="Weights are not downloaded: give the path of a file you have."
        )
    if path.suffix.lower() == ".onnx":
        network = _open_onnx(path, device, threads)
    else:
        from posepipe.stages.detector_yolo_checkpoint import open_checkpoint

        network = open_checkpoint(path, device, threads)
    kind = YoloPose if network.keypoints is not None and network.keypoints[0] == len(COCO17) else YoloDetector
    return kind(network, score, max_people)


class YoloDetector:
    """People by a YOLO; made by :func:`open_yolo`.

    Pictures are brought to the network's size and boxes are merged as ultralytics' own predict does it (letterbox on
    grey, in the smallest frame of whole strides where the size is free; classes compete for a box before people are
    picked; IoU above 0.7 merges).
    """

    def __init__(self, network: YoloNetwork, score: float, max_people: int) -> None:
        self._network, self._least, self._most = network, score, max_people
        person = [index for index, name in network.names.items() if name.lower() == _PERSON]
        if not person and len(network.names) > 1:
            raise WeightsError(
                f"{network.path} does not find people", got=f"classes {list(network.names.values())[:10]}"
            )
        self._person = person[0] if person else 0
        self.weights = network.path
        self.description = network.description

    def detect(self, frame: Frame) -> Detections:
        """People of one frame, best score first; empty where there are none."""
        people, _, _ = self._look(frame)
        return people

    def _look(self, frame: Frame) -> tuple[Detections, NDArray[np.floating], View]:
        """People of one frame, what the network gives beside their boxes (N,E), and how the picture was fitted."""
        size = frame.image.shape[:2]
        picture, view = self._fit(frame.image)
        pixels = picture.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)
        boxes, score, extra = self._rows(self._network.run(pixels))
        boxes = view.to_picture(boxes.reshape(-1, 2, 2)).reshape(-1, 4)
        overlap = 1.0 if self._network.suppressed else _OVERLAP
        people, rows = people_boxes(boxes, score, size, least=self._least, overlap=overlap, most=self._most)
        return people, extra[rows], view

    def _fit(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], View]:
        size, stride = self._network.size, self._network.stride
        inner = letterbox(image.shape[:2], size)
        if self._network.free_size:
            size = (-(-inner[0] // stride) * stride, -(-inner[1] // stride) * stride)
        corner = ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2)
        return fit_picture(image, inner, size, corner, smooth=False)

    def _rows(
        self, output: NDArray[np.floating]
    ) -> tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]:
        """Raw output -> boxes (A,4) xyxy input px, person score (A,) (0 = another class), and the rest (A,E)."""
        classes = len(self._network.names)
        if self._network.suppressed and output.ndim == 3 and output.shape[2] >= 6:
            rows = output[0]
            return rows[:, :4], np.where(rows[:, 5] == self._person, rows[:, 4], 0), rows[:, 6:]
        if self._network.suppressed or output.ndim != 3 or output.shape[1] < 4 + classes:
            raise WeightsError(
                f"{self._network.path} gives no YOLO boxes", got=output.shape, expected=f"(1, {4 + classes} or more, A)"
            )
        rows = output[0].T
        half = rows[:, 2:4] / 2
        boxes = np.concatenate([rows[:, :2] - half, rows[:, :2] + half], axis=1)
        scores = rows[:, 4 : 4 + classes]
        is_person = scores.argmax(1) == self._person
        return boxes, np.where(is_person, scores[:, self._person], 0), rows[:, 4 + classes :]


class YoloPose(YoloDetector, OneStage):
    """People and their keypoints by a YOLO pose network: a detector that is a pose estimator too."""

    def __init__(self, network: YoloNetwork, score: float, max_people: int) -> None:
        YoloDetector.__init__(self, network, score, max_people)
        OneStage.__init__(self)

    def detect(self, frame: Frame) -> Detections:
        """People of one frame, best score first; their keypoints are kept for ``estimate``."""
        return OneStage.detect(self, frame)

    def find(self, frame: Frame) -> Poses:
        """People of one frame with their keypoints, best box score first."""
        people, extra, view = self._look(frame)
        count, values = self._network.keypoints or (len(COCO17), 3)
        joints = extra[:, : count * values].reshape(len(people), count, values)
        joints = np.where(np.isfinite(joints).all(2, keepdims=True), joints, 0)
        # Networks without keypoint scores give each keypoint its person's.
        score = joints[..., 2] if values == 3 else np.repeat(people.score[:, None], count, axis=1)
        xy = view.to_picture(joints[..., :2]).astype(np.float32)
        return Poses(xy, np.clip(score, 0, 1).astype(np.float32), people.boxes, people.score, COCO17)


def _open_onnx(path: Path, device: str, threads: int) -> YoloNetwork:
    engine = Engine(path, device=device, threads=threads, batch=1)
    try:
        told = {
            key: ast.literal_eval(engine.metadata[key])
            for key in ("names", "stride", "imgsz", "kpt_shape", "args", "end2end")
            if key in engine.metadata
        }
        names = {int(index): str(name) for index, name in dict(told["names"]).items()}
        height, width = told["imgsz"]
        network = YoloNetwork(
            path=path,
            run=lambda pixels: engine.run(pixels)[0],
            names=names,
            size=(int(height), int(width)),
            stride=int(told.get("stride", 32)),
            free_size=None in engine.shape[1:],
            suppressed=bool(told.get("end2end") or dict(told.get("args", {})).get("nms")),
            keypoints=keypoint_shape(told.get("kpt_shape")),
            description=engine.description,
        )
    except (KeyError, TypeError, ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise WeightsError(
            f"{path} does not say what it finds, as ultralytics' exports do: {error!r}",
            hint="Export it with: yolo export format=onnx model=FILE.pt",
        ) from error
    if engine.metadata.get("task", "detect") not in _TASKS:
        raise WeightsError(f"{path} is not a detector", got=engine.metadata["task"], expected=" or ".join(_TASKS))
    return network


def keypoint_shape(shape: Any) -> tuple[int, int] | None:
    """Keypoints and values of each (2 or 3: x, y, score) as a network states them; ``ValueError`` for others."""
    if shape is None:
        return None
    count, values = shape
    if int(values) not in (2, 3) or int(count) < 1:
        raise ValueError(f"keypoints of shape {shape}")
    return int(count), int(values)
