"""Heatmap accuracy: golden values by hand, and a plain loop over maps as the reference."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from posepipe.evaluation.heatmap_accuracy import highest_cells, joint_hits, map_accuracy, target_cells

SIZE = (64, 48)


def drawn_target(
    x: float, y: float, labelled: bool, size: tuple[int, int] = SIZE, stride: float = 4
) -> NDArray[np.float32]:
    """A target map drawn cell by cell: sigma 2, support of three sigmas, centre x / stride + 0.5 truncated."""
    target = np.zeros(size, np.float32)
    column, row = int(x / stride + 0.5), int(y / stride + 0.5)
    if not labelled:
        return target
    for j in range(size[0]):
        for i in range(size[1]):
            if abs(i - column) <= 6 and abs(j - row) <= 6:
                target[j, i] = np.exp(-((i - column) ** 2 + (j - row) ** 2) / 8)
    return target


def slow_accuracy(predicted: NDArray[np.float32], target: NDArray[np.float32]) -> float:
    """The definition, joint by joint and person by person."""
    shares = []
    height, width = target.shape[2:]
    for joint in range(target.shape[1]):
        right = counted = 0
        for person in range(target.shape[0]):
            places = []
            for maps in (predicted, target):
                row, column = np.unravel_index(maps[person, joint].argmax(), (height, width))
                places.append((column, row) if maps[person, joint].max() > 0 else (0, 0))
            (px, py), (tx, ty) = places
            if tx > 1 and ty > 1:
                counted += 1
                right += ((px - tx) / (width / 10)) ** 2 + ((py - ty) / (height / 10)) ** 2 < 0.25
        if counted:
            shares.append(right / counted)
    return sum(shares) / len(shares) if shares else 0.0


def one_hot(cells: list[tuple[int, int]]) -> NDArray[np.float32]:
    maps = np.zeros((1, len(cells), *SIZE), np.float32)
    for joint, (x, y) in enumerate(cells):
        maps[0, joint, y, x] = 1
    return maps


def test_by_hand_the_threshold_is_five_percent_of_each_side() -> None:
    # Units: 4.8 cells across, 6.4 down; right below half a unit: 2 columns (0.417), not 3; 3 rows (0.469), not 4.
    target = one_hot([(20, 30)] * 4)
    assert map_accuracy(one_hot([(22, 30), (23, 30), (20, 33), (20, 34)]), target) == 0.5


def test_by_hand_half_a_unit_itself_is_wrong() -> None:
    predicted, target = np.array([[[30, 20]]]), np.array([[[25, 20]]])
    right, counted = joint_hits(predicted, target, (100, 100))
    assert counted.all()
    assert not right.any()  # 5 of 100 cells is exactly 0.5


def test_by_hand_targets_at_cell_one_or_zero_are_left_out() -> None:
    target = one_hot([(1, 30), (30, 1), (0, 0), (2, 2)])
    wrong_but_for_the_last = one_hot([(40, 30), (30, 40), (9, 9), (2, 2)])
    assert map_accuracy(wrong_but_for_the_last, target) == 1.0


def test_the_mean_is_over_joints_not_over_people() -> None:
    target = np.concatenate([one_hot([(20, 30), (20, 30)])] * 4)
    target[1:, 1] = 0  # joint 1 is labelled on one person only
    predicted = target.copy()
    predicted[0, 1] = one_hot([(40, 60)])[0, 0]
    assert map_accuracy(predicted, target) == 0.5  # 4 of 4 and 0 of 1; over people it would be 4 of 5


def test_nothing_labelled_is_zero() -> None:
    empty = np.zeros((2, 3, *SIZE), np.float32)
    assert map_accuracy(empty, empty) == 0.0
    assert map_accuracy(np.zeros((0, 3, *SIZE)), np.zeros((0, 3, *SIZE))) == 0.0


def test_a_map_without_a_positive_value_points_to_the_corner() -> None:
    assert highest_cells(np.full((2, *SIZE), -1.0)).tolist() == [[0, 0], [0, 0]]


def test_equals_the_slow_reference_on_random_maps() -> None:
    rng = np.random.default_rng(3)
    for _ in range(5):
        people, joints = 6, 5
        xy = rng.uniform(-30, 230, (people, joints, 2)) * [0.95, 1.2]
        labelled = rng.random((people, joints)) < 0.8
        target = np.stack([[drawn_target(*xy[n, k], labelled[n, k]) for k in range(joints)] for n in range(people)])
        moved = xy + rng.normal(0, 10, xy.shape)
        predicted = np.stack([[drawn_target(*moved[n, k], True) for k in range(joints)] for n in range(people)])
        assert map_accuracy(predicted, target) == pytest.approx(slow_accuracy(predicted, target), abs=1e-12)


def test_target_cells_are_those_of_drawn_maps() -> None:
    rng = np.random.default_rng(4)
    xy = rng.uniform(-60, 330, (400, 2))
    labelled = rng.random(400) < 0.9
    drawn = highest_cells(np.stack([drawn_target(*p, bool(v)) for p, v in zip(xy, labelled, strict=True)]))
    ours = target_cells(xy, labelled, SIZE)
    counts = (drawn > 1).all(-1)
    assert ((ours > 1).all(-1) == counts).all()
    assert (ours[counts] == drawn[counts]).all()


def test_maps_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(N,K,h,w\)"):
        map_accuracy(np.zeros((1, 2, 4, 4)), np.zeros((1, 2, 8, 8)))
