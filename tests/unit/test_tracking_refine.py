from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from posepipe.tracking.refine import RefineSettings, refine
from posepipe.types import Detections, FrameResult, Poses, Tracks

Row = tuple[int, float, float]  # id, left, score


def result(time: int, rows: Iterable[Row], *, confirmed: bool = True, cut: bool = False, joints: float = 0.0):
    """People 40 px wide and 100 high, `left` px from the edge."""
    table = np.array(list(rows), float).reshape(-1, 3)
    boxes = np.stack([table[:, 1], 0 * table[:, 1], table[:, 1] + 40, 0 * table[:, 1] + 100], 1)
    poses = Poses.unseen(Detections(boxes, table[:, 2]))
    if joints:
        poses = replace(poses, xy=poses.xy + np.arange(17)[:, None], score=np.full((len(table), 17), joints))
    ids = table[:, 0].astype(np.int64)
    count = len(table)
    tracks = Tracks(poses, poses.boxes, ids, np.full(count, confirmed), np.full(count, time, np.int32))
    return FrameResult(time, time / 25, tracks, cut=cut)


def final(frames: Iterable[FrameResult]) -> list[dict[int, float]]:
    """Left edge by final id of the confirmed people of each frame."""
    return [
        {int(i): float(b[0]) for i, b, c in zip(t.track_id, t.boxes, t.confirmed, strict=True) if c}
        for t in (frame.tracks for frame in frames)
    ]


def broken_walk(gap: int, **more) -> list[FrameResult]:
    """Somebody walks 4 px a frame, is hidden for `gap` frames, and comes out as a new track."""
    ids = [1] * 20 + [0] * gap + [2] * 20
    return [result(t, [(i, 4.0 * t, 0.9)] if i else [], **more) for t, i in enumerate(ids)]


def test_a_broken_track_is_joined_and_its_gap_filled() -> None:
    frames = list(refine(broken_walk(4, joints=0.8)))
    assert final(frames) == [{1: pytest.approx(4.0 * t)} for t in range(44)]
    tracks = [frame.tracks for frame in frames]
    assert [bool(t.seen[0]) for t in tracks] == [True] * 20 + [False] * 4 + [True] * 20
    assert [int(t.refinement.raw_id[0]) for t in tracks] == [1] * 20 + [0] * 4 + [2] * 20
    assert [int(t.age[0]) for t in tracks] == list(range(44))
    np.testing.assert_allclose([t.poses.xy[0, 3, 0] for t in tracks], 4.0 * np.arange(44) + 20 + 3, atol=1e-3)
    np.testing.assert_allclose([t.poses.score[0, 3] for t in tracks], 0.8, atol=1e-6)


def test_a_long_gap_is_joined_but_stays_open() -> None:
    frames = list(refine(broken_walk(12)))
    assert final(frames) == [{1: pytest.approx(4.0 * t)} if t < 20 or t >= 32 else {} for t in range(52)]


def test_nobody_is_joined_across_a_cut_or_a_wide_room() -> None:
    cut = [replace(frame, cut=t == 22) for t, frame in enumerate(broken_walk(4))]
    far = [result(t, [(1, 4.0 * t, 0.9)] if t < 20 else [(2, 900.0 - 4 * t, 0.9)] if t > 23 else []) for t in range(44)]
    for frames in (cut, far):
        assert {i for people in final(refine(frames)) for i in people} == {1, 2}


def test_who_goes_where_is_settled_for_all_together() -> None:
    # Both walk on; the nearest beginning to where the first was lost is the second's.
    frames = [result(t, [(1, 6.0 * t, 0.9), (2, 60 + 6.0 * t, 0.9)] if t < 20 else []) for t in range(26)] + [
        result(t, [(3, 6.0 * t, 0.9), (4, 60 + 6.0 * t, 0.9)]) for t in range(26, 46)
    ]
    people = final(refine(frames))
    assert people[45] == {1: pytest.approx(270.0), 2: pytest.approx(330.0)}


def test_an_impossible_jump_begins_somebody_new() -> None:
    frames = [result(t, [(1, 4.0 * t if t < 20 else 2000.0 + 4 * t, 0.9)]) for t in range(40)]
    people = final(refine(frames))
    assert set(people[19]) == {1}
    assert set(people[20]) == {2}


def test_ghosts_are_set_aside_but_stay_on_record() -> None:
    frames = [
        result(t, [(1, 4.0 * t, 0.9), *([(2, 600.0, 0.9)] if t < 3 else []), *([(3, 900.0, 0.5)] if t < 20 else [])])
        for t in range(80)
    ]
    refined = list(refine(frames))
    assert {i for people in final(refined) for i in people} == {1}
    assert [len(frame.tracks) for frame in refined] == [len(frame.tracks) for frame in frames]
    kept = refine(frames, settings=RefineSettings(least_rows=0, faint_rows=0))
    assert {i for people in final(kept) for i in people} == {1, 2, 3}


def test_who_is_confirmed_later_was_there_from_the_first() -> None:
    frames = [result(t, [(1, 4.0 * t, 0.9)], confirmed=t >= 3) for t in range(30)]
    refined = list(refine(frames))
    assert all(people == {1: pytest.approx(4.0 * t)} for t, people in enumerate(final(refined)))
    assert [bool(f.tracks.refinement.raw_confirmed[0]) for f in refined] == [t >= 3 for t in range(30)]
    never = [result(t, [(1, 4.0 * t, 0.9)], confirmed=False) for t in range(30)]
    assert final(refine(never)) == [{}] * 30


def test_sureness_falls_with_every_doubt() -> None:
    alone = list(refine([result(t, [(1, 4.0 * t, 0.9)]) for t in range(40)]))
    joined = list(refine(broken_walk(12)))
    sure = {float(f.tracks.refinement.id_confidence[0]) for f in alone}
    assert len(sure) == 1
    assert min(float(f.tracks.refinement.id_confidence[0]) for f in joined if len(f.tracks)) < sure.pop()


def test_skipped_frames_stay_as_they_are_and_are_no_gap() -> None:
    frames = [
        replace(result(t, [(1 if t < 20 else 2, 4.0 * t, 0.9)]), frame_index=3 * t, pts=3 * t / 25) for t in range(40)
    ]
    nobody = Tracks.empty()
    skipped = [FrameResult(3 * t + k, (3 * t + k) / 25, nobody, skipped=True) for t in range(40) for k in (1, 2)]
    every = sorted([*frames, *skipped], key=lambda frame: frame.frame_index)
    refined = list(refine(every))
    assert [(f.frame_index, f.pts, f.skipped) for f in refined] == [(f.frame_index, f.pts, f.skipped) for f in every]
    assert final(f for f in refined if not f.skipped) == [{1: pytest.approx(4.0 * t)} for t in range(40)]
