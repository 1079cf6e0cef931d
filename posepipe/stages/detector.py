"""Finding people with a box network in an ONNX file: the embedded detector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from posepipe.errors import WeightsError
from posepipe.geometry import nms
from posepipe.stages.engine import Engine
from posepipe.stages.pixels import fit_picture, letterbox
from posepipe.types import Detections, Frame

__all__ = ["OnnxDetector", "people_boxes"]

# Overlaps of more boxes than this are not worked out: the work grows with the square.
_CANDIDATES = 1000


def people_boxes(
    boxes: NDArray[np.floating],
    score: NDArray[np.floating],
    size: tuple[int, int],
    *,
    least: float,
    overlap: float,
    most: int,
) -> tuple[Detections, NDArray[np.int64]]:
    """From a network's raw boxes to people: threshold, suppress, clip, drop what has no extent, keep the best.

    Parameters
    ----------
    boxes, score
        (A,4) xyxy px of the picture and (A,); rows that are not finite are dropped.
    size
        (height, width) of the picture: boxes are clipped to it and dropped where less than a pixel is left.
    least, overlap, most
        Least score; IoU above which the worse box is dropped (1 = no suppression); most people.

    Returns
    -------
    People, best score first, and the rows of ``boxes`` that they are.
    """
    boxes, score = np.asarray(boxes, np.float32), np.asarray(score, np.float32)
    height, width = size
    rows = np.flatnonzero((score >= least) & np.isfinite(score))
    rows = rows[np.isfinite(boxes[rows]).all(1)]
    rows = rows[np.argsort(-score[rows], kind="stable")[:_CANDIDATES]]
    if overlap < 1:
        rows = rows[nms(boxes[rows], score[rows], overlap)]
    clipped = np.clip(boxes[rows], 0, np.array([width, height, width, height], np.float32))
    solid = np.flatnonzero((clipped[:, 2:] - clipped[:, :2] >= 1).all(1))[:most]
    rows = rows[solid]
    return Detections(clipped[solid], np.clip(score[rows], 0, 1)), rows


class OnnxDetector:
    """People by a network that gives boxes and scores.

    The network takes ``image`` (N,3,H,W) float32 RGB in 0..255 of one size and gives ``boxes`` (N,A,4) xyxy in input
    px and ``score`` (N,A). Its card says how a picture is brought to that size (``resize``: ``letterbox``, at the top
    left on grey 114, or ``stretch``) and the overlap at which boxes are one person (``nms_iou``).

    Parameters
    ----------
    path
        The ONNX file.
    device, threads
        As for :class:`Engine`.
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
        The file is missing or not such a network.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        device: str = "auto",
        threads: int = 0,
        score: float = 0.4,
        max_people: int = 50,
    ) -> None:
        self._engine = Engine(path, device=device, threads=threads, batch=1)
        resize = self._engine.card.get("resize", "letterbox")
        if resize not in ("letterbox", "stretch"):
            raise WeightsError(f"the card of {path} asks for an unknown resizing", got=repr(resize))
        self._stretch = resize == "stretch"
        self._overlap = self._engine.number("nms_iou", 0.6)
        self._least, self._most = score, max_people
        shape = self._engine.shape
        if not {"boxes", "score"} <= set(self._engine.outputs) or len(shape) != 3 or shape[0] != 3 or None in shape:
            raise WeightsError(
                f"{path} is not a person detector",
                got=f"input {shape}, outputs {list(self._engine.outputs)}",
                expected="input (3, height, width) of a fixed size, outputs boxes and score",
            )
        self._size = (int(shape[1] or 0), int(shape[2] or 0))
        self.weights, self.description = self._engine.path, self._engine.description

    def detect(self, frame: Frame) -> Detections:
        """People of one frame, best score first; empty where there are none."""
        height, width = frame.image.shape[:2]
        inner = self._size if self._stretch else letterbox((height, width), self._size)
        picture, view = fit_picture(frame.image, inner, self._size)
        outputs = dict(zip(self._engine.outputs, self._engine.run(picture.transpose(2, 0, 1)[None]), strict=True))
        score = outputs["score"][0]
        seen = np.flatnonzero(score >= self._least)  # few of thousands: the rest is not worth moving
        boxes = view.to_picture(outputs["boxes"][0][seen].reshape(-1, 2, 2)).reshape(-1, 4)
        people, _ = people_boxes(
            boxes, score[seen], (height, width), least=self._least, overlap=self._overlap, most=self._most
        )
        return people
