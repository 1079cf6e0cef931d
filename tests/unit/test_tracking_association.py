from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from posepipe.tracking.association import assign, canonical_order, match_overlap, others


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
@pytest.mark.parametrize("limit", [np.inf, 0.5])
def test_nothing_is_paired_with_nothing(shape: tuple[int, int], limit: float) -> None:
    assert assign(np.zeros(shape), limit).shape == (0, 2)
    assert match_overlap(np.zeros(shape), 0.3).shape == (0, 2)


@pytest.mark.parametrize("seed", range(20))
def test_assignment_is_as_cheap_as_scipys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cost = rng.random(rng.integers(1, 12, 2))
    pairs = assign(cost)
    rows, columns = linear_sum_assignment(cost)
    assert len(pairs) == min(cost.shape)
    assert cost[pairs[:, 0], pairs[:, 1]].sum() == pytest.approx(cost[rows, columns].sum())


@pytest.mark.parametrize("seed", range(20))
def test_limit_drops_dear_pairs_inside_the_optimum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cost, limit = rng.random(rng.integers(1, 9, 2)), 0.4
    pairs = assign(cost, limit)
    paired = cost[pairs[:, 0], pairs[:, 1]]
    assert (paired <= limit).all()
    # The same problem as a full assignment: a pair is worth what it saves against staying alone.
    rows, columns = linear_sum_assignment(np.minimum(cost - limit, 0))
    assert (paired - limit).sum() == pytest.approx(np.minimum(cost - limit, 0)[rows, columns].sum())


def test_one_to_one_overlaps_skip_the_assignment() -> None:
    # The assignment alone would pair (0,1) and (1,0) and lose the only sound pair to the threshold.
    overlap = np.array([[0.35, 0.3], [0.29, 0.0]])
    np.testing.assert_array_equal(match_overlap(overlap, 0.3), [[0, 0]])


def test_competing_overlaps_are_assigned_and_weak_pairs_dropped() -> None:
    overlap = np.array([[0.9, 0.8], [0.8, 0.1]])
    np.testing.assert_array_equal(match_overlap(overlap, 0.3), [[0, 1], [1, 0]])
    np.testing.assert_array_equal(match_overlap(np.array([[0.9, 0.8]]), 0.3), [[0, 0]])


def test_others_are_what_is_left() -> None:
    np.testing.assert_array_equal(others(5, np.array([3, 0])), [1, 2, 4])
    assert others(0, np.zeros(0, np.int64)).size == 0


def test_canonical_order_is_by_score_then_place() -> None:
    boxes = np.array([[5, 0, 9, 9], [1, 0, 9, 9], [1, 0, 8, 9], [7, 0, 9, 9]], np.float32)
    np.testing.assert_array_equal(canonical_order(boxes, np.array([0.5, 0.5, 0.5, 0.9])), [3, 2, 1, 0])
