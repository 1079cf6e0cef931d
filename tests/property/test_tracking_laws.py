"""Laws that hold for every tracker, on random scenes of people who come, wander, hide and go."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posepipe.stages import Tracker
from posepipe.tracking.bytetrack import ByteTrack
from posepipe.tracking.ocsort import OCSort
from posepipe.tracking.posesort import PoseSort
from posepipe.tracking.sort import Sort
from posepipe.types import Detections, Poses, Tracks

Scene = list[Poses]

TRACKERS: list[Callable[[], Tracker]] = [Sort, lambda: Sort(max_age=10, min_hits=1), OCSort, ByteTrack, PoseSort]
every_tracker = pytest.mark.parametrize("make", TRACKERS)
seeds = st.integers(0, 2**32 - 1)


def scene(seed: int, frames: int = 25) -> Scene:
    """Up to eight people on whole pixels; a fifth of the detections is missing, some are false."""
    rng = np.random.default_rng(seed)
    people = rng.integers(0, 8)
    centre = rng.uniform(0, 300, (people, 2)) + np.cumsum(rng.normal(0, 4, (frames, people, 2)), 0)
    half = np.stack([rng.uniform(8, 30, people), rng.uniform(20, 80, people)], -1)
    boxes = np.concatenate([centre - half, centre + half], -1).round()
    result = []
    for row in boxes:
        seen = row[rng.random(people) > 0.2]
        false = rng.uniform(0, 300, (rng.integers(0, 3), 2)).round()
        found = np.concatenate([seen, np.concatenate([false, false + rng.integers(5, 60, false.shape)], 1)])
        score = rng.uniform(0.3, 1, len(found))
        result.append(Poses.unseen(Detections(found.astype(np.float32), score.astype(np.float32))))
    return result


def run(tracker: Tracker, frames: Scene) -> list[Tracks]:
    return [tracker.update(poses) for poses in frames]


def same(a: list[Tracks], b: list[Tracks]) -> bool:
    names = ("boxes", "track_id", "confirmed", "age")
    return all(np.array_equal(getattr(x, n), getattr(y, n)) for x, y in zip(a, b, strict=True) for n in names)


@every_tracker
@given(seed=seeds)
@settings(max_examples=25, deadline=None)
def test_permuting_detections_permutes_rows_only(make: Callable[[], Tracker], seed: int) -> None:
    rng = np.random.default_rng(seed)
    plain, mixed = make(), make()
    for poses in scene(seed):
        order = rng.permutation(len(poses))
        a, b = plain.update(poses), mixed.update(poses[order])
        np.testing.assert_array_equal(a.track_id[order], b.track_id)
        np.testing.assert_array_equal(a.confirmed[order], b.confirmed)
        np.testing.assert_array_equal(a.boxes[order], b.boxes)


@every_tracker
@given(seed=seeds)
@settings(max_examples=25, deadline=None)
def test_ids_are_unique_in_a_frame_count_from_one_and_never_return(make: Callable[[], Tracker], seed: int) -> None:
    founded = 0
    alive_until: dict[int, int] = {}
    for frame, tracks in enumerate(run(make(), scene(seed))):
        ids = [int(i) for i in tracks.track_id]
        assert len(ids) == len(set(ids)) == len(tracks.poses)
        # New ids follow on from the highest one so far, and a track has age 0 in the frame that founds it only.
        new = sorted(i for i in ids if i > founded)
        assert new == list(range(founded + 1, founded + 1 + len(new)))
        assert {i for i, age in zip(ids, tracks.age, strict=True) if age == 0} == set(new)
        for i, age in zip(ids, tracks.age, strict=True):
            assert alive_until.get(i, frame - int(age)) == frame - int(age)
            alive_until[i] = frame - int(age)
        founded += len(new)


@every_tracker
@given(seed=seeds)
@settings(max_examples=10, deadline=None)
def test_reset_forgets_everything(make: Callable[[], Tracker], seed: int) -> None:
    tracker = make()
    first = run(tracker, scene(seed))
    tracker.reset()
    assert same(first, run(tracker, scene(seed)))


@every_tracker
@given(a=seeds, b=seeds)
@settings(max_examples=10, deadline=None)
def test_two_trackers_do_not_know_one_another(make: Callable[[], Tracker], a: int, b: int) -> None:
    one, two = make(), make()
    together = [(one.update(p), two.update(q)) for p, q in zip(scene(a), scene(b), strict=True)]
    assert same([x for x, _ in together], run(make(), scene(a)))
    assert same([y for _, y in together], run(make(), scene(b)))


@every_tracker
@given(seed=seeds, x=st.integers(-500, 500), y=st.integers(-500, 500))
@settings(max_examples=25, deadline=None)
def test_moving_the_whole_scene_changes_no_id(make: Callable[[], Tracker], seed: int, x: int, y: int) -> None:
    shift = np.array([x, y, x, y], np.float32)
    moved = [Poses.unseen(Detections(p.boxes + shift, p.box_score)) for p in scene(seed)]
    for a, b in zip(run(make(), scene(seed)), run(make(), moved), strict=True):
        np.testing.assert_array_equal(a.track_id, b.track_id)
        np.testing.assert_array_equal(a.confirmed, b.confirmed)
        np.testing.assert_allclose(a.boxes + shift, b.boxes, atol=0.01)


@every_tracker
def test_empty_in_empty_out(make: Callable[[], Tracker]) -> None:
    for tracks in run(make(), [Poses.empty()] * 5):
        assert len(tracks) == 0
        assert tracks.boxes.shape == (0, 4)
        assert tracks.track_id.dtype == np.int64
