from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from posepipe.skeleton import COCO17, Skeleton
from posepipe.stages import Tracker
from posepipe.tracking.posesort import PoseSort
from posepipe.types import Detections, Poses

STANDING = np.array([100.0, 50.0, 140.0, 150.0])
SMALL = Skeleton("two", ("head", "foot"), (("head", "foot"),), (), (0.05, 0.09))


def boxes_only(*boxes: NDArray[np.float64], score: float = 0.9) -> Poses:
    n = len(boxes)
    return Poses.unseen(Detections(np.array(boxes).reshape(n, 4), np.full(n, score)))


def posed(boxes: NDArray[np.float64], shape: NDArray[np.float64]) -> Poses:
    """People (N,4) whose joints stand at the shares ``shape`` (N,K,2) of their boxes."""
    xy = boxes[:, None, :2] + shape * (boxes[:, None, 2:] - boxes[:, None, :2])
    return Poses(xy, np.ones(xy.shape[:2]), boxes, np.full(len(boxes), 0.9))


def test_posesort_is_a_tracker() -> None:
    assert isinstance(PoseSort(), Tracker)


def test_a_person_is_confirmed_by_the_third_detection_and_stays_so_after_a_gap() -> None:
    tracker = PoseSort()
    tracker.update(Poses.empty())
    shown = [bool(tracker.update(boxes_only(STANDING)).confirmed[0]) for _ in range(4)]
    assert shown == [False, False, True, True]
    for _ in range(20):
        tracker.update(Poses.empty())
    again = tracker.update(boxes_only(STANDING))
    assert again.confirmed.tolist() == [True]
    assert again.track_id.tolist() == [1]


def test_on_probation_one_miss_is_the_end() -> None:
    tracker = PoseSort()
    tracker.update(Poses.empty())
    for _ in range(2):
        tracker.update(boxes_only(STANDING))
    tracker.update(Poses.empty())
    assert tracker.update(boxes_only(STANDING)).track_id.tolist() == [2]


def test_weak_detections_continue_a_track_but_found_none() -> None:
    tracker = PoseSort(strong=0.6)
    tracker.update(boxes_only(STANDING))
    kept = tracker.update(boxes_only(STANDING, score=0.4))
    assert (kept.track_id.tolist(), kept.confirmed.tolist()) == ([1], [True])
    stranger = STANDING + np.array([400, 0, 400, 0])
    ids = [tracker.update(boxes_only(stranger, score=0.4)) for _ in range(5)]
    assert len({int(t.track_id[0]) for t in ids}) == 5
    assert not any(t.confirmed[0] for t in ids)


def test_poses_tell_people_apart_whose_boxes_lie_on_one_another() -> None:
    rng = np.random.default_rng(0)
    shape = rng.uniform(0, 1, (2, 17, 2))
    apart = np.array([[100.0, 50, 160, 200], [110.0, 50, 170, 200]])
    # In the next frame either box would fit the other person a little better.
    swapped = np.array([[106.0, 50, 166, 200], [104.0, 50, 164, 200]])
    tracker = PoseSort()
    before = tracker.update(posed(apart, shape)).track_id
    np.testing.assert_array_equal(tracker.update(posed(swapped, shape)).track_id, before)
    blind = PoseSort()
    before = blind.update(boxes_only(*apart)).track_id
    np.testing.assert_array_equal(blind.update(boxes_only(*swapped)).track_id, before[::-1])


def test_people_are_followed_through_a_jerk_of_the_camera() -> None:
    crowd = np.array([STANDING + 90 * i * np.array([1, 0, 1, 0]) for i in range(4)])
    tracker = PoseSort()
    for _ in range(5):
        before = tracker.update(boxes_only(*crowd)).track_id
    # 42 px is more than a box is wide and nearly half the way to the neighbour.
    after = tracker.update(boxes_only(*(crowd + np.array([42, 10, 42, 10])))).track_id
    np.testing.assert_array_equal(after, before)


def test_other_skeletons_are_named_and_can_be_chosen() -> None:
    poses = Poses.unseen(Detections(STANDING[None], np.ones(1)), SMALL)
    with pytest.raises(ValueError, match="follows 'coco17', got poses of 'two'"):
        PoseSort().update(poses)
    assert PoseSort(skeleton=SMALL).update(poses).track_id.tolist() == [1]
    assert PoseSort().skeleton == COCO17


@pytest.mark.filterwarnings("ignore:.*inverted")
@pytest.mark.parametrize("box", [(140, 150, 100, 50), (5, 5, 5, 5), (-1e15, -1e15, 1e15, 1e15)])
def test_broken_and_extreme_boxes_never_spread(box: tuple[float, float, float, float]) -> None:
    tracker = PoseSort(max_age=3)
    for _ in range(6):
        tracks = tracker.update(boxes_only(np.array(box), STANDING))
        assert np.isfinite(tracks.boxes).all()
        assert (tracks.boxes[:, 2:] > tracks.boxes[:, :2]).all()
