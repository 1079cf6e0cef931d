"""The cross-evaluation's figures: pycocotools and plain loops as references, laws of the bootstrap."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pycocotools")

from posepipe.evaluation.ap_draws import drawn_ap, match_by_oks
from posepipe.evaluation.bootstrap import draw_groups, group_sums, interval
from posepipe.evaluation.cross import METRICS, Guess, Truth, compare, pair_by_boxes
from posepipe.evaluation.keypoints import AREA_SHARE, oks_ap, paired_oks, pck


def people(count: int = 40, pictures: int = 12, seed: int = 1) -> Truth:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 200, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(70, 160, (count, 2))], 1)
    xy = boxes[:, None, :2] + rng.random((count, 17, 2)) * (boxes[:, None, 2:] - boxes[:, None, :2])
    return Truth(
        name="made up",
        group=np.arange(pictures) // 3,
        image=np.sort(rng.integers(0, pictures, count)),
        boxes=boxes,
        xy=xy,
        labelled=rng.random((count, 17)) < 0.8,
        area=0.6 * (boxes[:, 2:] - boxes[:, :2]).prod(-1),
        iscrowd=np.zeros(count, bool),
        part=np.where(np.arange(count) % 2, "sitting", "standing"),
    )


def moved(truth: Truth, noise: float, seed: int = 2) -> Guess:
    rng = np.random.default_rng(seed)
    xy = truth.xy + rng.normal(0, noise, truth.xy.shape)
    score = rng.uniform(0.3, 1, truth.labelled.shape)
    return Guess(truth.image, truth.boxes, np.ones(len(xy)), xy, score, np.arange(len(xy)))


def coco(truth: Truth, guess: Guess) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Both as COCO files, written here by hand."""
    rows = []
    for i in range(len(truth.image)):
        joints = [[*truth.xy[i, k], 2.0] if truth.labelled[i, k] else [0.0, 0.0, 0.0] for k in range(17)]
        x, y, right, bottom = truth.boxes[i]
        rows.append(
            {"id": i + 1, "image_id": int(truth.image[i]), "category_id": 1, "bbox": [x, y, right - x, bottom - y],
             "area": truth.area[i], "iscrowd": int(truth.iscrowd[i]),
             "keypoints": [v for joint in joints for v in joint],
             "num_keypoints": int(truth.labelled[i].sum())}
        )  # fmt: skip
    results = []
    for i in range(len(guess.image)):
        joints = np.concatenate([guess.xy[i], guess.score[i][:, None]], 1)
        score = guess.score[i][guess.score[i] >= 0.2].mean() * guess.box_score[i]
        results.append(
            {"image_id": int(guess.image[i]), "category_id": 1, "keypoints": joints.ravel().tolist(), "score": score}
        )
    images = [{"id": i} for i in range(len(truth.group))]
    return {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "person"}]}, results


def test_perfect_guesses_are_perfect() -> None:
    truth = people()
    whole = compare(truth, moved(truth, 0.0), draws=50)[""]
    assert list(whole) == list(METRICS)
    for figure in whole.values():
        assert (figure.value, figure.low, figure.high) == pytest.approx((1, 1, 1))


def test_figures_equal_pycocotools_and_the_plain_functions() -> None:
    truth = people()
    guess = moved(truth, 9.0)
    whole = compare(truth, guess, draws=20)[""]
    average = oks_ap(*coco(truth, guess))
    assert whole["AP"].value == pytest.approx(average["AP"], abs=1e-12)
    assert whole["AR"].value == pytest.approx(average["AR"], abs=1e-12)
    use = truth.measured
    extent = (truth.boxes[:, 2:] - truth.boxes[:, :2])[use]
    oks = paired_oks(truth.xy[use], truth.labelled[use], AREA_SHARE * extent.prod(-1), guess.xy[use])
    assert whole["mean OKS"].value == pytest.approx(oks.mean(), abs=1e-12)
    near = pck(truth.xy[use], truth.labelled[use], guess.xy[use], extent.max(-1))
    assert whole["PCK@0.2"].value == pytest.approx(near, abs=1e-12)
    assert whole["mean OKS"].people == int(use.sum())


def test_ap_of_a_draw_is_that_of_a_set_with_pictures_repeated() -> None:
    truth = people()
    truth = dataclasses.replace(truth, iscrowd=np.arange(len(truth.image)) == 5)
    guess = moved(truth, 9.0)
    times = np.array([[2, 0, 1, 3, 0, 1, 1, 0, 2, 1, 0, 1]])
    labels, results = coco(truth, guess)
    ap, ar = drawn_ap(match_by_oks(labels, results), times)
    images, rows, guesses = [], [], []
    for picture, count in enumerate(times[0]):
        for _ in range(count):
            images.append({"id": len(images)})
            new = {"image_id": len(images) - 1}
            rows += [
                {**r, **new, "id": len(rows) + 1 + i}
                for i, r in enumerate(labels["annotations"])
                if r["image_id"] == picture
            ]
            guesses += [{**r, **new} for r in results if r["image_id"] == picture]
    expected = oks_ap(
        {**labels, "images": images, "annotations": [{**r, "id": i + 1} for i, r in enumerate(rows)]}, guesses
    )
    assert ap[0] == pytest.approx(expected["AP"], abs=1e-9)
    assert ar[0] == pytest.approx(expected["AR"], abs=1e-9)


