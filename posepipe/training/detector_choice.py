"""Which weights are shipped: the start, the tuned ones, or a mean of both, chosen on the validation pictures.

Weights between the published and the fine-tuned ones often beat both, because fine-tuning on few sets also forgets
(Wortsman et al. 2022, WiSE-FT, arXiv 2109.01903).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from posepipe.datasets.box_samples import read_rgb
from posepipe.datasets.boxes import BoxedImage, Opinion
from posepipe.evaluation.detection import average_precision
from posepipe.geometry import iou
from posepipe.models.detector import PersonDetector
from posepipe.training.detector_data import detect, labels_of
from posepipe.training.detector_export import detector_graph, detector_session

__all__ = ["blend", "f1", "look", "precision_by_source", "validation_score"]

LEAST_SCORE, SUPPRESS_IOU, MOST_BOXES = 0.02, 0.6, 100


def blend(start: Mapping[str, Tensor], tuned: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Weights that are ``share`` of the way from ``start`` to ``tuned`` (the same names and shapes)."""
    return {name: value + share * (tuned[name] - value) for name, value in start.items()}


def precision_by_source(images: Sequence[BoxedImage], seen: Sequence[Opinion]) -> dict[str, float]:
    """Average precision on each set that the pictures come from."""
    figures = {}
    for source in sorted({image.source for image in images}):
        rows = [row for row, image in enumerate(images) if image.source == source]
        labels = labels_of([images[row] for row in rows])
        boxes = {number: (seen[row].boxes, seen[row].score) for number, row in enumerate(rows)}
        figures[source] = average_precision(labels, boxes).ap
    return figures


def validation_score(figures: Mapping[str, float]) -> float:
    """The figure that chooses: half the set that people labelled, half the mean of the sets that detectors labelled."""
    found = [value for source, value in figures.items() if source != "coco"]
    return float((figures.get("coco", 0.0) + sum(found) / max(1, len(found))) / 2)


def look(detector: PersonDetector, size: int, images: Sequence[BoxedImage]) -> list[Opinion]:
    """What a network sees in every picture at an input size; single views, as it is shipped."""
    session = detector_session(detector_graph(detector, size), threads=1)
    seen = [detect(session, read_rgb(image.path), size, LEAST_SCORE, SUPPRESS_IOU)[0] for image in images]
    return [Opinion(opinion.boxes[:MOST_BOXES], opinion.score[:MOST_BOXES]) for opinion in seen]


def f1(images: Sequence[BoxedImage], seen: Sequence[Opinion], threshold: float) -> float:
    """F1 of the boxes from a score up, matched greedily at IoU .5; boxes on ignored regions do not count."""
    right = wrong = missed = 0
    for image, opinion in zip(images, seen, strict=True):
        overlap = iou(opinion.boxes[opinion.score >= threshold], image.boxes)
        free = np.ones(len(image.boxes), bool)
        for row in overlap:
            best = int(np.argmax(np.where(free, row, -1.0))) if free.any() else -1
            if best >= 0 and row[best] >= 0.5:
                free[best] = False
                right += not image.ignore[best]
            else:
                wrong += not (row[image.ignore] > 0.2).any()
        missed += int((free & ~image.ignore).sum())
    return 2 * right / max(1, 2 * right + wrong + missed)
