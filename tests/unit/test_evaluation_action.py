"""Figures of named clips, worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from posepipe.evaluation.action import confusion, f1_scores, mean_class_accuracy, score_actions, top_accuracy

LABELS = np.array([0, 0, 0, 1, 1, 2])
#: names 0 0 1 1 2 1
SCORES = np.array([[5, 1, 0, 0], [4, 3, 0, 0], [2, 3, 1, 0], [0, 9, 1, 0], [0, 1, 2, 0], [3, 4, 2, 0]], float)


def test_shares_of_right_clips() -> None:
    assert top_accuracy(SCORES, LABELS) == pytest.approx(3 / 6)
    assert top_accuracy(SCORES, LABELS, 2) == pytest.approx(5 / 6)
    assert top_accuracy(SCORES, LABELS, 3) == 1
    assert mean_class_accuracy(SCORES, LABELS) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)


def test_confusion_and_f1() -> None:
    matrix = confusion(SCORES.argmax(1), LABELS, 4)
    assert matrix.tolist() == [[2, 1, 0, 0], [0, 1, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    macro, micro = f1_scores(matrix)
    assert macro == pytest.approx((2 * 2 / 5 + 2 * 1 / 5 + 0) / 3)
    assert micro == pytest.approx(0.5)
    score = score_actions(SCORES, LABELS)
    assert (score.clips, score.top1, score.top5, score.f1_macro, score.f1_micro) == (6, 0.5, 1, macro, micro)


def test_scores_that_say_nothing_are_not_right() -> None:
    flat = np.zeros((4, 8))
    assert top_accuracy(flat, np.array([0, 1, 2, 3])) == 0
    assert top_accuracy(flat, np.array([0, 1, 2, 3]), 5) == pytest.approx(1 / 4)


def test_nothing_has_no_figures() -> None:
    empty = np.zeros((0, 3))
    score = score_actions(empty, np.zeros(0, int))
    assert score.clips == 0
    assert all(math.isnan(v) for v in (score.top1, score.top5, score.mean_class, score.f1_macro, score.f1_micro))
