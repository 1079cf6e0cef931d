"""Average precision on bootstrap draws: pycocotools matches once, each draw only counts again.

Which guess belongs to which person does not depend on which pictures were drawn; only how often each counts does. So
the matches of pycocotools are kept, and precision and recall are accumulated by its rule (101 recall points, precision
made monotone) with every picture counted as often as it was drawn.
"""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posepipe.errors import MissingExtraError

__all__ = ["Matches", "drawn_ap", "match_by_oks"]

_RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class Matches:
    """Guesses of a whole set, best score first, as pycocotools matched them.

    Attributes
    ----------
    image
        (D,) row of the picture.
    right, ignored
        (T,D) at each of T OKS thresholds: matched to a person; left out of the count.
    people
        (I,) people to find in each picture.
    """

    image: NDArray[np.int64]
    right: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    people: NDArray[np.int64]


def match_by_oks(truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> Matches:
    """Match guesses to people at OKS .50:.05:.95, at most 20 guesses a picture, people of all sizes.

    Parameters
    ----------
    truth, results
        As for :func:`posepipe.evaluation.keypoints.oks_ap`; picture ids are 0..I-1, the rows of the pictures.

    Raises
    ------
    MissingExtraError
        pycocotools is not installed.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise MissingExtraError("OKS average precision", "train") from error
    images = len(truth["images"])
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        labels = COCO()
        labels.dataset = copy.deepcopy(dict(truth))
        labels.createIndex()
        if not results:
            people = [sum(not row["iscrowd"] for row in labels.imgToAnns[i]) for i in range(images)]
            nobody = np.zeros((10, 0), bool)
            return Matches(np.zeros(0, np.int64), nobody, nobody, np.array(people, np.int64))
        guesses = labels.loadRes(copy.deepcopy([dict(result) for result in results]))
        evaluation = COCOeval(labels, guesses, "keypoints")
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.evaluate()
    return _collect([part for part in evaluation.evalImgs if part is not None], images)


def _collect(parts: Sequence[Mapping[str, Any]], images: int) -> Matches:
    """Put the pictures' matches together, best score first, ties in the order of the pictures."""
    people = np.zeros(images, np.int64)
    for part in parts:
        people[part["image_id"]] = int((np.asarray(part["gtIgnore"]) == 0).sum())
    score = np.concatenate([np.asarray(part["dtScores"], float) for part in parts] or [np.zeros(0)])
    order = np.argsort(-score, kind="mergesort")
    image = np.concatenate([np.full(len(p["dtScores"]), p["image_id"], np.int64) for p in parts] or [np.zeros(0, int)])
    right = np.concatenate([np.asarray(p["dtMatches"]) > 0 for p in parts] or [np.zeros((10, 0), bool)], axis=1)
    ignored = np.concatenate([np.asarray(p["dtIgnore"], bool) for p in parts] or [np.zeros((10, 0), bool)], axis=1)
    return Matches(image[order], right[:, order], ignored[:, order], people)


def drawn_ap(matches: Matches, times: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """AP and AR when picture i counts ``times[b, i]`` times.

    Parameters
    ----------
    matches
        From :func:`match_by_oks`.
    times
        (B,I) draws.

    Returns
    -------
    ap, ar
        (B,) in [0,1], mean over OKS .50:.05:.95; NaN for a draw with nobody to find.
    """
    ap, ar = np.full(len(times), np.nan), np.full(len(times), np.nan)
    for number, drawn in enumerate(times):
        people = int(drawn @ matches.people)
        if people:
            pairs = [
                _one_threshold(r, i, drawn[matches.image], people)
                for r, i in zip(matches.right, matches.ignored, strict=True)
            ]
            ap[number], ar[number] = np.mean(pairs, axis=0)
    return ap, ar


def _one_threshold(
    right: NDArray[np.bool_], ignored: NDArray[np.bool_], weight: NDArray[np.int64], people: int
) -> tuple[float, float]:
    """Interpolated precision and the last recall, guesses (D,) in the order of their scores."""
    counted = np.where(ignored, 0, weight)
    found = np.cumsum(counted * right)
    claimed = np.cumsum(counted)
    if not len(found):
        return 0.0, 0.0
    recall = found / people
    precision = found / np.maximum(claimed, 1)
    monotone = np.maximum.accumulate(precision[::-1])[::-1]
    place = np.searchsorted(recall, _RECALLS, side="left")
    return float(np.where(place < len(found), monotone[np.minimum(place, len(found) - 1)], 0.0).mean()), float(
        recall[-1]
    )
