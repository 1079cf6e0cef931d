"""OC-SORT and ByteTrack: what sets them apart from SORT."""

from __future__ import annotations

import numpy as np
import pytest

from posepipe.tracking.bytetrack import ByteTrack
from posepipe.tracking.ocsort import OCSort
from posepipe.tracking.sort import Sort
from posepipe.types import Detections, Poses

BOX = np.array([100.0, 50.0, 140.0, 150.0])
STEP = np.array([6.0, 0.0, 6.0, 0.0])


def seen(box: np.ndarray, score: float = 0.9) -> Poses:
    return Poses.unseen(Detections(box[None], np.array([score])))


def test_ocsort_shows_the_observed_box_and_sort_the_filters() -> None:
    boxes = [BOX + t * STEP + 3.0 * (-1) ** t * np.array([0, 0, 0, 1]) for t in range(6)]
    oc, sort = OCSort(), Sort()
    for box in boxes:
        observed, filtered = oc.update(seen(box)), sort.update(seen(box))
    np.testing.assert_array_equal(observed.boxes[0], boxes[-1].astype(np.float32))
    assert not np.allclose(filtered.boxes[0], boxes[-1])


def test_ocsort_replays_the_gap_so_that_the_velocity_is_that_of_the_line() -> None:
    tracker = OCSort()
    for t in range(4):
        tracker.update(seen(BOX + t * STEP))
    for _ in range(5):
        tracker.update(Poses.empty())
    # Found again where it was last seen: the line over the gap is at rest, whatever the filter had predicted.
    found = tracker.update(seen(BOX + 3 * STEP))
    assert found.track_id.tolist() == [1]
    tracker.update(Poses.empty())
    later = tracker.update(seen(BOX + 3 * STEP))
    assert later.track_id.tolist() == [1]


def test_ocsort_leaves_faint_people_untracked() -> None:
    ids = []
    tracker = OCSort(det_threshold=0.6)
    for _ in range(5):
        tracks = tracker.update(seen(BOX, 0.5))
        assert not tracks.confirmed[0]
        ids.append(int(tracks.track_id[0]))
    assert len(set(ids)) == 5


def test_bytetrack_confirms_at_once_in_the_first_frame_else_by_the_second_match() -> None:
    tracker = ByteTrack()
    assert tracker.update(seen(BOX)).confirmed.tolist() == [True]
    late = ByteTrack()
    late.update(Poses.empty())
    assert [bool(late.update(seen(BOX)).confirmed[0]) for _ in range(3)] == [False, True, True]


def test_bytetrack_goes_on_with_a_detection_at_the_threshold_itself() -> None:
    tracker = ByteTrack(0.5)
    followed = [tracker.update(seen(BOX, score)) for score in (0.9, 0.9, 0.5)]
    assert [t.track_id.tolist() for t in followed] == [[1]] * 3
    assert [bool(t.confirmed[0]) for t in followed] == [True] * 3


@pytest.mark.parametrize(("threshold", "least"), [(0.5, 0.6), (0.8, 0.9), (0.9, 0.95), (0.95, 0.975), (0.99, 0.995)])
def test_bytetrack_asks_more_of_a_new_track_but_never_what_no_score_reaches(threshold: float, least: float) -> None:
    for score, begins in ((least + 0.002, True), (least - 0.002, False)):
        tracker = ByteTrack(threshold)
        tracker.update(Poses.empty())
        confirmed = [bool(tracker.update(seen(BOX, score)).confirmed[0]) for _ in range(3)]
        assert confirmed == [False, begins, begins]


def test_bytetrack_goes_on_with_weak_detections_but_finds_nobody_by_them() -> None:
    tracker = ByteTrack()
    tracker.update(seen(BOX))
    assert tracker.update(seen(BOX, 0.3)).track_id.tolist() == [1]
    tracker.update(Poses.empty())
    # Lost people are not found again by a weak detection.
    assert tracker.update(seen(BOX, 0.3)).track_id.tolist() != [1]
    assert tracker.update(seen(BOX, 0.9)).track_id.tolist() == [1]
