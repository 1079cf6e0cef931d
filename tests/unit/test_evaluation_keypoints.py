"""Keypoint measures against pycocotools and against figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from posepipe.errors import InputError
from posepipe.evaluation.keypoints import calibration, joint_oks, oks_ap, paired_oks, pck, person_score
from posepipe.skeleton import COCO17


def people(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.uniform(20, 300, (count, 17, 2)).round(2)
    labelled = rng.integers(0, 3, (count, 17))
    labelled[:, 0] = 2
    area = rng.uniform(500, 40_000, count).round(1)
    return truth, labelled, area, (truth + rng.normal(0, 12, truth.shape)).round(2)


def coco_file(truth: np.ndarray, labelled: np.ndarray, area: np.ndarray) -> dict:
    rows = []
    for i in range(len(truth)):
        joints = np.concatenate([truth[i] * (labelled[i] > 0)[:, None], labelled[i][:, None]], 1)
        rows.append(
            {
                "id": i + 1, "image_id": i + 1, "category_id": 1, "iscrowd": 0, "area": float(area[i]),
                "bbox": [0.0, 0.0, 300.0, 300.0], "keypoints": joints.ravel().tolist(),
                "num_keypoints": int((labelled[i] > 0).sum()),
            }
        )  # fmt: skip
    images = [{"id": i + 1, "width": 320, "height": 320} for i in range(len(truth))]
    return {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "person"}]}


def results(guess: np.ndarray, score: np.ndarray) -> list[dict]:
    return [
        {
            "image_id": i + 1, "category_id": 1, "score": float(score[i]),
            "keypoints": np.concatenate([xy, np.ones((17, 1))], 1).ravel().tolist(),
        }
        for i, xy in enumerate(guess)
    ]  # fmt: skip


def test_oks_equals_pycocotools() -> None:
    coco = pytest.importorskip("pycocotools.coco")
    from pycocotools.cocoeval import COCOeval

    truth, labelled, area, guess = people(200)
    labels = coco.COCO()
    labels.dataset = coco_file(truth, labelled, area)
    labels.createIndex()
    evaluation = COCOeval(labels, labels.loadRes(results(guess, np.ones(200))), "keypoints")
    evaluation._prepare()
    expected = [float(evaluation.computeOks(i + 1, 1)[0, 0]) for i in range(200)]
    np.testing.assert_allclose(paired_oks(truth, labelled, area, guess), expected, rtol=0, atol=1e-12)


def test_oks_of_an_error_of_one_standard_deviation() -> None:
    truth = np.full((1, 17, 2), 100.0)
    guess = truth.copy()
    guess[..., 0] += 2 * np.array(COCO17.sigmas) * np.sqrt(2500.0)
    oks = paired_oks(truth, np.ones((1, 17)), np.array([2500.0]), guess)
    np.testing.assert_allclose(oks, np.exp(-0.5), rtol=1e-9)


def test_unlabelled_joints_do_not_count() -> None:
    truth, labelled, area, guess = people(5)
    far = np.where(labelled[..., None] > 0, guess, 1e6)
    np.testing.assert_array_equal(paired_oks(truth, labelled, area, far), paired_oks(truth, labelled, area, guess))
    assert paired_oks(truth, np.zeros_like(labelled), area, guess).tolist() == [0] * 5


def test_shapes_that_do_not_fit_are_refused() -> None:
    truth, labelled, area, guess = people(5)
    with pytest.raises(ValueError, match="do not fit"):
        paired_oks(truth, labelled, area, guess[:4])


def test_scores_that_say_what_comes_true_have_no_calibration_error() -> None:
    result = calibration(np.array([0.05, 0.15, 0.95]), np.array([0.05, 0.15, 0.95]))
    assert result.error == pytest.approx(0)
    assert result.count.tolist() == [1, 1, 0, 0, 0, 0, 0, 0, 0, 1]


def test_calibration_by_hand() -> None:
    """Two scores of .9 that came half true, and two of .1 of which nothing did: half of .4, half of .1."""
    result = calibration(np.array([0.9, 0.9, 0.1, 0.1]), np.array([1.0, 0.0, 0.0, 0.0]), parts=2)
    assert result.error == pytest.approx(0.25)
    assert result.score.tolist() == pytest.approx([0.1, 0.9])
    assert result.value.tolist() == pytest.approx([0.0, 0.5])
    assert calibration(np.array([1.0]), np.array([1.0])).count[-1] == 1
    with pytest.raises(ValueError, match="at least one"):
        calibration(np.zeros(0), np.zeros(0))


def test_a_persons_oks_is_the_mean_of_its_labelled_joints() -> None:
    rng = np.random.default_rng(0)
    truth, guess = rng.uniform(0, 200, (2, 5, 17, 2))
    labelled, area = rng.integers(0, 2, (5, 17)), rng.uniform(1e3, 1e5, 5)
    joints = joint_oks(truth, labelled, area, guess)
    assert joints.shape == (5, 17)
    wanted = [row[seen > 0].mean() for row, seen in zip(joints, labelled, strict=True)]
    np.testing.assert_allclose(paired_oks(truth, labelled, area, guess), wanted)


def test_pck_counts_labelled_joints_within_the_reach() -> None:
    truth = np.zeros((2, 3, 2))
    guess = np.array([[[19.9, 0], [20.1, 0], [0, 0]], [[0, 9.9], [0, 30], [500, 0]]])
    labelled = np.array([[2, 2, 0], [1, 2, 0]])
    assert pck(truth, labelled, guess, np.array([100.0, 50.0])) == pytest.approx(2 / 4)
    assert pck(truth, np.zeros((2, 3)), guess, np.array([100.0, 50.0])) == 0


def test_person_score_is_the_mean_of_the_joints_that_are_there() -> None:
    np.testing.assert_allclose(person_score(np.array([[0.9, 0.5, 0.1], [0.1, 0.0, 0.19]])), [0.7, 0.0])


def test_average_precision_of_perfect_and_of_no_results() -> None:
    pytest.importorskip("pycocotools")
    truth, labelled, area, _ = people(20)
    file = coco_file(truth, labelled, area)
    assert oks_ap(file, results(truth, np.ones(20)))["AP"] == pytest.approx(1.0)
    assert oks_ap(file, [])["AP"] == 0
    with pytest.raises(InputError, match="pictures"):
        oks_ap(file, [{"image_id": 99, "category_id": 1, "keypoints": [0.0] * 51, "score": 1.0}])


def test_average_precision_is_half_when_half_are_right() -> None:
    pytest.importorskip("pycocotools")
    truth, labelled, area, _ = people(20)
    guess = truth.copy()
    guess[10:] += 5000
    found = oks_ap(coco_file(truth, labelled, area), results(guess, np.r_[np.ones(10), np.full(10, 0.5)]))
    assert found["AP50"] == pytest.approx(0.5, abs=0.01)
