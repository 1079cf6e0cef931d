"""Laws of windows over time and of the spans made of them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from results import result

from posepipe.skeleton import COCO17
from posepipe.streams.spans import SpanRules, WindowLog
from posepipe.streams.windows import TimeWindows
from posepipe.types import Action, FrameResult, Tracks

SAMPLES, RATE, STEP = 8, 8.0, 2
MANY = settings(max_examples=60, deadline=None)


@st.composite
def videos(draw):
    """Frames of an uneven rate with some of three people in each."""
    gaps = draw(st.lists(st.floats(0.004, 0.4), min_size=1, max_size=30))
    return [
        result(index, draw(st.lists(st.sampled_from([1, 2, 3]), unique=True)), pts=float(pts))
        for index, pts in enumerate(np.cumsum(gaps))
    ]


def windows(frames):
    cutter = TimeWindows(SAMPLES, RATE, STEP, COCO17)
    return [(r.frame_index, w) for r in frames for w in cutter.update(r)]


def shuffled(frame):
    order = np.random.default_rng(frame.frame_index).permutation(len(frame.tracks))
    t = frame.tracks
    tracks = Tracks(t.poses[order], t.boxes[order], t.track_id[order], t.confirmed[order], t.age[order])
    return FrameResult(frame.frame_index, frame.pts, tracks)


def same(a, b):
    return [i for i, _ in a] == [i for i, _ in b] and all(
        np.array_equal(v.stream.xy, w.stream.xy)
        and np.array_equal(v.stream.score, w.stream.score)
        and (v.start, v.end, v.start_s, v.end_s) == (w.start, w.end, w.start_s, w.end_s)
        for (_, v), (_, w) in zip(a, b, strict=True)
    )


@MANY
@given(videos())
def test_the_order_of_people_in_a_frame_does_not_matter(frames):
    assert same(windows(frames), windows(map(shuffled, frames)))


@MANY
@given(videos())
def test_people_do_not_change_one_another(frames):
    def alone(frame):
        keep = frame.tracks.track_id == 1
        t = frame.tracks
        tracks = Tracks(t.poses[keep], t.boxes[keep], t.track_id[keep], t.confirmed[keep], t.age[keep])
        return FrameResult(frame.frame_index, frame.pts, tracks)

    together = [(i, w) for i, w in windows(frames) if w.stream.track_id == 1]
    assert same(together, windows(map(alone, frames)))


@MANY
@given(videos())
def test_windows_lie_in_the_time_that_was_seen_and_hold_what_was_seen(frames):
    for closed, window in windows(frames):
        seen = window.stream.seen
        assert seen.sum() >= SAMPLES / 2
        assert window.start_s <= window.end_s <= frames[closed].pts + 1e-3
        assert 0 <= window.start < window.end <= closed + 1
        assert (window.stream.score[~seen] == 0).all()
        poses = [f.tracks.poses for f in frames[: closed + 1] if len(f.tracks)]
        low = min(float(p.xy.min()) for p in poses)
        high = max(float(p.xy.max()) for p in poses)
        assert (window.stream.xy[seen] >= low - 1e-2).all()
        assert (window.stream.xy[seen] <= high + 1e-2).all()


@st.composite
def logs(draw):
    """What was said of the windows of two people, which end at growing times."""
    said = []
    for person in (1, 2):
        end = 0.0
        for _ in range(draw(st.integers(0, 12))):
            end += draw(st.sampled_from([0.5, 0.5, 1.0, 4.0]))
            weights = np.array(draw(st.lists(st.floats(0, 1), min_size=3, max_size=3)), np.float32)
            probs = weights / max(1.0, float(weights.sum()))
            said.append(Action(person, "", 0, probs, int(10 * max(0, end - 2)), int(10 * end), max(0, end - 2), end))
    return said


@MANY
@given(logs(), st.floats(0, 1), st.floats(0, 0.3), st.floats(0, 2))
def test_spans_tile_what_windows_covered(said, abstain, hold, merge):
    log = WindowLog(("a", "b", "unknown"), SpanRules(abstain, hold, merge))
    log.add(said)
    spans = log.spans()
    for person in (1, 2):
        own = [s for s in spans if s.track_id == person]
        seen = [w for w in said if w.track_id == person]
        assert bool(own) == bool(seen)
        assert all(a.end_s <= b.start_s + 1e-9 for a, b in pairwise(own))
        if own:
            assert (own[0].start_s, own[-1].end_s) == (seen[0].start_s, seen[-1].end_s)
        for span in own:
            assert span.start_s < span.end_s
            assert (span.label_id == -1) == (span.label == "unknown")
            assert span.label_id < 2
            low = min(w.probs.min() for w in seen)
            assert (span.probs >= low - 1e-6).all()
            assert (span.probs <= 1 + 1e-6).all()


@MANY
@given(logs(), st.floats(0, 1))
def test_the_order_of_people_in_the_log_does_not_matter(said, abstain):
    one, two = (WindowLog(("a", "b", "c"), SpanRules(abstain)) for _ in range(2))
    one.add(said)
    two.add(sorted(said, key=lambda w: (w.end_s, -w.track_id)))
    assert [(s.track_id, s.label, s.start_s, s.end_s) for s in one.spans()] == [
        (s.track_id, s.label, s.start_s, s.end_s) for s in two.spans()
    ]


def test_nothing_in_nothing_out():
    assert WindowLog(("a",), SpanRules()).spans() == []
    assert windows([]) == []
