"""Assignment and loss of the person detector on cases that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from posepipe.datasets.box_samples import BoxSample
from posepipe.datasets.boxes import BoxedImage, Opinion
from posepipe.geometry import iou
from posepipe.models.detector import BINS, anchor_points
from posepipe.training.detector import collate
from posepipe.training.detector_choice import blend, f1, precision_by_source, validation_score
from posepipe.training.detector_data import labels_of
from posepipe.training.detector_loss import assign, detector_loss, generalised_iou, pairwise_iou

POINTS, STRIDES = anchor_points(64, 64)


def outputs_for(box: list[float], score: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits with which every cell says ``box`` as well as its distribution can, with the same score."""
    distance = torch.cat((POINTS - torch.tensor(box[:2]), torch.tensor(box[2:]) - POINTS), -1) / STRIDES[:, None]
    distance = distance.clamp(0, BINS - 1 - 1e-4)
    lower, share = distance.floor().long(), distance - distance.floor()
    chance = torch.full((*distance.shape, BINS), 1e-9)
    chance.scatter_(-1, lower[..., None], (1 - share)[..., None] + 1e-9)
    chance.scatter_add_(-1, lower[..., None] + 1, share[..., None])
    logit = torch.logit(torch.full((1, len(POINTS)), score))
    return logit, logit.clone(), chance.log()[None]


def test_pairwise_iou_is_the_numpy_one():
    random = np.random.default_rng(0)
    low = random.uniform(0, 50, (9, 2))
    boxes = np.concatenate((low, low + random.uniform(0, 40, (9, 2))), 1)
    np.testing.assert_allclose(pairwise_iou(torch.tensor(boxes), torch.tensor(boxes[:4])), iou(boxes, boxes[:4]))


@pytest.mark.parametrize(
    ("other", "wanted"),
    [([0, 0, 10, 10], 1.0), ([10, 0, 20, 10], 0.0), ([20, 0, 30, 10], -1 / 3), ([0, 0, 10, 5], 0.5)],
)
def test_generalised_iou_by_hand(other, wanted):
    a, b = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([other], dtype=torch.float32)
    assert float(generalised_iou(a, b)) == pytest.approx(wanted)


def test_best_cell_wants_its_own_iou_as_score():
    box = torch.tensor([[[8.0, 8, 40, 56]]])
    guess = torch.tensor([8.0, 8, 40, 50]).expand(1, len(POINTS), 4)
    target = assign(torch.full((1, len(POINTS)), 0.5), guess, POINTS, box, torch.ones(1, 1, dtype=torch.int64))
    # 32 x 42 of 32 x 48: IoU .875 for all; all are equally aligned, 13 of them are chosen.
    assert int((target.score > 0).sum()) == 13
    assert target.score.max() == pytest.approx(0.875)
    chosen = target.score[0] > 0
    inside = (torch.tensor([8.0, 8]) < POINTS).all(-1) & (torch.tensor([40.0, 56]) > POINTS).all(-1)
    assert bool(inside[chosen].all())


def test_cells_in_ignored_regions_do_not_count_unless_they_are_somebody():
    boxes = torch.tensor([[[0.0, 0, 32, 32], [16.0, 0, 64, 64]]])
    kind = torch.tensor([[1, -1]])
    guess = torch.tensor([0.0, 0, 32, 32]).expand(1, len(POINTS), 4)
    target = assign(torch.full((1, len(POINTS)), 0.5), guess, POINTS, boxes, kind)
    ignored = (POINTS[:, 0] > 16) & (target.score[0] == 0)
    assert not target.counts[0][ignored].any()
    assert target.counts[0][~ignored].all()
    assert target.counts[0][target.score[0] > 0].all()


def test_a_cell_between_two_people_answers_for_the_one_it_fits():
    boxes = torch.tensor([[[0.0, 0, 40, 64], [24.0, 0, 64, 64]]])
    guess = torch.where(POINTS[:, :1] < 32, boxes[0, 0], boxes[0, 1])[None]
    target = assign(torch.full((1, len(POINTS)), 0.5), guess, POINTS, boxes, torch.ones(1, 2, dtype=torch.int64))
    chosen = target.score[0] > 0
    assert torch.equal(target.box[0][chosen], guess[0][chosen])


def test_padding_and_empty_pictures_are_background():
    score, guess = torch.full((2, len(POINTS)), 0.5), torch.zeros(2, len(POINTS), 4)
    for boxes in (torch.zeros(2, 0, 4), torch.tensor([[[0.0, 0, 64, 64]]]).expand(2, 1, 4)):
        target = assign(score, guess, POINTS, boxes, torch.zeros(2, boxes.shape[1], dtype=torch.int64))
        assert float(target.score.sum()) == 0
        assert bool(target.counts.all())


def test_right_boxes_cost_nothing_but_their_scores_doubt():
    box = [8.0, 8.0, 40.0, 56.0]
    parts = detector_loss(outputs_for(box, 0.7), POINTS, STRIDES, torch.tensor([[box]]), torch.tensor([[1]]))
    assert float(parts["box"]) == pytest.approx(0, abs=1e-3)
    total = parts["score"] + 2.5 * parts["box"] + 0.5 * parts["sides"]
    assert float(parts["loss"]) == pytest.approx(float(total))


