"""Real or manipulated: figures of scores against labels, of clips and of whole videos.

Scores are larger the more a clip seems manipulated; label 1 is manipulated, 0 real. A threshold is always chosen on
other data than it is judged on; AUC and EER need none.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posepipe.errors import UsageError
from posepipe.evaluation.bootstrap import draw_groups, interval

__all__ = [
    "ForgeryFigures",
    "Verdicts",
    "auc",
    "auc_interval",
    "equal_error",
    "forgery_figures",
    "judge",
    "video_scores",
]

Float = NDArray[np.floating]
Int = NDArray[np.integer]
_LEAST_GROUPS = 10


@dataclass(frozen=True)
class Verdicts:
    """Scores judged by a threshold: shares in [0,1].

    Attributes
    ----------
    threshold
        Scores from it on are called manipulated.
    f1
        Of the class "manipulated"; 0 where none of it is found.
    balanced_accuracy
        Mean of the shares of real and of manipulated ones that are called so.
    false_alarms, misses
        Share of the real ones called manipulated, and of the manipulated ones called real.
    """

    threshold: float
    f1: float
    balanced_accuracy: float
    false_alarms: float
    misses: float


def auc(score: Float, label: Int) -> float:
    """Area under the ROC curve: how often a manipulated one scores above a real one, ties counting half.

    Parameters
    ----------
    score, label
        (N,) and (N,) of 0 and 1.

    Raises
    ------
    UsageError
        Only one of the two labels occurs.
    """
    real, fake = _sides(score, label)
    _, rank, count = np.unique(np.concatenate([real, fake]), return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - (count - 1) / 2
    wins = middle[rank[len(real) :]].sum() - len(fake) * (len(fake) + 1) / 2
    return float(wins / (len(real) * len(fake)))


def auc_interval(
    score: Float, label: Int, group: Sequence[Hashable], *, draws: int = 1000, seed: int = 0
) -> tuple[float, float] | None:
    """95 % interval of the area under the ROC curve, by drawing whole groups (people, videos) with replacement.

    Parameters
    ----------
    score, label
        As for `auc`.
    group
        (N) what each belongs to: clips of a video, and videos of the same people, are no evidence of their own.
    draws, seed
        Of the bootstrap.

    Returns
    -------
    Lower and upper end; None with fewer than ten groups, of which the ends would mean nothing.
    """
    _sides(score, label)
    names = {name: number for number, name in enumerate(dict.fromkeys(group))}
    if len(names) < _LEAST_GROUPS:
        return None
    _, level = np.unique(np.asarray(score, np.float64), return_inverse=True)
    number = np.array([names[name] for name in group])
    found = []
    for counts in draw_groups(len(names), draws, seed):
        weight = counts[number]
        real, fake = (np.bincount(level, weight * (np.asarray(label) == side)) for side in (0, 1))
        below = np.cumsum(real) - real / 2  # a tie counts half
        pairs = real.sum() * fake.sum()
        found.append((fake * below).sum() / pairs if pairs else np.nan)
    return interval(np.array(found))


def equal_error(score: Float, label: Int) -> tuple[float, float]:
    """Equal error rate, and a threshold for it.

    Parameters
    ----------
    score, label
        As for `auc`.

    Returns
    -------
    rate
        Where the ROC curve, drawn with straight lines, has as many false alarms as misses.
    threshold
        Of the corner of the curve whose two error rates are nearest to each other, the fewer errors in a tie; it lies
        halfway between two neighbouring scores.

    Raises
    ------
    UsageError
        Only one of the two labels occurs.
    """
    real, fake = _sides(score, label)
    levels = np.unique(np.concatenate([real, fake]))
    halfway = (levels[:-1] + levels[1:]) / 2
    halfway = np.where(halfway > levels[:-1], halfway, levels[1:])  # of neighbouring floats it may be the lower one
    cuts = np.concatenate([[levels[0] - 1.0], halfway, [levels[-1] + 1.0]])
    alarms = np.append(1 - np.searchsorted(np.sort(real), levels, "left") / len(real), 0.0)
    misses = np.append(np.searchsorted(np.sort(fake), levels, "left") / len(fake), 1.0)
    gap = misses - alarms  # grows from -1 to 1
    after = int(np.argmax(gap >= 0))
    share = gap[after] / (gap[after] - gap[after - 1])
    rate = misses[after] + share * (misses[after - 1] - misses[after])
    order = np.lexsort((alarms + misses, np.abs(gap)))
    return float(rate), float(cuts[order[0]])


def judge(score: Float, label: Int, threshold: float) -> Verdicts:
    """What a threshold makes of scores; raises `UsageError` where only one of the two labels occurs."""
    real, fake = _sides(score, label)
    found, alarms = int((fake >= threshold).sum()), int((real >= threshold).sum())
    missed = len(fake) - found
    return Verdicts(
        threshold=float(threshold),
        f1=2 * found / (2 * found + alarms + missed),
        balanced_accuracy=(found / len(fake) + 1 - alarms / len(real)) / 2,
        false_alarms=alarms / len(real),
        misses=missed / len(fake),
    )


@dataclass(frozen=True)
class ForgeryFigures:
    """What scores of N clips, or of N videos, are worth.

    Attributes
    ----------
    real, fake
        How many there are.
    auc, eer
        Area under the ROC curve and equal error rate of these scores themselves.
    auc_interval
        From `auc_interval`.
    verdicts
        By the threshold.
    """

    real: int
    fake: int
    auc: float
    auc_interval: tuple[float, float] | None
    eer: float
    verdicts: Verdicts


def forgery_figures(score: Float, label: Int, group: Sequence[Hashable], threshold: float) -> ForgeryFigures:
    """All figures of N scores, labels and groups; the threshold is one that other data chose. Raises as `auc`."""
    return ForgeryFigures(
        real=int((np.asarray(label) == 0).sum()),
        fake=int((np.asarray(label) == 1).sum()),
        auc=auc(score, label),
        auc_interval=auc_interval(score, label, group),
        eer=equal_error(score, label)[0],
        verdicts=judge(score, label, threshold),
    )


def video_scores(score: Float, video: Sequence[Hashable]) -> dict[Hashable, float]:
    """The mean score of each video's clips, in the order in which videos first come."""
    sums: dict[Hashable, list[float]] = {}
    for value, name in zip(score, video, strict=True):
        sums.setdefault(name, []).append(float(value))
    return {name: float(np.mean(values)) for name, values in sums.items()}


def _sides(score: Float, label: Int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The scores of the real and of the manipulated ones."""
    score, label = np.asarray(score, np.float64), np.asarray(label)
    if score.shape != label.shape or not np.isfinite(score).all():
        raise UsageError("scores and labels do not fit", got=f"{score.shape} and {label.shape}, or scores not finite")
    real, fake = score[label == 0], score[label == 1]
    if len(real) == 0 or len(fake) == 0 or len(real) + len(fake) != len(score):
        raise UsageError(
            "real and manipulated ones are needed", got=f"{len(real)} real and {len(fake)} manipulated of {len(score)}"
        )
    return real, fake
