"""How well clips are named: shares of right clips, F1 of classes, confusion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ActionScore", "confusion", "f1_scores", "mean_class_accuracy", "score_actions", "top_accuracy"]

Float = NDArray[np.floating]
Labels = NDArray[np.integer]


@dataclass(frozen=True)
class ActionScore:
    """Figures of S clips, shares in [0,1].

    Attributes
    ----------
    clips
        S.
    top1, top5
        Share of clips whose class is the likeliest, and one of the five likeliest.
    mean_class
        Mean over classes of the share of their clips that are right.
    f1_macro, f1_micro
        Mean over classes of F1, and F1 of all clips together, which is top1 where a clip has one class.
    """

    clips: int
    top1: float
    top5: float
    mean_class: float
    f1_macro: float
    f1_micro: float


def score_actions(scores: Float, labels: Labels) -> ActionScore:
    """All figures of (S,F) scores, the greater the likelier, against (S,) classes."""
    matrix = confusion(scores.argmax(1), labels, scores.shape[1])
    macro, micro = f1_scores(matrix)
    top1, top5 = top_accuracy(scores, labels), top_accuracy(scores, labels, 5)
    return ActionScore(len(labels), top1, top5, mean_class_accuracy(scores, labels), macro, micro)


def top_accuracy(scores: Float, labels: Labels, k: int = 1) -> float:
    """Share of S clips whose class is among the k likeliest ((S,F) scores, (S,) classes); ties go to the later class.

    So a constant score names nothing rightly by chance of the order, but for the last k classes.
    """
    if not len(labels):
        return float("nan")
    own = scores[np.arange(len(labels)), labels][:, None]
    later = np.arange(scores.shape[1]) > np.asarray(labels)[:, None]
    ahead = (scores > own) | ((scores == own) & later)
    return float((ahead.sum(1) < k).mean())


def mean_class_accuracy(scores: Float, labels: Labels) -> float:
    """Mean over the classes that have clips of the share of their clips that are right."""
    matrix = confusion(scores.argmax(1), labels, scores.shape[1])
    counts = matrix.sum(1)
    there = counts > 0
    return float((np.diag(matrix)[there] / counts[there]).mean()) if there.any() else float("nan")


def confusion(named: Labels, labels: Labels, classes: int) -> NDArray[np.int64]:
    """(F,F) clips of each class (rows) by the class that they were given (columns)."""
    matrix = np.zeros((classes, classes), np.int64)
    np.add.at(matrix, (np.asarray(labels), np.asarray(named)), 1)
    return matrix


def f1_scores(matrix: NDArray[np.integer]) -> tuple[float, float]:
    """Macro and micro F1 of a confusion matrix; classes without a clip that are never named do not count for macro."""
    right = np.diag(matrix)
    either = matrix.sum(0) + matrix.sum(1)
    there = either > 0
    if not there.any():
        return float("nan"), float("nan")
    return float((2 * right[there] / either[there]).mean()), float(2 * right.sum() / either.sum())
