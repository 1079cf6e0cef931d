"""What the person detector learns from: every set of the data folder, with a second opinion on found boxes."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from posepipe.datasets.box_samples import read_rgb, stretch
from posepipe.datasets.boxes import (
    BoxedImage,
    Opinion,
    athlete_images,
    coco_images,
    judge,
    merge_opinions,
    read_opinions,
    read_teacher,
)
from posepipe.datasets.held_out import held_out
from posepipe.geometry import nms
from posepipe.io.atomic import atomic_path
from posepipe.models.detector import PersonDetector
from posepipe.training.detector_export import detector_graph, detector_session

__all__ = ["detect", "labels_of", "second_opinions", "training_boxes", "training_pictures", "validation_boxes"]

SIZE = 416
"""Input of the published weights, px."""

ATHLETES_ONE_IN = 3
"""Share of LSPET's training pictures that is used: they are many and much alike."""

TEACHER_WEIGHT, OWN_WEIGHT = 2.0, 1.0
"""The stored teacher is two detectors; the start network is one."""

MIRRORED = "mirror:"


def detect(
    session: onnxruntime.InferenceSession, image: NDArray[np.uint8], size: int, score: float, nms_iou: float
) -> tuple[Opinion, Opinion]:
    """What an exported detector sees in a picture (H,W,3) and in its mirror image, both in the picture's pixels.

    Parameters
    ----------
    session
        From ``detector_session``.
    image
        (H,W,3) uint8 RGB.
    size
        Side of the network's input, px.
    score, nms_iou
        Least score, and the overlap above which the worse box is dropped.
    """
    height, width = image.shape[:2]
    view = stretch(image, size)
    batch = np.stack([view, view[:, ::-1]]).transpose(0, 3, 1, 2).astype(np.float32)
    boxes, scores = session.run(None, {"image": batch})
    boxes[1, :, [0, 2]] = size - boxes[1, :, [2, 0]]
    boxes = boxes.clip(0, size) * (np.array([width, height, width, height], np.float32) / size)
    seen = []
    for side in range(2):
        kept = np.flatnonzero(scores[side] > score)
        kept = kept[nms(boxes[side, kept], scores[side, kept], nms_iou)]
        seen.append(Opinion(boxes[side, kept], scores[side, kept]))
    return seen[0], seen[1]


def second_opinions(
    detector: PersonDetector, paths: Sequence[Path], stored: Path
) -> dict[str, tuple[Opinion, Opinion]]:
    """What ``detector`` sees in pictures and their mirror images, by file name; read from ``stored`` if it is there."""
    if not stored.is_file():
        _store(detector, paths, stored)
    rows = read_opinions(stored)
    return {name: (seen, rows[MIRRORED + name]) for name, seen in rows.items() if not name.startswith(MIRRORED)}


def _store(detector: PersonDetector, paths: Sequence[Path], stored: Path) -> None:
    session = detector_session(detector_graph(detector, SIZE), threads=1)
    names: list[str] = []
    opinions: list[Opinion] = []
    for path in paths:
        names += [path.name, MIRRORED + path.name]
        opinions += detect(session, read_rgb(path), SIZE, 0.15, 0.6)
    rows: dict[str, NDArray[Any]] = {
        "names": np.array(names),
        "image": np.repeat(np.arange(len(opinions), dtype=np.int32), [len(o.score) for o in opinions]),
        "box": np.concatenate([o.boxes for o in opinions]),
        "score": np.concatenate([o.score for o in opinions]),
    }
    stored.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(stored) as unfinished:
        np.savez_compressed(unfinished, **cast("dict[str, Any]", rows))


def _merged(teacher: dict[str, Opinion], own: dict[str, tuple[Opinion, Opinion]], weight: float) -> dict[str, Opinion]:
    half = OWN_WEIGHT / 2
    return {
        name: merge_opinions([seen, *own[name]], [weight, half, half]) for name, seen in teacher.items() if name in own
    }


def _athlete_names(root: Path) -> dict[str, Opinion]:
    """LSPET's used training pictures, with what YOLOX-nano saw in them."""
    labels = json.loads((root / "lspet/person_keypoints_train.json").read_text("utf-8"))
    seen = json.loads((root / "lspet/teacher_boxes_yolox_nano.json").read_text("utf-8"))
    names = [image["file_name"] for image in labels["images"]]
    rows = {name: np.array(seen.get(name, []), np.float32).reshape(-1, 5) for name in names}
    return {
        name: Opinion(r[:, :4], r[:, 4]) for name, r in rows.items() if zlib.crc32(name.encode()) % ATHLETES_ONE_IN == 0
    }


