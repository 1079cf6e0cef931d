"""Consensus over samples and fusion of streams on numbers that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from posepipe.errors import UsageError
from posepipe.evaluation.consensus import CONSENSUS, FUSIONS, consensus, fuse, majority, precision_at, stream_rows

#: one video, two samples, three classes; variances 6 and 2/3
SAMPLES = np.array([[[0.0, 3.0, 6.0], [4.0, 3.0, 2.0]]])


def test_consensus_by_hand() -> None:
    assert consensus(SAMPLES).tolist() == [[2.0, 3.0, 4.0]]
    assert consensus(SAMPLES, "max").tolist() == [[4.0, 3.0, 6.0]]
    # Weights 6 and 2/3, that is .9 and .1.
    np.testing.assert_allclose(consensus(SAMPLES, "variance"), [[0.4, 3.0, 5.6]])


def test_samples_that_decide_nothing_are_averaged() -> None:
    np.testing.assert_allclose(consensus(np.array([[[2.0, 2.0], [4.0, 4.0]]]), "variance"), [[3.0, 3.0]])


def test_fusion_by_hand() -> None:
    one, other = SAMPLES[:, 0], SAMPLES[:, 1]
    assert fuse(one, other).tolist() == [[2.0, 3.0, 4.0]]
    assert fuse(one, other, "max").tolist() == [[4.0, 3.0, 6.0]]
    np.testing.assert_allclose(fuse(one, other, "2:1"), [[4 / 3, 3.0, 14 / 3]])
    np.testing.assert_allclose(fuse(one, other, "1:2"), [[8 / 3, 3.0, 10 / 3]])
    np.testing.assert_allclose(fuse(one, other, "variance"), [[0.4, 3.0, 5.6]])


def test_top_5_variance_looks_at_the_five_highest() -> None:
    one = np.array([[-100.0, 0.0, 1.0, 2.0, 3.0, 4.0]])  # the five highest vary by 2, all by much more
    other = np.array([[0.0, 0.0, 0.0, 0.0, 0.0, 5.0]])  # by 4
    np.testing.assert_allclose(fuse(one, other, "top-5 variance"), (one * 2 + other * 4) / 6)
    np.testing.assert_allclose(fuse(one, other, "variance").argmax(), 5)
    assert fuse(one, other, "variance")[0, 0] < fuse(one, other, "top-5 variance")[0, 0]


def test_precision_by_hand() -> None:
    scores = np.array([[0.1, 0.9, 0.5], [0.3, 0.2, 0.1], [0.2, 0.3, 0.1]])
    labels = np.array([1, 1, 2])
    assert precision_at(scores, labels) == pytest.approx(100 / 3)
    assert precision_at(scores, labels, 2) == pytest.approx(200 / 3)
    assert precision_at(scores, labels, 5) == 100.0
    flat = np.zeros((2, 4))
    assert precision_at(flat, np.array([0, 3])) == 50.0  # equal scores are no hit for all
    with pytest.raises(UsageError, match="no videos"):
        precision_at(np.zeros((0, 3)), np.zeros(0, np.int64))


def test_rows_of_the_table() -> None:
    labels = np.array([2])
    rows = {name: figures for name, *figures in stream_rows(SAMPLES, -SAMPLES, labels)}
    assert len(rows) == 2 * len(CONSENSUS) + 2 * len(FUSIONS)
    assert rows["spatial, mean"] == [100.0, 100.0]
    assert rows["temporal, mean"] == [0.0, 100.0]
    assert rows["fusion of mean, 2:1"] == [100.0, 100.0]
    assert rows["fusion of mean, 1:2"] == [0.0, 100.0]
    assert [name for name, *_ in stream_rows(None, SAMPLES, labels)] == [f"temporal, {how}" for how in CONSENSUS]


def test_majority_by_hand() -> None:
    assert majority([0, 2, 2, 2], 4).tolist() == [0.25, 0.0, 0.75, 0.0]


def test_wrong_words_and_shapes_are_refused() -> None:
    with pytest.raises(UsageError, match="no consensus 'median'; expected mean, max, variance"):
        consensus(SAMPLES, "median")
    with pytest.raises(UsageError, match="no fusion '3:1'"):
        fuse(SAMPLES[0], SAMPLES[0], "3:1")
    with pytest.raises(UsageError, match="three axes"):
        consensus(SAMPLES[0])
    with pytest.raises(UsageError, match="same videos and classes"):
        fuse(SAMPLES[0], SAMPLES[0][:, :2])


def shaped(*shape: int):
    return arrays(np.float64, shape, elements=st.floats(-30, 30, width=16))


@settings(max_examples=60, deadline=None)
@given(scores=shaped(3, 4, 6), how=st.sampled_from(CONSENSUS), order=st.permutations(range(4)))
def test_the_order_of_samples_does_not_matter_and_scores_stay_in_range(scores, how, order) -> None:
    result = consensus(scores, how)
    np.testing.assert_allclose(consensus(scores[:, order], how), result, atol=1e-9)
    assert (result <= scores.max(1) + 1e-9).all()
    assert (result >= scores.min(1) - 1e-9).all()


@settings(max_examples=60, deadline=None)
@given(one=shaped(3, 6), other=shaped(3, 6), how=st.sampled_from(list(FUSIONS)))
def test_fusion_with_itself_changes_nothing_and_sides_change_with_their_weights(one, other, how) -> None:
    np.testing.assert_allclose(fuse(one, one, how), one, atol=1e-9)
    swapped = {"2:1": "1:2", "1:2": "2:1"}.get(how, how)
    np.testing.assert_allclose(fuse(one, other, how), fuse(other, one, swapped), atol=1e-9)


def test_every_published_figure_has_its_row() -> None:
    from posepipe.cli.eval_two_stream import _PUBLISHED, _shown

    rows = stream_rows(SAMPLES, SAMPLES, np.array([2]))
    assert set(_PUBLISHED) <= {name for name, *_ in rows}
    shown = _shown(rows, True)
    assert "fusion of mean, 2:1" in shown
    assert "87.444" in shown
    assert "87.444" not in _shown(rows, False)