def test_background_loss_by_hand():
    """Nobody there, all scores .5: every cell costs .75 * .25 * ln 2, divided by at least 1."""
    outputs = outputs_for([0.0, 0, 1, 1], 0.5)
    parts = detector_loss(outputs, POINTS, STRIDES, torch.zeros(1, 0, 4), torch.zeros(1, 0, dtype=torch.int64))
    assert float(parts["score"]) == pytest.approx(len(POINTS) * 0.75 * 0.25 * np.log(2), rel=1e-4)
    assert float(parts["box"]) == float(parts["sides"]) == 0


def test_gradients_are_finite_at_the_ends_of_the_logits():
    for logit in (-80.0, 80.0):
        person = torch.full((1, len(POINTS)), logit, requires_grad=True)
        quality = torch.full((1, len(POINTS)), logit, requires_grad=True)
        sides = torch.zeros(1, len(POINTS), 4, BINS, requires_grad=True)
        box = torch.tensor([[[8.0, 8, 40, 56]]])
        detector_loss((person, quality, sides), POINTS, STRIDES, box, torch.tensor([[1]]))["loss"].backward()
        for value in (person, quality, sides):
            assert torch.isfinite(value.grad).all()


def test_descent_finds_the_person():
    """A free set of logits, trained alone, ends with the labelled box on top."""
    torch.manual_seed(0)
    person, quality = (torch.randn(1, len(POINTS), requires_grad=True) for _ in range(2))
    sides = torch.randn(1, len(POINTS), 4, BINS, requires_grad=True)
    optimizer = torch.optim.Adam([person, quality, sides], lr=0.2)
    box = torch.tensor([[[8.0, 8, 40, 56]]])
    first = None
    for _ in range(40):
        loss = detector_loss((person, quality, sides), POINTS, STRIDES, box, torch.tensor([[1]]))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        first = first if first is not None else float(loss.detach())
    assert float(loss.detach()) < first / 3


def test_batches_are_padded():
    image = np.zeros((32, 32, 3), np.uint8)
    two = BoxSample(image, np.ones((2, 4), np.float32), np.array([False, True]))
    none = BoxSample(image, np.zeros((0, 4), np.float32), np.zeros(0, bool))
    batch = collate([two, none])
    assert batch["kind"].tolist() == [[1, -1], [0, 0]]
    assert batch["boxes"].shape == (2, 2, 4)
    assert batch["image"].shape == (2, 32, 32, 3)


def test_ignored_boxes_become_crowds(tmp_path):
    image = BoxedImage(tmp_path, np.array([[1, 2, 4, 8], [0, 0, 2, 2]], np.float32), np.array([False, True]), "set")
    rows = labels_of([image])["annotations"]
    assert [row["bbox"] for row in rows] == [[1, 2, 3, 6], [0, 0, 2, 2]]
    assert [row["iscrowd"] for row in rows] == [0, 1]
    assert [row["area"] for row in rows] == [18, 4]


def test_blending_goes_from_start_to_tuned():
    start, tuned = {"a": torch.zeros(2)}, {"a": torch.tensor([1.0, 2.0])}
    assert blend(start, tuned, 0.0)["a"].tolist() == [0, 0]
    assert blend(start, tuned, 1.0)["a"].tolist() == [1, 2]
    assert blend(start, tuned, 0.25)["a"].tolist() == [0.25, 0.5]


def test_pictures_labelled_by_people_weigh_half():
    assert validation_score({"coco": 0.4, "people": 0.8, "streets": 0.6}) == pytest.approx(0.55)


def picture(tmp_path, *, ignored: bool = False) -> BoxedImage:
    boxes = np.array([[0, 0, 10, 10], [50, 50, 90, 90]], np.float32)
    return BoxedImage(tmp_path / "p.webp", boxes, np.array([False, ignored]), "set")


def test_f1_counts_right_wrong_and_missed(tmp_path):
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]], np.float32)
    seen = Opinion(boxes, np.array([0.9, 0.8, 0.3], np.float32))
    # From .5 up: one right, its double wrong, one missed.
    assert f1([picture(tmp_path)], [seen], 0.5) == pytest.approx(0.5)
    assert f1([picture(tmp_path)], [seen], 0.85) == pytest.approx(2 / 3)
    assert f1([picture(tmp_path)], [seen], 0.95) == 0


def test_f1_asks_nothing_of_ignored_regions(tmp_path):
    boxes = np.array([[0, 0, 10, 10], [50, 50, 90, 90], [50, 50, 70, 90]], np.float32)
    seen = Opinion(boxes, np.full(3, 0.9, np.float32))
    assert f1([picture(tmp_path, ignored=True)], [seen], 0.5) == 1


def test_precision_by_source_keeps_sets_apart(tmp_path):
    image = picture(tmp_path)
    other = BoxedImage(image.path, image.boxes, image.ignore, "other")
    right = Opinion(image.boxes, np.array([0.9, 0.8], np.float32))
    nothing = Opinion(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
    assert precision_by_source([image, other], [right, nothing]) == pytest.approx({"set": 1.0, "other": 0.0})