def training_boxes(root: Path, detector: PersonDetector, cache: Path) -> tuple[list[BoxedImage], list[BoxedImage]]:
    """Everything to train and to validate on: (training, validation). No test part is read.

    Parameters
    ----------
    root
        The data folder.
    detector
        The start network, whose opinion is merged with the stored teachers' (a box that both see counts for more).
    cache
        Folder in which its opinions are kept; the first run takes a tenth of a second a picture.
    """
    images = _boxes(root, detector, cache, lambda _: True)
    training: list[BoxedImage] = []
    for source in dict.fromkeys(image.source for image in images):
        part = [image for image in images if image.source == source and not held_out(image.path)]
        training += part * 2 if source in ("coco", "unlabelled") else part  # those of COCO are few
    return training, [image for image in images if held_out(image.path)]


def validation_boxes(root: Path, detector: PersonDetector, cache: Path) -> list[BoxedImage]:
    """The validation part of ``training_boxes`` alone, and as quickly as it is small."""
    return _boxes(root, detector, cache / "held_out", held_out)


def training_pictures(root: Path) -> list[BoxedImage]:
    """The pictures of ``training_boxes``' training part, each once and without labels."""
    names = {name: (folder, list(seen)) for name, (folder, seen, _) in _found(root).items()}
    names["coco"] = (root / "coco-mini/images", [path.name for path in _labelled(root)])
    return [
        BoxedImage(folder / n, np.zeros((0, 4), np.float32), np.zeros(0, bool), name)
        for name, (folder, files) in names.items()
        for n in files
        if not held_out(folder / n)
    ]


def _found(root: Path) -> dict[str, tuple[Path, dict[str, Opinion], float]]:
    """Sets labelled by detectors: folder, what the stored teachers saw by file name, and their weight."""
    rows = {
        "people": ("people", read_teacher(root / "people/teacher.npz"), TEACHER_WEIGHT),
        "streets": ("streets", read_teacher(root / "streets/teacher.npz"), TEACHER_WEIGHT),
        "unlabelled": ("coco-mini", read_teacher(root / "coco-mini/teacher_unlabelled.npz"), TEACHER_WEIGHT),
        "lspet": ("lspet", _athlete_names(root), 1.0),
    }
    return {name: (root / folder / "images", seen, weight) for name, (folder, seen, weight) in rows.items()}


def _boxes(root: Path, detector: PersonDetector, cache: Path, wanted: Callable[[Path], bool]) -> list[BoxedImage]:
    """The labelled pictures of every set that are wanted, set by set."""
    images: list[BoxedImage] = []
    for name, (folder, teacher, weight) in _found(root).items():
        paths = [folder / n for n in teacher if wanted(folder / n)]
        seen = _merged(teacher, second_opinions(detector, paths, cache / f"{name}.npz"), weight)
        if name == "lspet":
            athletes = athlete_images(root / "lspet/person_keypoints_train.json", folder, seen, name)
            images += [image for image in athletes if image.path.name in seen]
        else:
            images += [judge(folder / n, opinion, name) for n, opinion in seen.items()]
    folder = root / "coco-mini/images"
    sizes = {path.name: _size(path) for path in _labelled(root) if wanted(path)}
    return images + coco_images(root / "coco-mini/annotations/person_boxes_train.json", folder, "coco", sizes)


def _labelled(root: Path) -> list[Path]:
    """COCO's training pictures that are labelled by people and are at hand."""
    labels = json.loads((root / "coco-mini/annotations/person_boxes_train.json").read_text("utf-8"))
    paths = [root / "coco-mini/images" / row["file_name"] for row in labels["images"]]
    return [path for path in paths if path.is_file()]


def _size(path: Path) -> tuple[int, int]:
    height, width = read_rgb(path).shape[:2]
    return width, height


def labels_of(images: Sequence[BoxedImage]) -> dict[str, Any]:
    """COCO labels of pictures, ids counted from 0 in their order; ignored boxes are crowds."""
    rows: list[dict[str, Any]] = []
    for number, image in enumerate(images):
        for box, ignore in zip(image.boxes.astype(float), image.ignore, strict=True):
            x, y, width, height = box[0], box[1], box[2] - box[0], box[3] - box[1]
            row = {"bbox": [x, y, width, height], "area": width * height, "iscrowd": int(ignore)}
            rows.append(row | {"id": len(rows) + 1, "image_id": number, "category_id": 1})
    return {"images": [{"id": number} for number in range(len(images))], "annotations": rows}
