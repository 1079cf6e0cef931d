"""People from a file of boxes: another detector's output, or labels."""

from __future__ import annotations

import json
import math
import re
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from posepipe.errors import InputError
from posepipe.stages.detector import people_boxes
from posepipe.types import Detections, Frame

__all__ = ["FileDetector", "read_boxes"]

_MAX_BYTES = 1 << 30
_PERSON = 1
# One box: where it stands in the file, frame index, x1, y1, x2, y2, score.
_Row = tuple[str, int, float, float, float, float, float]


class FileDetector:
    """Boxes of a file, frame by frame.

    The form is told by the content:

    - MOTChallenge ``det.txt`` (``.txt``, ``.csv``): ``frame,id,x,y,width,height,score,...`` with frames from 1; the
      first frame of a video is frame 1. A score that is missing or -1 counts as 1.
    - COCO results (a JSON list of ``image_id``, ``bbox`` xywh, ``score``, ``category_id``) and COCO annotations (a
      JSON object with ``images`` and ``annotations``; score 1 unless given; crowds left out). Only category 1, person,
      counts. In results ``image_id`` is the frame index, from 0. Annotations name their pictures: the last number in
      ``file_name`` is the frame index; where a name has no number, its position in ``images`` is.
    - plain JSON ``{"frame": [[x1, y1, x2, y2, score], ...], ...}`` with frame indices from 0.

    Boxes are xyxy px of the upright picture, with scores in any range: a file's own scores are compared with ``score``
    as they are, and cut to [0,1] after.

    Parameters
    ----------
    path
        The file.
    score
        Least score of a person.
    max_people
        Most people in a frame.

    Raises
    ------
    InputError
        The file is missing, or a row is malformed: the message names the line or the entry.
    """

    def __init__(self, path: str | Path, *, score: float = 0.4, max_people: int = 50) -> None:
        self.path = self.weights = Path(path)
        self._boxes = read_boxes(self.path)
        self._least, self._most = score, max_people
        self.description = f"boxes of {self.weights.name} ({len(self._boxes)} frames)"

    def detect(self, frame: Frame) -> Detections:
        """People of one frame, best score first; empty where the file has none."""
        rows = self._boxes.get(frame.index)
        if rows is None:
            return Detections()
        people, _ = people_boxes(
            rows[:, :4], rows[:, 4], frame.image.shape[:2], least=self._least, overlap=1.0, most=self._most
        )
        return people


def read_boxes(path: str | Path) -> dict[int, np.ndarray[Any, np.dtype[np.float32]]]:
    """Frame index -> (N,5) float32 x1, y1, x2, y2, score; the forms are those of :class:`FileDetector`.

    Boxes whose corners are swapped are turned round, with one warning for the file.

    Raises
    ------
    InputError
        The file is missing, is none of the forms, or a row is malformed.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"{path} is too large for a file of boxes", expected="at most 1 GB")
        text = path.read_text("utf-8")
    except OSError as error:
        raise InputError(f"cannot read the boxes in {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file", expected="MOT rows or JSON") from error
    rows = _json_rows(path, text) if path.suffix.lower() == ".json" else _mot_rows(path, text)
    frames: dict[int, list[tuple[float, ...]]] = defaultdict(list)
    swapped = 0
    for where, frame, x1, y1, x2, y2, score in rows:
        if frame < 0 or not all(map(math.isfinite, (x1, y1, x2, y2, score))):
            raise InputError(f"{path}, {where}: not a finite box of a frame", got=[frame, x1, y1, x2, y2, score])
        swapped += x2 < x1 or y2 < y1
        frames[frame].append((min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2), score))
    if swapped:
        warnings.warn(f"{path}: {swapped} boxes had their corners swapped and were turned round", stacklevel=2)
    largest = np.finfo(np.float32).max
    return {f: np.clip(np.array(r, np.float64), -largest, largest).astype(np.float32) for f, r in frames.items()}


def _mot_rows(path: Path, text: str) -> Iterator[_Row]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        cells = re.split(r"[,;\s]+", line.strip().rstrip(",;"))
        try:
            frame = float(cells[0])
            x, y, width, height = map(float, cells[2:6])
            score = float(cells[6]) if len(cells) > 6 and float(cells[6]) != -1 else 1.0
            if frame != int(frame) or frame < 1:
                raise ValueError
        except (ValueError, IndexError, OverflowError):
            raise InputError(
                f"{path}, line {number}: not a MOT row",
                got=repr(line[:80]),
                expected="frame,id,x,y,width,height,score with frames from 1",
            ) from None
        yield f"line {number}", int(frame) - 1, x, y, x + width, y + height, score


def _json_rows(path: Path, text: str) -> Iterator[_Row]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON: {error}") from error
    if isinstance(data, list):
        return _coco_rows(path, data, None)
    if isinstance(data, dict) and isinstance(data.get("annotations"), list):
        return _coco_rows(path, data["annotations"], _image_frames(path, data.get("images")))
    if isinstance(data, dict):
        return _plain_rows(path, data)
    raise InputError(f"{path} holds no boxes", got=type(data).__name__, expected="a JSON object or list")


def _image_frames(path: Path, images: object) -> dict[Any, int]:
    """COCO image id -> frame index: the last number in the file name, else the position in the list."""
    try:
        found = {}
        for position, image in enumerate(images if isinstance(images, list) else ()):
            number = re.findall(r"\d+", Path(str(image.get("file_name", ""))).stem)
            found[image["id"]] = int(number[-1]) if number else position
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: malformed list of images", got=repr(error)) from error
    return found


def _coco_rows(path: Path, entries: list[Any], frames: dict[Any, int] | None) -> Iterator[_Row]:
    for number, entry in enumerate(entries):
        try:
            if entry.get("category_id", _PERSON) != _PERSON or entry.get("iscrowd", 0):
                continue
            image = entry["image_id"]
            frame = frames[image] if frames is not None else int(image)
            x, y, width, height = map(float, entry["bbox"])
            score = float(entry.get("score", 1.0))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}, entry {number}: not a COCO box",
                got=f"{str(entry)[:80]} ({type(error).__name__})",
                expected="image_id, bbox [x, y, width, height], score",
            ) from None
        yield f"entry {number}", frame, x, y, x + width, y + height, score


def _plain_rows(path: Path, data: dict[str, Any]) -> Iterator[_Row]:
    for name, boxes in data.items():
        try:
            frame = int(name)
            cells = [[float(value) for value in box] for box in boxes]
            if any(len(box) not in (4, 5) for box in cells):
                raise ValueError
        except (TypeError, ValueError, OverflowError):
            raise InputError(
                f"{path}, frame {name[:40]!r}: not a list of boxes",
                got=str(boxes)[:80],
                expected="[[x1, y1, x2, y2, score], ...] under a frame index from 0",
            ) from None
        for number, box in enumerate(cells):
            score = box[4] if len(box) == 5 else 1.0
            yield f"frame {frame}, box {number}", frame, box[0], box[1], box[2], box[3], score
