"""YOLOX in an ONNX file as its makers export it (Ge et al. 2021; Megvii-BaseDetection/YOLOX)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from posepipe.errors import WeightsError
from posepipe.stages.detector import people_boxes
from posepipe.stages.engine import Engine
from posepipe.stages.pixels import fit_picture, letterbox
from posepipe.types import Detections, Frame

__all__ = ["YoloxDetector"]

# Boxes of one person overlap by more; the value of YOLOX's own evaluation (nmsthre of its Exp).
_OVERLAP = 0.65
_STRIDES = (8, 16, 32)
# Centre, log size and objectness stand before the classes.
_BEFORE = 5
# Person is the first class of COCO, and the only one of person detectors.
_CLASSES = (1, 80)


class YoloxDetector:
    """People by a YOLOX that gives raw rows: centre in its cell, log size, objectness, a probability a class.

    Pictures are letterboxed at the top left on grey 114 and given as BGR in 0..255, as YOLOX is trained.

    Parameters
    ----------
    engine
        Runs the network.
    score
        Least score of a person: objectness times the probability of the class.
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

    def __init__(self, engine: Engine, *, score: float = 0.4, max_people: int = 50) -> None:
        self._engine, self._least, self._most = engine, score, max_people
        self.weights, self.description = engine.path, engine.description
        shape = engine.shape
        if len(shape) != 3 or shape[0] != 3 or shape[1] is None or shape[2] is None:
            raise WeightsError(
                f"{engine.path} is not a YOLOX", got=f"input {shape}", expected="(3, height, width) of a fixed size"
            )
        self._size = (shape[1], shape[2])
        self._cells, self._strides = _grid(self._size)
        rows = engine.run(np.zeros((1, 3, *self._size), np.float32))[0]
        if rows.ndim != 3 or rows.shape[1] != len(self._cells) or rows.shape[2] - _BEFORE not in _CLASSES:
            raise WeightsError(
                f"{engine.path} is not a YOLOX of people",
                got=f"output {rows.shape} for an input of {self._size}",
                expected=f"(1, {len(self._cells)}, {_BEFORE} + 80 classes of COCO, or {_BEFORE} + 1)",
            )

    def detect(self, frame: Frame) -> Detections:
        """People of one frame, best score first; empty where there are none."""
        size = frame.image.shape[:2]
        picture, view = fit_picture(frame.image, letterbox(size, self._size), self._size)
        pixels = picture[:, :, ::-1].transpose(2, 0, 1)[None]
        rows = self._engine.run(pixels)[0][0].astype(np.float64)
        centre = (rows[:, :2] + self._cells) * self._strides
        # Logarithms of sizes are clipped where their exponential would overflow.
        half = np.exp(np.clip(rows[:, 2:4], -50, 50)) * self._strides / 2
        boxes = view.to_picture(np.stack((centre - half, centre + half), 1)).reshape(-1, 4)
        score = rows[:, 4] * rows[:, _BEFORE]
        people, _ = people_boxes(boxes, score, size, least=self._least, overlap=_OVERLAP, most=self._most)
        return people


def _grid(size: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Column and row (A,2) of every cell of the three levels, row by row, and its stride (A,1)."""
    cells, strides = [], []
    for stride in _STRIDES:
        rows, columns = np.mgrid[: size[0] // stride, : size[1] // stride]
        cells.append(np.stack((columns, rows), -1).reshape(-1, 2).astype(np.float64))
        strides.append(np.full((rows.size, 1), float(stride)))
    return np.concatenate(cells), np.concatenate(strides)
