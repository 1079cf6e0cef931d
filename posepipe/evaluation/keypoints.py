"""How good keypoints are: object keypoint similarity (OKS), percentage of correct keypoints (PCK), average precision.

Definitions: COCO keypoint evaluation (cocodataset.org, 2017) for OKS and AP; Yang and Ramanan 2013 for PCK.
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

from posepipe.errors import InputError, MissingExtraError
from posepipe.skeleton import COCO17, Skeleton

__all__ = ["AREA_SHARE", "Calibration", "calibration", "joint_oks", "oks_ap", "paired_oks", "pck", "person_score"]

Float = NDArray[np.floating]

#: mean share of a person's box that its segment covers on COCO; stands in for the area where no segment is known
AREA_SHARE = 0.53

_STATISTICS = ("AP", "AP50", "AP75", "AP_medium", "AP_large", "AR", "AR50", "AR75", "AR_medium", "AR_large")


def paired_oks(
    truth: Float, labelled: Float, area: Float, guess: Float, skeleton: Skeleton = COCO17
) -> NDArray[np.float64]:
    """OKS of each of N people with its own guess.

    Parameters
    ----------
    truth, guess
        (N,K,2) px.
    labelled
        (N,K), above 0 where the joint is labelled; other joints do not count.
    area
        (N,) px^2 of the person.
    skeleton
        Gives the K sigmas.

    Returns
    -------
    (N,) float64 in [0,1]; 0 for a person without a labelled joint.

    Raises
    ------
    ValueError
        The shapes do not fit together.
    """
    mask = np.asarray(labelled) > 0
    joints = joint_oks(truth, labelled, area, guess, skeleton)
    return np.asarray((joints * mask).sum(-1) / np.maximum(mask.sum(-1), 1))


def joint_oks(
    truth: Float, labelled: Float, area: Float, guess: Float, skeleton: Skeleton = COCO17
) -> NDArray[np.float64]:
    """What each joint adds to its person's OKS: (N,K) float64 in [0,1]; takes and raises what `paired_oks` does.

    Joints that are not labelled have a number too, which means nothing.
    """
    truth, guess, area = np.asarray(truth, np.float64), np.asarray(guess, np.float64), np.asarray(area, np.float64)
    mask = np.asarray(labelled) > 0
    if truth.shape != guess.shape or truth.shape != (*mask.shape, 2) or area.shape != mask.shape[:1]:
        raise ValueError(f"shapes do not fit: {truth.shape}, {mask.shape}, {area.shape}, {guess.shape}")
    variance = (2 * np.asarray(skeleton.sigmas)) ** 2
    exponent = ((truth - guess) ** 2).sum(-1) / variance / (area[:, None] + np.spacing(1)) / 2
    return np.asarray(np.exp(-exponent))


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far scores are what they claim to be: the mean of what they foretell.

    Attributes
    ----------
    count
        (B,) rows whose score lies in each of B even parts of [0,1].
    score, value
        (B,) their mean score and mean value; NaN in an empty part.
    error
        Mean distance of the two over the parts, weighted by count (expected calibration error, Guo et al. 2017).
    """

    count: NDArray[np.int64]
    score: NDArray[np.float64]
    value: NDArray[np.float64]
    error: float


def calibration(score: Float, value: Float, parts: int = 10) -> Calibration:
    """Compare scores (N,) in [0,1] with what came true (N,) in [0,1]; raises `ValueError` where there is no row."""
    score, value = np.asarray(score, np.float64), np.asarray(value, np.float64)
    if score.shape != value.shape or score.ndim != 1 or not len(score):
        raise ValueError(f"one value a score is needed, and at least one: {score.shape}, {value.shape}")
    part = np.clip((score * parts).astype(np.int64), 0, parts - 1)
    count = np.bincount(part, minlength=parts)
    said, came = (np.bincount(part, values, parts) for values in (score, value))
    with np.errstate(invalid="ignore"):
        return Calibration(count, said / count, came / count, float(np.abs(said - came).sum() / len(score)))


def pck(truth: Float, labelled: Float, guess: Float, reference: Float, threshold: float = 0.2) -> float:
    """Share of labelled joints whose guess lies within ``threshold * reference`` of the label.

    Parameters
    ----------
    truth, labelled, guess
        As in :func:`paired_oks`.
    reference
        (N,) px, the length that counts as 1 (here: the longer side of the person's box; name yours with the figure).
    threshold
        In parts of the reference.

    Returns
    -------
    In [0,1] over all labelled joints of all people; 0 where there are none.
    """
    mask = np.asarray(labelled) > 0
    distance = np.linalg.norm(np.asarray(truth, np.float64) - np.asarray(guess, np.float64), axis=-1)
    right = distance <= threshold * np.asarray(reference, np.float64)[:, None]
    return float((right & mask).sum() / max(1, int(mask.sum())))


def person_score(score: Float, least: float = 0.2) -> NDArray[np.float64]:
    """A person's score from its joints': mean over joints of at least `least`, 0 without one; (N,K) -> (N,)."""
    score = np.asarray(score, np.float64)
    counted = score >= least
    return np.asarray((score * counted).sum(-1) / np.maximum(counted.sum(-1), 1))


def oks_ap(truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """OKS average precision and recall by pycocotools.

    Parameters
    ----------
    truth
        A COCO person-keypoints file as a dictionary (images, annotations, categories).
    results
        COCO results: image_id, category_id, keypoints (3K numbers x, y, score), score.

    Returns
    -------
    AP, AP50, AP75, AP_medium, AP_large, AR, AR50, AR75, AR_medium, AR_large; -1 where nothing could be measured.

    Raises
    ------
    MissingExtraError
        pycocotools is not installed.
    InputError
        A result names an unknown picture.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise MissingExtraError("OKS average precision", "train") from error
    known = {image["id"] for image in truth["images"]}
    stray = {result["image_id"] for result in results} - known
    if stray:
        raise InputError(f"results name {len(stray)} pictures that the labels do not hold", got=sorted(stray)[:3])
    if not results:
        return dict.fromkeys(_STATISTICS, 0.0)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        labels = COCO()
        labels.dataset = copy.deepcopy(dict(truth))
        labels.createIndex()
        guesses = labels.loadRes(copy.deepcopy([dict(result) for result in results]))
        evaluation = COCOeval(labels, guesses, "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(_STATISTICS, (float(value) for value in evaluation.stats), strict=True))
