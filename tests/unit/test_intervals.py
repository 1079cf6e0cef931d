from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posepipe.intervals import apart, best_spans, interval_iou, soft_nms, soft_nms_by_label


def test_overlap_of_spans():
    found = interval_iou([(0, 10), (3, 3)], [(1, 11), (10, 20), (2, 4), (3, 3)])
    assert found == pytest.approx(np.array([[9 / 11, 0, 0.2, 0], [0, 0, 0, 0]]))


def test_a_neighbour_loses_score_as_published():
    rows, score = soft_nms([(0, 10), (1, 11)], [0.9, 0.8], sigma=0.7)
    assert rows.tolist() == [0, 1]
    assert score == pytest.approx([0.9, 0.30744], abs=5e-6)


def test_what_does_not_overlap_keeps_its_score_and_the_worst_goes_first_over_the_limit():
    rows, score = soft_nms([(0, 1), (5, 6), (8, 9)], [0.2, 0.9, 0.5], most=2)
    assert rows.tolist() == [1, 2]
    assert score == pytest.approx([0.9, 0.5])


def test_least_score_drops():
    rows, _ = soft_nms([(0, 10), (0, 10)], [0.9, 0.8], sigma=0.1, least=0.01)
    assert rows.tolist() == [0]


def test_labels_do_not_suppress_one_another():
    _, score, label = soft_nms_by_label([(0, 10), (0, 10)], [0.9, 0.8], [3, 1])
    assert label.tolist() == [3, 1]
    assert score == pytest.approx([0.9, 0.8])


def test_voting_moves_ends_to_the_weighted_mean():
    spans, score, _ = soft_nms_by_label([(0, 10), (1, 11), (30, 40)], [0.9, 0.8, 0.1], [0, 0, 0], voting=0.7)
    share = 0.8 * 9 / 11 / (0.9 + 0.8 * 9 / 11)
    assert spans[0] == pytest.approx((share, 10 + share))
    assert spans[-1] == pytest.approx((30, 40))
    assert score[0] == pytest.approx(0.9)


def test_better_spans_are_taken_off_worse_ones():
    rows, ends = apart([(0, 10), (8, 14), (4, 9), (20, 30), (19, 31)], [0.9, 0.8, 0.7, 0.6, 0.5])
    # (4, 9) lies in the first; of (19, 31) no piece of half its length is left
    assert rows.tolist() == [0, 1, 3]
    assert ends.tolist() == [[0, 10], [10, 14], [20, 30]]
    rows, ends = apart([(4, 6), (0, 12)], [0.9, 0.8])
    assert ends.tolist() == [[4, 6], [6, 12]]
    assert apart([], [])[1].shape == (0, 2)


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0.1, 20), st.floats(0.01, 1)), max_size=12))
def test_spans_apart_do_not_overlap_and_lie_in_the_old_ones(items: list[tuple[float, float, float]]):
    spans = np.array([(start, start + length) for start, length, _ in items]).reshape(-1, 2)
    rows, ends = apart(spans, [score for *_, score in items])
    assert (ends[:, 0] >= spans[rows, 0]).all()
    assert (ends[:, 1] <= spans[rows, 1]).all()
    order = ends[np.argsort(ends[:, 0])]
    assert (order[1:, 0] >= order[:-1, 1]).all()
    assert len(rows) >= min(1, len(items))


def test_pairs_of_a_window_that_score_most():
    scores = [[0.1, 0.9], [0.5, 0.001], [0.0, 0.2]]
    spans, value, label = best_spans([(0, 1), (1, 2), (2, 3)], scores, 0.05, 3)
    assert value.tolist() == [0.9, 0.5, 0.2]
    assert label.tolist() == [1, 0, 1]
    assert spans[:, 0].tolist() == [0, 1, 2]


def test_nothing_in_nothing_out():
    spans, score, label = soft_nms_by_label([], [], [])
    assert (spans.shape, score.shape, label.shape) == ((0, 2), (0,), (0,))


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0.1, 20), st.floats(0.01, 1)), min_size=1, max_size=12))
def test_scores_never_rise_and_come_falling(items: list[tuple[float, float, float]]):
    spans = np.array([(start, start + length) for start, length, _ in items])
    before = np.array([score for *_, score in items])
    rows, after = soft_nms(spans, before)
    assert sorted(rows.tolist()) == list(range(len(items)))
    assert (np.diff(after) <= 1e-12).all()
    assert (after <= before[rows] + 1e-12).all()
    assert after[0] == before.max()
