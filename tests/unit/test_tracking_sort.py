from __future__ import annotations

import numpy as np
import pytest

from posepipe.stages import Tracker
from posepipe.tracking.sort import Sort
from posepipe.types import Detections, Poses


def people(*boxes: tuple[float, float, float, float]) -> Poses:
    return Poses.unseen(Detections(np.array(boxes, np.float32).reshape(-1, 4), np.ones(len(boxes), np.float32)))


STANDING = (100.0, 50.0, 140.0, 150.0)
ELSEWHERE = (400.0, 50.0, 440.0, 150.0)


def test_sort_is_a_tracker() -> None:
    assert isinstance(Sort(), Tracker)


def test_every_pose_comes_back_unchanged_with_an_id() -> None:
    poses = people(STANDING, ELSEWHERE)
    tracks = Sort().update(poses)
    assert tracks.poses is poses
    assert sorted(tracks.track_id) == [1, 2]
    np.testing.assert_allclose(tracks.boxes, poses.boxes, atol=1e-4)


def test_a_late_person_is_confirmed_at_the_fourth_detection() -> None:
    tracker = Sort(min_hits=3)
    for _ in range(5):
        tracker.update(people())
    shown = [bool(tracker.update(people(STANDING)).confirmed[0]) for _ in range(6)]
    assert shown == [False, False, False, True, True, True]


def test_the_first_frames_confirm_everybody() -> None:
    tracker = Sort(min_hits=3)
    shown = [bool(tracker.update(people(STANDING)).confirmed[0]) for _ in range(5)]
    assert shown == [True] * 5
    # A person who appears in frame 3 is shown there, then waits for three matches in a row.
    tracker = Sort(min_hits=3)
    for _ in range(2):
        tracker.update(people())
    shown = [bool(tracker.update(people(STANDING)).confirmed[0]) for _ in range(5)]
    assert shown == [True, False, False, True, True]


def test_after_a_missed_frame_three_matches_are_needed_again() -> None:
    tracker = Sort(max_age=1, min_hits=3)
    for _ in range(6):
        before = tracker.update(people(STANDING))
    tracker.update(people())
    after = [tracker.update(people(STANDING)) for _ in range(4)]
    assert {int(t.track_id[0]) for t in after} == {int(before.track_id[0])}
    assert [bool(t.confirmed[0]) for t in after] == [False, False, True, True]


@pytest.mark.parametrize(("gap", "same"), [(1, True), (2, True), (3, False)])
def test_a_track_dies_after_max_age_empty_frames(gap: int, same: bool) -> None:
    tracker = Sort(max_age=2)
    first = tracker.update(people(STANDING)).track_id[0]
    for _ in range(gap):
        assert len(tracker.update(people())) == 0
    again = tracker.update(people(STANDING)).track_id[0]
    assert (again == first) is np.bool_(same)
    assert again in (1, 2)


def test_ids_are_kept_while_two_people_pass_one_another() -> None:
    tracker = Sort()
    seen = set()
    for t in range(40):
        right, left = (100.0 + 5 * t, 50.0, 140.0 + 5 * t, 150.0), (300.0 - 5 * t, 80.0, 340.0 - 5 * t, 190.0)
        tracks = tracker.update(people(right, left) if t % 2 else people(left, right))
        ids = tracks.track_id if t % 2 else tracks.track_id[::-1]
        seen.add(tuple(int(i) for i in ids))
    assert len(seen) == 1


def test_age_counts_frames_since_founding() -> None:
    tracker = Sort(max_age=5)
    tracker.update(people())
    assert [int(tracker.update(people(STANDING)).age[0]) for _ in range(3)] == [0, 1, 2]
    tracker.update(people())
    assert int(tracker.update(people(STANDING)).age[0]) == 4


@pytest.mark.filterwarnings("ignore:.*inverted")
@pytest.mark.parametrize(
    "box", [(140, 150, 100, 50), (100, 50, 100, 150), (5, 5, 5, 5), (-1e30, -1e30, 1e30, 1e30), (0, 0, 1e-30, 1e30)]
)
def test_broken_and_extreme_boxes_never_spread(box: tuple[float, float, float, float]) -> None:
    tracker = Sort(max_age=3)
    for _ in range(6):
        tracks = tracker.update(people(box, ELSEWHERE))
        assert np.isfinite(tracks.boxes).all()
        assert (tracks.boxes[:, 2:] > tracks.boxes[:, :2]).all()