def test_no_guess_at_all_is_zero_and_a_draw_of_nobody_is_unknown() -> None:
    truth = people()
    labels, _ = coco(truth, moved(truth, 0.0))
    matches = match_by_oks(labels, [])
    ap, ar = drawn_ap(matches, np.stack([np.ones(12, np.int64), np.zeros(12, np.int64)]))
    assert (ap[0], ar[0]) == (0, 0)
    assert np.isnan(ap[1])


def test_detected_boxes_are_paired_one_to_one_and_misses_count_as_wrong() -> None:
    truth = people(count=3, pictures=1)
    boxes = np.array([[0, 0, 100, 100], [200, 0, 300, 100], [400, 0, 500, 100]], float)
    truth = dataclasses.replace(truth, boxes=boxes, image=np.zeros(3, np.int64))
    truth = dataclasses.replace(
        truth, xy=boxes[:, None, :2] + 40 + np.zeros((3, 17, 2)), labelled=np.ones((3, 17), bool)
    )
    found = np.array([[210, 0, 300, 100], [0, 0, 100, 90], [5, 0, 100, 100]], float)
    guess = Guess(
        np.zeros(3, np.int64), found, np.ones(3), found[:, None, :2] + 40 + np.zeros((3, 17, 2)), np.ones((3, 17))
    )
    assert pair_by_boxes(truth, guess).tolist() == [2, 0, -1]
    figure = compare(truth, guess, draws=5)[""]["PCK@0.2"]
    assert figure.value == pytest.approx(2 / 3)


def test_parts_are_measured_alone_and_have_no_average_precision() -> None:
    truth = people()
    guess = moved(truth, 9.0)
    tables = compare(truth, guess, draws=30)
    assert list(tables) == ["", "sitting", "standing"]
    assert "AP" not in tables["sitting"]
    alone = dataclasses.replace(truth, labelled=truth.labelled & (truth.part == "sitting")[:, None])
    assert compare(alone, guess, draws=30)[""]["mean OKS"].value == pytest.approx(tables["sitting"]["mean OKS"].value)


def test_draws_without_anybody_of_a_part_are_left_out_of_its_intervals() -> None:
    truth = people()
    first = truth.image < 6
    truth = dataclasses.replace(truth, part=np.where(first, "rare", ""))
    table = compare(truth, moved(truth, 0.0), draws=100)["rare"]
    assert all((figure.low, figure.high) == (1, 1) for figure in table.values())


def test_people_of_one_video_have_no_interval() -> None:
    truth = people()
    truth = dataclasses.replace(truth, part=np.where(truth.image < 3, "first", ""))
    tables = compare(truth, moved(truth, 5.0), draws=100)
    assert all(np.isnan([figure.low, figure.high]).all() for figure in tables["first"].values())
    assert all(figure.low <= figure.value <= figure.high for figure in tables[""].values())
    alone = dataclasses.replace(truth, group=np.zeros(12, np.int64))
    assert all(np.isnan([figure.low, figure.high]).all() for figure in compare(alone, moved(alone, 5.0))[""].values())


def test_same_seed_same_intervals_other_seed_others() -> None:
    truth = dataclasses.replace(people(), group=np.arange(12))
    guess = moved(truth, 9.0)
    first, again, other = (compare(truth, guess, draws=200, seed=s)[""] for s in (1, 1, 2))
    assert first == again
    assert first["mean OKS"].value == other["mean OKS"].value
    assert first["mean OKS"].low != other["mean OKS"].low
    assert all(f.low <= f.value <= f.high for f in first.values())


def test_draws_keep_the_number_of_groups_and_all_groups_have_the_same_chance() -> None:
    drawn = draw_groups(8, 4000, seed=1)
    assert (drawn.sum(1) == 8).all()
    assert drawn.mean(0) == pytest.approx(np.ones(8), abs=0.06)


def test_the_interval_of_a_mean_covers_it_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    covered = 0
    for trial in range(200):
        shift = rng.normal(0, 1, 30)  # one a group: its people share it
        values = np.repeat(shift, 10) + rng.normal(0, 0.2, 300)
        sums = group_sums(values, np.repeat(np.arange(30), 10), 30)
        drawn = draw_groups(30, 400, seed=trial)
        low, high = interval((drawn @ sums) / (drawn @ np.full(30, 10)))
        covered += low <= 0 <= high
    assert 0.88 <= covered / 200 <= 0.98  # drawing people one by one would cover about half


def test_intervals_leave_out_what_is_not_finite() -> None:
    assert interval(np.array([np.nan, 1.0, 1.0, np.inf])) == (1.0, 1.0)
    assert np.isnan(interval(np.array([np.nan]))).all()
