"""Average precision on cases whose figures follow by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("pycocotools")

from posepipe.evaluation.detection import average_precision

BOX = [10.0, 20.0, 100.0, 100.0]


def labels(*boxes: tuple[int, list[float], int], images: int = 2) -> dict[str, object]:
    rows = [
        {"id": n, "image_id": image, "category_id": 1, "bbox": box, "area": box[2] * box[3], "iscrowd": crowd}
        for n, (image, box, crowd) in enumerate(boxes, start=1)
    ]
    return {"images": [{"id": n} for n in range(images)], "annotations": rows}


def seen(*boxes: list[float], score: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
    array = np.array(boxes, float).reshape(-1, 4)
    array[:, 2:] += array[:, :2]
    return array, np.full(len(array), score)


def test_perfect_detection_scores_one_everywhere():
    scores = average_precision(labels((0, BOX, 0)), {0: seen(BOX)})
    assert (scores.ap, scores.ap50, scores.ap75, scores.ap_large, scores.recall) == pytest.approx((1, 1, 1, 1, 1))


def test_sizes_that_nobody_has_are_nan():
    scores = average_precision(labels((0, BOX, 0)), {0: seen(BOX)})
    assert math.isnan(scores.ap_small)
    assert math.isnan(scores.ap_medium)


def test_iou_of_two_thirds_counts_at_four_of_ten_thresholds():
    # 100x100 against the same shifted by 20: IoU 80/120 = .667, so right at .50, .55, .60 and .65.
    scores = average_precision(labels((0, BOX, 0)), {0: seen([30, 20, 100, 100])})
    assert scores.ap == pytest.approx(0.4)
    assert (scores.ap50, scores.ap75) == pytest.approx((1, 0))


def test_one_of_two_people_found_is_half_the_recall():
    scores = average_precision(labels((0, BOX, 0), (1, BOX, 0)), {0: seen(BOX)})
    # Precision 1 up to recall .5: 51 of pycocotools' 101 recall points.
    assert scores.ap == pytest.approx(51 / 101)
    assert scores.recall == 0.5


def test_better_scored_false_alarm_halves_precision():
    alarm = seen([200, 200, 50, 50], score=0.95)
    right = seen(BOX, score=0.5)
    both = tuple(np.concatenate(pair) for pair in zip(alarm, right, strict=True))
    assert average_precision(labels((0, BOX, 0)), {0: both}).ap == pytest.approx(0.5)


def test_boxes_inside_a_crowd_do_not_punish():
    truth = labels((0, BOX, 0), (0, [200, 200, 200, 200], 1))
    alarm = seen([220, 220, 60, 60], score=0.95)
    both = tuple(np.concatenate(pair) for pair in zip(alarm, seen(BOX, score=0.5), strict=True))
    assert average_precision(truth, {0: both}).ap == pytest.approx(1)


def test_no_detections_at_all_score_zero():
    scores = average_precision(labels((0, BOX, 0)), {})
    assert (scores.ap, scores.recall) == (0, 0)


def test_detections_on_pictures_with_nobody_cost_precision():
    scores = average_precision(labels((0, BOX, 0)), {0: seen(BOX, score=0.5), 1: seen(BOX, score=0.9)})
    assert scores.ap == pytest.approx(0.5)


def test_unknown_picture_is_refused():
    with pytest.raises(ValueError, match=r"not in the labels: \[7\]"):
        average_precision(labels((0, BOX, 0)), {7: seen(BOX)})


def test_the_labels_are_left_as_they_were():
    truth = labels((0, BOX, 0))
    before = repr(truth)
    average_precision(truth, {0: seen(BOX)})
    assert repr(truth) == before
