"""Laws that hold for every tracker, on random scenes of people who come, wander, hide and go."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posepipe.io.schema import dump, frame_from_json, frame_to_json, parse
from posepipe.skeleton import COCO17
from posepipe.stages import Tracker
from posepipe.tracking.bytetrack import ByteTrack
from posepipe.tracking.ocsort import OCSort
from posepipe.tracking.posesort import PoseSort
from posepipe.tracking.refine import refine
from posepipe.tracking.sort import Sort
from posepipe.types import Detections, FrameResult, Poses, Tracks

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


def finished(make: Callable[[], Tracker], seed: int) -> list[FrameResult]:
    """A run over a scene in which two frames were skipped and one began a new shot."""
    tracker, results = make(), []
    for i, poses in enumerate(scene(seed, frames=40)):
        if i in (7, 8):
            results.append(FrameResult(i, i / 25, Tracks.empty(), skipped=True))
            continue
        if i == 30:
            tracker.cut()  # type: ignore[attr-defined]
        results.append(FrameResult(i, i / 25, tracker.update(poses), cut=i == 30))
    return results


def written(frames: list[FrameResult]) -> list[str]:
    return [dump(frame_to_json(frame)) for frame in frames]


@every_tracker
@given(seed=seeds)
@settings(max_examples=8, deadline=None)
def test_a_second_pass_loses_no_row_and_keeps_what_the_tracker_said(make: Callable[[], Tracker], seed: int) -> None:
    raw = finished(make, seed)
    refined = list(refine(raw))
    assert [(f.frame_index, f.pts, f.skipped, f.cut) for f in refined] == [
        (f.frame_index, f.pts, f.skipped, f.cut) for f in raw
    ]
    for before, after in zip(raw, refined, strict=True):
        known = after.tracks.refinement
        if known is None:
            assert after is before
            continue
        count = len(before.tracks)
        assert known.seen.tolist() == [True] * count + [False] * (len(after.tracks) - count)
        np.testing.assert_array_equal(known.raw_id[:count], before.tracks.track_id)
        np.testing.assert_array_equal(known.raw_confirmed[:count], before.tracks.confirmed)
        np.testing.assert_array_equal(after.tracks.boxes[:count], before.tracks.boxes)
        np.testing.assert_array_equal(after.tracks.poses.xy[:count], before.tracks.poses.xy)
        assert not known.raw_id[count:].any()
        # Tracks.__post_init__ refuses ids that occur twice in a frame; those of unconfirmed people count as well.
        assert (after.tracks.track_id > 0).all()
        assert ((known.id_confidence >= 0) & (known.id_confidence <= 1)).all()
        assert (after.tracks.age >= 0).all()


@every_tracker
@given(seed=seeds)
@settings(max_examples=5, deadline=None)
def test_a_second_pass_changes_nothing_in_what_it_made(make: Callable[[], Tracker], seed: int) -> None:
    # As written: 0.01 px are what the files hold.
    raw = [frame_from_json(parse(line), COCO17) for line in written(finished(make, seed))]
    once = written(list(refine(raw)))
    read = [frame_from_json(parse(line), COCO17) for line in once]
    assert written(read) == once
    assert written(list(refine(read))) == once


@every_tracker
@given(seed=seeds)
@settings(max_examples=5, deadline=None)
def test_nobody_is_in_two_shots(make: Callable[[], Tracker], seed: int) -> None:
    refined = list(refine(finished(make, seed)))
    before = {int(i) for frame in refined[:30] for i in frame.tracks.track_id}
    after = {int(i) for frame in refined[30:] for i in frame.tracks.track_id}
    assert not before & after


def test_a_second_pass_over_nothing_gives_nothing() -> None:
    assert list(refine([])) == []
    empty = [FrameResult(i, i / 25, Tracks.empty()) for i in range(3)]
    assert [len(frame.tracks) for frame in refine(empty)] == [0, 0, 0]
