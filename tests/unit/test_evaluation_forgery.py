"""Figures of real and manipulated: by hand, and the laws they obey."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posepipe.errors import UsageError
from posepipe.evaluation.forgery import auc, auc_interval, equal_error, forgery_figures, judge, video_scores

# Four real ones (0.1 0.3 0.4 0.6), four manipulated ones (0.35 0.5 0.7 0.9).
SCORE = np.array([0.1, 0.3, 0.4, 0.6, 0.35, 0.5, 0.7, 0.9])
LABEL = np.array([0, 0, 0, 0, 1, 1, 1, 1])


def test_auc_counts_pairs() -> None:
    # 0.35 beats two of the real ones, 0.5 three, 0.7 and 0.9 four each: 13 of 16.
    assert auc(SCORE, LABEL) == 13 / 16
    assert auc(np.array([0.5, 0.5, 0.2]), np.array([0, 1, 0])) == 0.75  # a tie counts half
    assert auc(np.zeros(6), np.array([0, 1, 0, 1, 1, 1])) == 0.5


def test_equal_error_by_hand() -> None:
    # From 0.4 on: real 0.4 and 0.6 called (2/4), 0.35 missed (1/4). From 0.5 on: 1/4 and 1/4.
    rate, threshold = equal_error(SCORE, LABEL)
    assert rate == 0.25
    assert threshold == pytest.approx(0.45)
    # Nothing lies between 1/3 missed, no false alarm, and none missed, 1/2 false alarms: the line crosses at 1/5.
    rate, _ = equal_error(np.array([0.1, 0.5, 0.5, 0.6, 0.7]), np.array([0, 0, 1, 1, 1]))
    assert rate == pytest.approx(1 / 5)
    assert equal_error(np.array([0.2, 0.8]), np.array([0, 1])) == (0.0, 0.5)
    assert equal_error(np.array([0.8, 0.2]), np.array([0, 1]))[0] == 1.0
    assert equal_error(np.zeros(4), np.array([0, 1, 0, 1]))[0] == 0.5


def test_a_threshold_lies_between_neighbouring_floats() -> None:
    low = 0.5
    high = np.nextafter(low, 1)
    _, threshold = equal_error(np.array([low, high]), np.array([0, 1]))
    assert judge(np.array([low, high]), np.array([0, 1]), threshold).balanced_accuracy == 1.0


def test_verdicts_by_hand() -> None:
    v = judge(SCORE, LABEL, 0.5)  # found 0.5 0.7 0.9, false alarm 0.6, missed 0.35
    assert (v.false_alarms, v.misses, v.balanced_accuracy) == (0.25, 0.25, 0.75)
    assert v.f1 == pytest.approx(2 * 3 / (2 * 3 + 1 + 1))
    nothing = judge(SCORE, LABEL, 2.0)
    assert (nothing.f1, nothing.balanced_accuracy, nothing.misses) == (0.0, 0.5, 1.0)
    f = forgery_figures(SCORE, LABEL, "abcdabcd", 0.5)
    assert (f.real, f.fake, f.auc, f.auc_interval, f.eer, f.verdicts) == (4, 4, 13 / 16, None, 0.25, v)


def test_the_interval_draws_whole_groups() -> None:
    rng = np.random.default_rng(0)
    label = np.arange(400) % 2
    score = rng.normal(label, 1.0)  # the true area is 0.760
    one = auc_interval(score, label, list(range(400)), draws=300)
    assert one is not None
    assert one[0] < auc(score, label) < one[1]
    assert 0.06 < one[1] - one[0] < 0.12  # four deviations of 0.024 (Hanley and McNeil 1982)
    # Every sample ten times in a group of its own copies: no more evidence than before.
    many = auc_interval(score.repeat(10), label.repeat(10), np.arange(400).repeat(10).tolist(), draws=300)
    assert many == pytest.approx(one)
    assert auc_interval(score, label, [n % 9 for n in range(400)]) is None
    hand = auc_interval(np.arange(10.0), np.array([0] * 5 + [1] * 5), list(range(10)), draws=50)
    assert hand == (1.0, 1.0)


def test_videos_score_the_mean_of_their_clips() -> None:
    assert video_scores(np.array([0.2, 0.9, 0.4]), ["a", "b", "a"]) == {"a": pytest.approx(0.3), "b": 0.9}


@pytest.mark.parametrize("label", [np.zeros(3, int), np.ones(3, int), np.array([0, 1, 2]), np.array([0, 1])])
def test_one_class_alone_has_no_figures(label: np.ndarray) -> None:
    for figure in (auc, equal_error):
        with pytest.raises(UsageError):
            figure(np.array([0.1, 0.2, 0.3]), label)
    with pytest.raises(UsageError, match="not finite"):
        auc(np.array([0.1, np.nan]), np.array([0, 1]))


#: scores of a thousandth, so that ties come, and labels of both kinds
SETS = st.lists(st.tuples(st.integers(0, 40), st.booleans()), min_size=2, max_size=60).filter(
    lambda rows: len({fake for _, fake in rows}) == 2
)


def arrays(rows: list[tuple[int, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([s for s, _ in rows], float), np.array([int(f) for _, f in rows])


@settings(max_examples=150)
@given(rows=SETS, scale=st.floats(0.01, 10), shift=st.floats(-5, 5))
def test_rank_figures_do_not_change_under_rising_maps(rows: list, scale: float, shift: float) -> None:
    score, label = arrays(rows)
    for moved in (score * scale + shift, np.exp(score / 20), score**3):
        assert auc(moved, label) == pytest.approx(auc(score, label), abs=1e-12)
        assert equal_error(moved, label)[0] == pytest.approx(equal_error(score, label)[0], abs=1e-12)


@settings(max_examples=150)
@given(rows=SETS)
def test_swapped_classes_have_the_same_figures(rows: list) -> None:
    score, label = arrays(rows)
    assert auc(-score, 1 - label) == pytest.approx(auc(score, label), abs=1e-12)
    assert auc(-score, label) == pytest.approx(1 - auc(score, label), abs=1e-12)
    assert equal_error(-score, 1 - label)[0] == pytest.approx(equal_error(score, label)[0], abs=1e-12)


@settings(max_examples=150)
@given(rows=SETS)
def test_the_threshold_is_the_most_even_corner(rows: list) -> None:
    score, label = arrays(rows)
    rate, threshold = equal_error(score, label)
    got = judge(score, label, threshold)
    for other in np.concatenate([np.unique(score), [np.inf]]):
        v = judge(score, label, other)
        assert abs(got.misses - got.false_alarms) <= abs(v.misses - v.false_alarms) + 1e-12
    assert 0 <= rate <= 1
    assert rate <= max(got.misses, got.false_alarms) + 1e-12
    # The area under the ROC curve through the pairs (Mann-Whitney), counted one by one.
    pairs = [(r, f) for r in score[label == 0] for f in score[label == 1]]
    wins = sum(1.0 if f > r else 0.5 if f == r else 0.0 for r, f in pairs)
    assert auc(score, label) == pytest.approx(wins / len(pairs), abs=1e-12)
