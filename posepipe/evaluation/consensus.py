"""From scores of a video's samples to scores of the video (consensus), and from two streams to one (fusion).

Scores are logits, before any softmax. Variance weighting: the scores of a sample (or of a stream) spread more over the
classes when it is decisive, so each is weighted with the variance of its own scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posepipe.errors import UsageError

__all__ = ["CONSENSUS", "FUSIONS", "consensus", "fuse", "majority", "precision_at", "stream_rows"]

Scores = NDArray[np.floating[Any]]

CONSENSUS = ("mean", "max", "variance")
#: how two streams become one, by name: weight of the first and of the second stream where it is fixed
FUSIONS: Mapping[str, tuple[float, float] | None] = {
    "average": (1.0, 1.0),
    "max": None,
    "2:1": (2.0, 1.0),
    "1:2": (1.0, 2.0),
    "variance": None,
    "top-5 variance": None,
}
_TOP = 5


def consensus(scores: Scores, how: str = "mean") -> Scores:
    """Scores of videos out of those of their samples.

    Parameters
    ----------
    scores
        (V,S,A): videos, samples, classes.
    how
        ``mean``; ``max``, class by class; ``variance``: the mean weighted with each sample's variance over the classes.

    Returns
    -------
    (V,A).
    """
    if scores.ndim != 3:
        raise UsageError("scores of samples have three axes", got=scores.shape, expected="(videos, samples, classes)")
    match how:
        case "mean":
            return np.asarray(scores.mean(1))
        case "max":
            return np.asarray(scores.max(1))
        case "variance":
            return _weighted(scores, scores.var(2))
    raise UsageError(f"there is no consensus {how!r}", expected=", ".join(CONSENSUS))


def fuse(first: Scores, second: Scores, how: str = "average") -> Scores:
    """Scores of videos out of those of two streams.

    Parameters
    ----------
    first, second
        (V,A) of the spatial and of the temporal stream.
    how
        A name of `FUSIONS`: a weighted mean (``2:1`` weights the spatial stream double); ``max``, class by class;
        ``variance``: the mean weighted, video by video, with the variance of each stream's scores; ``top-5 variance``:
        with that of its five highest scores.

    Returns
    -------
    (V,A).
    """
    if first.shape != second.shape or first.ndim != 2:
        got = f"{first.shape} and {second.shape}"
        raise UsageError(
            "two streams have scores of the same videos and classes", got=got, expected="(videos, classes)"
        )
    both = np.stack((first, second), 1)
    if how not in FUSIONS:
        raise UsageError(f"there is no fusion {how!r}", expected=", ".join(FUSIONS))
    fixed = FUSIONS[how]
    if fixed is not None:
        return _weighted(both, np.broadcast_to(np.array(fixed), both.shape[:2]))
    match how:
        case "max":
            return np.asarray(both.max(1))
        case "variance":
            return _weighted(both, both.var(2))
        case _:
            return _weighted(both, np.sort(both, 2)[..., -_TOP:].var(2))


def _weighted(scores: Scores, weights: Scores) -> Scores:
    """Mean over the middle axis of (V,S,A) with weights (V,S); where all are zero, they are alike."""
    weights = np.where(weights.sum(1, keepdims=True) > 0, weights, 1.0)
    return np.asarray((scores * weights[..., None]).sum(1) / weights.sum(1)[:, None])


def precision_at(scores: Scores, labels: NDArray[np.int64], k: int = 1) -> float:
    """Prec@k: share of videos, in per cent, whose class is among the k highest scores.

    Parameters
    ----------
    scores
        (V,A).
    labels
        (V,) class of each video.
    k
        At least 1. Of equal scores the class of the lower number comes first.
    """
    if not len(labels):
        raise UsageError("there are no videos to score")
    own = np.take_along_axis(scores, labels[:, None], 1)
    before = np.arange(scores.shape[1]) < labels[:, None]
    rank = (scores > own).sum(1) + ((scores == own) & before).sum(1)
    return float(100.0 * (rank < k).mean())


def stream_rows(
    spatial: Scores | None, temporal: Scores | None, labels: NDArray[np.int64]
) -> list[tuple[str, float, float]]:
    """Prec@1 and Prec@5 of each stream by each consensus, and of their fusion.

    Parameters
    ----------
    spatial, temporal
        (V,S,A) scores of samples; None for a stream that is not there.
    labels
        (V,).

    Returns
    -------
    Rows of name, Prec@1, Prec@5 in per cent: each stream by mean, max and variance consensus, then, of mean and of
    variance consensus, every fusion.
    """
    rows: list[tuple[str, float, float]] = []
    for name, scores in (("spatial", spatial), ("temporal", temporal)):
        if scores is not None:
            rows += [_row(f"{name}, {how}", consensus(scores, how), labels) for how in CONSENSUS]
    if spatial is not None and temporal is not None:
        for how in ("mean", "variance"):
            one, other = consensus(spatial, how), consensus(temporal, how)
            rows += [_row(f"fusion of {how}, {way}", fuse(one, other, way), labels) for way in FUSIONS]
    return rows


def _row(name: str, scores: Scores, labels: NDArray[np.int64]) -> tuple[str, float, float]:
    return name, precision_at(scores, labels), precision_at(scores, labels, _TOP)


def majority(labels: Sequence[int] | NDArray[np.int64], classes: int) -> Scores:
    """(A,) scores of the baseline that looks at nothing: the share of each class among labels."""
    return np.bincount(np.asarray(labels), minlength=classes) / len(labels)
