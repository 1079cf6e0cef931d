"""Person detection figures: COCO's average precision, by pycocotools, for one set of boxes against one label file."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["DetectionScores", "average_precision"]

PERSON_ID = 1


@dataclass(frozen=True, slots=True)
class DetectionScores:
    """COCO figures of one detector on one set, each in [0,1]; NaN where the set holds nobody of that size.

    ``ap`` is the mean over IoU .50:.05:.95, ``ap50`` and ``ap75`` at one IoU, ``ap_small/medium/large`` by labelled
    area (below 32^2, between, above 96^2 px), ``recall`` the mean recall with at most 100 boxes an image.
    """

    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    recall: float


def average_precision(
    labels: Mapping[str, Any], detections: Mapping[int, tuple[NDArray[Any], NDArray[Any]]]
) -> DetectionScores:
    """Score detections against COCO-style labels; crowd regions neither count nor punish.

    Parameters
    ----------
    labels
        A COCO dictionary with ``images`` and ``annotations`` (``bbox`` xywh px, ``area``, ``iscrowd``); only
        category 1 counts.
    detections
        Image id -> boxes (N,4) xyxy px and scores (N,). Images that are missing count as empty; an image that the
        labels do not hold is an error.

    Raises
    ------
    ValueError
        A detection belongs to an image that is not in the labels.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    known = {image["id"] for image in labels["images"]}
    strangers = sorted(set(detections) - known)
    if strangers:
        raise ValueError(f"detections for images that are not in the labels: {strangers[:5]}")
    rows = [
        [image, *box[:2], box[2] - box[0], box[3] - box[1], value, PERSON_ID]
        for image, (boxes, score) in detections.items()
        for box, value in zip(np.asarray(boxes, float).reshape(-1, 4), np.asarray(score, float), strict=True)
    ]
    # pycocotools talks on stdout and writes into the dictionaries it is given.
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "info": {},
            "images": [dict(image) for image in labels["images"]],
            "annotations": [dict(row) for row in labels["annotations"]],
            "categories": [{"id": PERSON_ID, "name": "person"}],
        }
        truth.createIndex()
        # Without a single detection loadRes fails; one box outside of every picture scores the same.
        guess = truth.loadRes(np.array(rows or [[min(known), -9, -9, 1, 1, 0, PERSON_ID]], float))
        evaluation = COCOeval(truth, guess, "bbox")
        evaluation.params.catIds = [PERSON_ID]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    figures = [float(value) if value >= 0 else float("nan") for value in evaluation.stats]
    ap, ap50, ap75, small, medium, large, *_ = figures
    return DetectionScores(ap, ap50, ap75, small, medium, large, recall=figures[8])
