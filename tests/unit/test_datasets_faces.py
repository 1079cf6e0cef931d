"""Faces from head keypoints: where they are, which one is followed, smoothness over time, the cut."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from posepipe.datasets.faces import (
    MARGIN,
    crop_face,
    face_boxes,
    follow_face,
    square_at,
    steady_squares,
    whole_square,
)
from posepipe.skeleton import COCO17, named_skeleton

#: a face from the front, 70 px from ear to ear: nose, left and right eye, left and right ear
FRONT = {"nose": (100, 90), "left_eye": (116, 70), "right_eye": (84, 70), "left_ear": (135, 75), "right_ear": (65, 75)}


def pose(points: dict[str, tuple[float, float]], unseen: tuple[str, ...] = ()) -> tuple[NDArray, NDArray]:
    xy, score = np.zeros((1, 17, 2)), np.zeros((1, 17))
    for name, point in points.items():
        xy[0, COCO17.index(name)] = point
        score[0, COCO17.index(name)] = 0.1 if name in unseen else 0.9
    return xy, score


def middle(box: NDArray) -> NDArray:
    return (box[:2] + box[2:]) / 2


def test_a_face_from_the_front() -> None:
    (box,) = face_boxes(*pose(FRONT), COCO17, 0.3)
    width, height = box[2:] - box[:2]
    assert width == pytest.approx(2.2 * 32, abs=1.5)  # the widest of four answers that agree
    assert height > width
    assert middle(box)[0] == pytest.approx(100)
    assert 70 < middle(box)[1] < 90  # between eyes and nose


@pytest.mark.parametrize(
    "unseen", [("left_ear",), ("left_ear", "right_ear"), ("left_ear", "left_eye"), ("nose", "right_ear")]
)
def test_a_face_needs_few_points(unseen: tuple[str, ...]) -> None:
    (whole,) = face_boxes(*pose(FRONT), COCO17, 0.3)
    (box,) = face_boxes(*pose(FRONT, unseen), COCO17, 0.3)
    np.testing.assert_allclose(box, whole, atol=12)


@pytest.mark.parametrize("unseen", [("nose", "left_eye"), ("left_eye", "right_eye")])
def test_without_eyes_there_is_no_face(unseen: tuple[str, ...]) -> None:
    assert face_boxes(*pose(FRONT, unseen), COCO17, 0.3).shape == (0, 4)


def test_other_skeletons_and_nobody() -> None:
    assert face_boxes(np.zeros((2, 2, 2)), np.ones((2, 2)), named_skeleton("two", ["a", "b"]), 0.3).shape == (0, 4)
    assert face_boxes(np.zeros((0, 17, 2)), np.zeros((0, 17)), COCO17, 0.3).shape == (0, 4)
    xy, score = pose(FRONT)
    both = face_boxes(np.concatenate([xy, xy + 50]), np.concatenate([score, score]), COCO17, 0.3)
    np.testing.assert_allclose(both[1] - both[0], 50)


def test_the_face_goes_on_though_a_larger_one_comes() -> None:
    small, large = np.array([0.0, 0, 10, 12]), np.array([50.0, 0, 90, 45])
    boxes = np.stack([small, large])
    assert follow_face(np.zeros((0, 4)), small) is None
    np.testing.assert_array_equal(follow_face(boxes, None), large)
    np.testing.assert_array_equal(follow_face(boxes, small + 2), small)
    np.testing.assert_array_equal(follow_face(boxes, small + 300), large)  # lost: begin anew


def test_squares_are_smooth_and_single_mistakes_are_nothing() -> None:
    seconds = np.arange(21) * 0.2
    boxes = np.tile([40.0, 30.0, 60.0, 54.0], (21, 1))
    boxes[10] += 300  # one frame looked at somebody else
    squares = steady_squares(seconds, boxes)
    np.testing.assert_allclose(squares, np.tile([50.0, 42.0, 24.0], (21, 1)))
    walking = boxes.copy()
    walking[:, [0, 2]] = boxes[:, [0, 2]] * 0 + [40.0, 60.0] + (10 * seconds)[:, None]
    np.testing.assert_allclose(steady_squares(seconds, walking)[4:-4, 0], 50 + 10 * seconds[4:-4], atol=1e-9)
    assert square_at(seconds, squares, -5.0).tolist() == square_at(seconds, squares, 99.0).tolist() == [50, 42, 24]
    two = np.array([[0.0, 0, 10], [10.0, 20, 30]])
    assert square_at(np.array([1.0, 2.0]), two, 1.5).tolist() == [5.0, 10.0, 20.0]
    assert square_at(np.array([1.0]), two[:1], 7.0).tolist() == [0.0, 0.0, 10.0]


def test_the_cut_is_a_third_wider_and_stays_in_the_picture() -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    image[..., 0], image[..., 1] = np.arange(200), np.arange(100)[:, None]
    crop = crop_face(image, np.array([100.0, 50.0, 41.0]), int(41 * MARGIN))
    assert crop.shape == (53, 53, 3)  # int(41 x 1.3): no resize
    assert (crop[0, 0, 0], crop[0, 0, 1], crop[-1, -1, 0], crop[-1, -1, 1]) == (74, 24, 126, 76)
    corner = crop_face(image, np.array([195.0, 2.0, 41.0]), 53)
    assert (corner[0, 0, 0], corner[0, 0, 1]) == (147, 0)  # moved in, of the same size
    whole = crop_face(image, whole_square(100, 200), 100)
    assert (whole[0, 0, 0], whole[0, -1, 0], whole[-1, 0, 1]) == (50, 149, 99)
    assert crop_face(image, np.array([10.0, 10.0, 0.3]), 32).shape == (32, 32, 3)
