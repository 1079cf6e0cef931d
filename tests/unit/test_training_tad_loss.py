from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from posepipe.models.actionformer import points_of
from posepipe.training.tad_loss import assign, diou_loss, focal_loss, updated_normaliser

POINTS = points_of(768, 6)


def positives(*spans: tuple[float, float], labels: tuple[int, ...] = (0,)) -> list[tuple[float, float]]:
    classes, _ = assign(POINTS, torch.tensor(spans), torch.tensor(labels), 3)
    rows = (classes.sum(1) > 0).nonzero()[:, 0]
    return [(float(POINTS.position[row]), float(POINTS.stride[row])) for row in rows]


def test_points_that_answer_for_an_action():
    assert positives((10, 20)) == [(14, 2), (16, 2), (12, 4)]
    assert positives((100, 180)) == [(128, 16), (144, 16), (160, 16)]


def test_of_two_actions_the_shorter_is_taken():
    classes, ends = assign(POINTS, torch.tensor([[10.0, 20.0], [9.0, 21.0]]), torch.tensor([0, 1]), 3)
    row = ((POINTS.position == 14) & (POINTS.stride == 2)).nonzero()[0, 0]
    assert classes[row].tolist() == [1, 0, 0]
    assert ends[row].tolist() == [10, 20]


def test_actions_as_long_are_all_learnt():
    classes, ends = assign(POINTS, torch.tensor([[10.0, 20.0], [10.0, 20.0005]]), torch.tensor([0, 2]), 3)
    row = ((POINTS.position == 14) & (POINTS.stride == 2)).nonzero()[0, 0]
    assert classes[row].tolist() == [1, 0, 1]
    assert ends[row].tolist() == [10, 20]
    twice, _ = assign(POINTS, torch.tensor([[10.0, 20.0], [10.0, 20.0]]), torch.tensor([1, 1]), 3)
    assert twice[row].tolist() == [0, 1, 0]


def test_a_window_without_actions_has_no_targets():
    classes, ends = assign(POINTS, torch.zeros(0, 2), torch.zeros(0, dtype=torch.long), 3)
    assert classes.shape == (1512, 3)
    assert not classes.any()
    assert ends.shape == (1512, 2)


def test_focal_loss_of_single_scores():
    # 0.25 (1-p)^2 (-log p) and 0.75 p^2 (-log(1-p)) at p = 1/2
    half = torch.zeros(1)
    assert focal_loss(half, torch.ones(1)).item() == pytest.approx(0.25 * 0.25 * 0.693147, abs=1e-6)
    assert focal_loss(half, torch.zeros(1)).item() == pytest.approx(0.75 * 0.25 * 0.693147, abs=1e-6)
    assert focal_loss(torch.full((3,), 30.0), torch.ones(3)).item() == pytest.approx(0, abs=1e-9)


def test_distance_overlap_loss_of_single_spans():
    guess = torch.tensor([[0.0, 10.0], [0.0, 10.0], [0.0, 4.0]])
    truth = torch.tensor([[0.0, 10.0], [2.0, 12.0], [6.0, 10.0]])
    each = [diou_loss(guess[i : i + 1], truth[i : i + 1]).item() for i in range(3)]
    assert each == pytest.approx([0, 1 - 8 / 12 + (2 / 12) ** 2, 1 + (6 / 10) ** 2], abs=1e-6)
    assert diou_loss(guess, truth).item() == pytest.approx(sum(each), abs=1e-6)
    assert diou_loss(guess[:0], truth[:0]).item() == 0


def test_the_normaliser_follows_the_number_of_positives():
    assert updated_normaliser(torch.tensor(100.0), 30).item() == pytest.approx(93)
    assert updated_normaliser(torch.tensor(100.0), 0).item() == pytest.approx(90.1)
