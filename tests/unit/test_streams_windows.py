"""Windows of the last seconds, at times of the container, and spans of what was said of them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from posepipe.skeleton import COCO17
from posepipe.streams.resampling import resample
from posepipe.streams.spans import UNKNOWN, SpanRules, WindowLog, decide
from posepipe.streams.windows import TimeWindows, windows_of
from posepipe.types import Action, FrameResult, Poses, PoseStream, Tracks

SAMPLES, RATE, STEP = 16, 16.0, 4


def person(pts, frames=None, speed=10.0, track_id=1):
    """Everything is at ``speed * time`` px."""
    pts = np.asarray(pts, float)
    count = len(pts)
    xy = np.repeat((speed * pts)[:, None, None], 17, 1).repeat(2, 2)
    boxes = np.tile(np.array([0.0, 0, 50, 100]), (count, 1))
    index = np.arange(count) if frames is None else frames
    return PoseStream(track_id, index, pts, xy, np.ones((count, 17)), boxes, np.ones(count, bool))


def frame(index, pts, ids=(), confirmed=True, skipped=False):
    count = len(ids)
    xy = np.full((count, 17, 2), 10 * pts) + np.array(ids, float).reshape(-1, 1, 1)
    poses = Poses(xy, np.ones((count, 17)), np.tile([0.0, 0, 50, 100], (count, 1)), np.ones(count))
    sure = np.full(count, confirmed)
    tracks = Tracks(poses, poses.boxes, np.array(ids, np.int64), sure, np.ones(count))
    return FrameResult(index, pts, tracks, skipped=skipped)


def gather(frames):
    windows = TimeWindows(SAMPLES, RATE, STEP, COCO17)
    return [(result.frame_index, window) for result in frames for window in windows.update(result)]


def test_samples_lie_at_the_times_of_the_grid_whatever_the_times_of_the_frames():
    rng = np.random.default_rng(0)
    for pts in (np.arange(90) / 30, np.arange(75) / 25, np.cumsum(rng.uniform(0.01, 0.09, 60))):
        found = list(windows_of(person(pts), SAMPLES, RATE, STEP))
        assert len(found) > 3
        for window in found:
            there = window.stream.seen
            np.testing.assert_allclose(window.stream.pts, window.stream.frame_index / RATE)
            np.testing.assert_allclose(window.stream.xy[there, 0, 0], 10 * window.stream.pts[there], atol=0.011)
            assert (window.stream.score[~there] == 0).all()
            assert len(window.stream) == SAMPLES
            assert window.stream.frame_index[-1] % STEP == 0
            assert pts[0] - 1e-6 <= window.start_s < window.end_s <= pts[-1] + 1e-6


def test_a_window_holds_what_resampling_the_whole_stream_gives():
    pts = np.cumsum(np.random.default_rng(3).uniform(0.01, 0.2, 80))
    whole = resample(person(pts), RATE)
    for window in windows_of(person(pts), SAMPLES, RATE, STEP):
        rows = np.flatnonzero(window.stream.seen)
        same = np.searchsorted(whole.frame_index, window.stream.frame_index[rows])
        np.testing.assert_array_equal(window.stream.xy[rows], whole.xy[same])


def test_windows_close_with_the_first_frame_at_or_after_their_last_sample():
    found = gather(frame(i, i / 10, [1]) for i in range(25))
    assert [index for index, _ in found] == [5, 8, 10, 13, 15, 18, 20, 23]
    assert [window.end_s for _, window in found] == pytest.approx([0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.25])
    assert [window.start_s for _, window in found][:3] == pytest.approx([0, 0, 1 / 16])


def test_nobody_three_frames_and_probation_give_no_window():
    assert gather(frame(i, i / 10) for i in range(40)) == []
    assert gather(frame(i, i / 10, [1] if i in (3, 4, 5) else []) for i in range(40)) == []
    assert gather(frame(i, i / 10, [1], confirmed=False) for i in range(40)) == []


def test_frames_that_were_passed_over_are_bridged():
    every = gather(frame(i, i / 20, [1]) for i in range(80))
    third = gather(frame(i, i / 20, [1] if i % 3 == 0 else [], skipped=i % 3 != 0) for i in range(80))
    assert [index for index, _ in third] == [index for index, _ in every]
    for (_, a), (_, b) in zip(every, third, strict=True):
        both = a.stream.seen & b.stream.seen
        assert both.sum() >= SAMPLES // 2
        np.testing.assert_allclose(a.stream.xy[both], b.stream.xy[both], atol=1e-3)


def test_a_person_who_left_is_looked_at_until_half_the_window_is_empty():
    found = gather(frame(i, i / 20, [1] if i <= 40 else []) for i in range(100))
    assert found[-1][1].end_s == pytest.approx(2.0)
    assert found[-1][0] / 20 == pytest.approx(2.5)
    gap = gather(frame(i, i / 20, [1] if i <= 40 or i > 70 else []) for i in range(160))
    assert not any(2.0 < window.stream.pts[window.stream.seen][0] < 3.5 for _, window in gap)


def test_two_people_are_apart_and_memory_is_that_of_the_last_seconds():
    windows = TimeWindows(SAMPLES, RATE, STEP, COCO17)
    ids = set()
    for i in range(2000):
        found = windows.update(frame(i, i / 20, [1, 2 + i // 50]))
        for window in found:
            ids.add(window.stream.track_id)
            seen = window.stream.seen
            wanted = 10 * window.stream.pts[seen] + window.stream.track_id
            np.testing.assert_allclose(window.stream.xy[seen, 0, 0], wanted, atol=1e-2)
        assert sum(map(len, windows._rows.values())) < 2 * 20 * 3
    assert len(ids) == 1 + 2000 // 50


def test_where_frames_are_further_apart_than_windows_only_the_latest_is_looked_at():
    assert len(gather(frame(i, i * 0.4, [1]) for i in range(10))) <= 9


def test_a_leap_in_time_costs_nothing():
    """All samples of 1e10 seconds would be 1.3 TB."""
    steady = [frame(i, i / 25, [1]) for i in range(60)]
    found = gather([*steady, *(frame(60 + i, 1e10 + i / 25, [1]) for i in range(60))])
    assert [window.stream.pts[-1] >= 1e10 for _, window in found] == [False] * 8 + [True] * 8


@pytest.mark.parametrize("wrong", [(0, 1.0, 1), (4, 0.0, 1), (4, 1.0, 0)])
def test_sizes_below_one_are_refused(wrong):
    with pytest.raises(ValueError, match="above 0"):
        TimeWindows(*wrong, COCO17)


LABELS = ("stand", "walk")


def said(start, end, *probs, track_id=1):
    return Action(track_id, "", 0, np.array(probs, np.float32), round(start * 10), round(end * 10), start, end)


def spans(windows, **rules):
    log = WindowLog(LABELS, SpanRules(**rules))
    log.add(windows)
    return [(s.track_id, s.label, s.start_s, s.end_s) for s in log.spans()]


def steps(probs, width=2.0, step=0.5):
    return [
        said(max(0.0, end - width), end, *p) for end, p in zip(step * np.arange(2, 2 + len(probs)), probs, strict=True)
    ]


def test_one_action_is_one_span():
    found = spans(steps([(0.9, 0.1)] * 6))
    assert found == [(1, "stand", 0.0, 3.5)]


def test_a_change_is_found_between_the_windows_that_show_one_and_the_other():
    found = spans(steps([(0.95, 0.05)] * 8 + [(0.6, 0.4), (0.4, 0.6)] + [(0.05, 0.95)] * 8))
    assert [label for _, label, *_ in found] == ["stand", "walk"]
    assert found[0][3] == found[1][2]
    # The windows that are undecided end at 5 and 5.5 s and are 2 s long.
    assert 3.5 <= found[0][3] <= 5.0


def test_a_flicker_does_not_end_an_action_and_doubt_is_unknown():
    assert len(spans(steps([(0.6, 0.4), (0.48, 0.52)] * 6))) == 1
    found = spans(steps([(0.9, 0.1)] * 5 + [(0.3, 0.3)] * 8 + [(0.9, 0.1)] * 5))
    assert [label for _, label, *_ in found] == ["stand", UNKNOWN, "stand"]


def test_a_short_doubt_between_two_spans_of_one_action_is_bridged():
    doubt = [(0.9, 0.1)] * 6 + [(0.0, 0.0)] * 3 + [(0.9, 0.1)] * 6
    apart = spans(steps(doubt, width=0.5), merge_s=0.0)
    assert [label for _, label, *_ in apart] == ["stand", UNKNOWN, "stand"]
    assert spans(steps(doubt, width=0.5), merge_s=2.0) == [(1, "stand", 0.5, 8.0)]


def test_people_do_not_mix_and_an_absence_is_a_gap():
    one = [*steps([(0.9, 0.1)] * 4), *(said(20 + e / 2, 22 + e / 2, 0.9, 0.1) for e in range(3))]
    two = [said(w.start_s, w.end_s, 0.1, 0.9, track_id=2) for w in steps([(0, 0)] * 4)]
    mixed = [w for pair in zip(one, [*two, None, None, None], strict=True) for w in pair if w is not None]
    assert spans(mixed) == [(1, "stand", 0.0, 2.5), (2, "walk", 0.0, 2.5), (1, "stand", 20.0, 23.0)]


def test_spans_of_a_person_do_not_overlap_and_lie_in_their_windows():
    rng = np.random.default_rng(1)
    for _ in range(50):
        raw = rng.dirichlet((0.5, 0.5), 30) * rng.uniform(0.3, 1, (30, 1))
        found = spans(steps([tuple(row) for row in raw]))
        assert found[0][2] == 0.0
        assert found[-1][3] == 15.5
        assert all(a[3] <= b[2] + 1e-9 and a[1] != b[1] for a, b in pairwise(found))


def test_a_window_that_ends_where_the_one_before_did_adds_nothing():
    assert spans([said(0, 2, 0.9, 0.1), said(0.5, 2, 0.9, 0.1)]) == [(1, "stand", 0.0, 2.0)]


def test_probabilities_of_other_labels_are_refused():
    with pytest.raises(ValueError, match="3 probabilities for 2 labels"):
        spans([said(0, 1, 0.2, 0.3, 0.5)])


def test_the_model_says_when_it_does_not_know():
    assert decide(np.array([0.2, 0.7]), LABELS, 0.5) == ("walk", 1)
    assert decide(np.array([0.2, 0.4]), LABELS, 0.5) == (UNKNOWN, -1)
    assert decide(np.array([0.1, 0.9]), ("stand", UNKNOWN), 0.5) == (UNKNOWN, -1)
