"""RTMDet, and other detectors of OpenMMLab, in ONNX files that mmdeploy exports: boxes come decoded and merged."""

from __future__ import annotations

import numpy as np

from posepipe.errors import WeightsError
from posepipe.stages.detector import people_boxes
from posepipe.stages.engine import Engine
from posepipe.stages.pixels import fit_picture, letterbox
from posepipe.types import Detections, Frame

__all__ = ["RtmDetector"]

# Statistics of BGR in 0..255 with which RTMDet is trained (mmdetection, configs/rtmdet).
_MEAN = (103.53, 116.28, 123.675)
_STD = (57.375, 57.12, 58.395)
_PERSON = 0
# Where the network leaves its input's size open: the size it was published for.
_USUAL = (640, 640)


class RtmDetector:
    """People by a network of OpenMMLab that gives ``dets`` (1,N,5), xyxy and score, and ``labels`` (1,N).

    Pictures are letterboxed at the top left on grey 114 and given as BGR.

    Parameters
    ----------
    engine
        Runs the network.
    normalise
        Subtract RTMDet's mean and divide by its deviation; YOLOX of OpenMMLab takes 0..255 as they are.
    size
        (height, width) px of the input, where the network leaves it open.
    score
        Least score of a person.
    max_people
        Most people in a frame.

    Attributes
    ----------
    weights
        The file.
    description
        What the network runs on.

    Raises
    ------
    WeightsError
        It is not such a network.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        normalise: bool = True,
        size: tuple[int, int] | None = None,
        score: float = 0.4,
        max_people: int = 50,
    ) -> None:
        self._engine, self._least, self._most = engine, score, max_people
        self._mean = np.array(_MEAN if normalise else (0, 0, 0), np.float32)
        self._std = np.array(_STD if normalise else (1, 1, 1), np.float32)
        self.weights, self.description = engine.path, engine.description
        shape = engine.shape
        if not {"dets", "labels"} <= set(engine.outputs) or len(shape) != 3 or shape[0] != 3:
            raise WeightsError(
                f"{engine.path} is not a detector that mmdeploy exported",
                got=f"input {shape}, outputs {list(engine.outputs)}",
                expected="input (3, height, width), outputs dets and labels",
            )
        usual = size or _USUAL
        self._size = (shape[1] or usual[0], shape[2] or usual[1])

    def detect(self, frame: Frame) -> Detections:
        """People of one frame, best score first; empty where there are none."""
        size = frame.image.shape[:2]
        picture, view = fit_picture(frame.image, letterbox(size, self._size), self._size)
        pixels = ((picture[:, :, ::-1] - self._mean) / self._std).transpose(2, 0, 1)[None]
        outputs = dict(zip(self._engine.outputs, self._engine.run(pixels), strict=True))
        rows, labels = outputs["dets"], outputs["labels"]
        if rows.ndim != 3 or rows.shape[2] != 5 or labels.shape != rows.shape[:2]:
            raise WeightsError(
                f"{self.weights} does not give boxes with scores",
                got=f"dets {rows.shape}, labels {labels.shape}",
                expected="(1, N, 5) and (1, N)",
            )
        boxes = view.to_picture(rows[0, :, :4].reshape(-1, 2, 2)).reshape(-1, 4)
        score = np.where(labels[0] == _PERSON, rows[0, :, 4], 0)
        people, _ = people_boxes(boxes, score, size, least=self._least, overlap=1.0, most=self._most)
        return people
