"""What holds of pose streams whatever is in them: smoothed, resampled, measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from posepipe.skeleton import COCO17
from posepipe.streams.kinematics import COLUMNS, STATES, kinematics, transitions
from posepipe.streams.resampling import resample
from posepipe.streams.shaping import SMOOTHERS, Wanted, shape
from posepipe.streams.smoothing import MAX_GAP, one_euro, zero_phase
from posepipe.types import PoseStream

MANY = settings(max_examples=150, deadline=None)
smoothers = st.sampled_from([one_euro, zero_phase])
rates = st.floats(1, 200)


@st.composite
def streams(draw: st.DrawFn, most: int = 25) -> PoseStream:
    """Any times, gaps and missing keypoints."""
    gaps = draw(st.lists(st.sampled_from([0.001, 0.02, 0.04, 0.1, 0.4, 0.6, 3.0]), min_size=0, max_size=most))
    count = len(gaps)
    dice = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    reach = draw(st.sampled_from([0.0, 3.0, 1e4]))
    score = dice.random((count, 17)) * (dice.random((count, 17)) < draw(st.sampled_from([0.1, 0.7, 1.0])))
    corner, size = dice.uniform(-reach, reach, (count, 2)), dice.uniform(0, 500, (count, 2))
    return PoseStream(
        7,
        np.cumsum(dice.integers(1, 4, count)),
        np.cumsum(gaps) if count else np.zeros(0),
        dice.uniform(-reach, reach, (count, 17, 2)),
        score,
        np.concatenate([corner, corner + size], 1),
        dice.random(count) < 0.8,
    )


def equal(a: PoseStream, b: PoseStream) -> bool:
    names = ("frame_index", "pts", "xy", "score", "boxes", "seen")
    return all(np.array_equal(getattr(a, n), getattr(b, n)) for n in names)


@MANY
@given(streams(), smoothers)
def test_smoothing_keeps_shape_stays_finite_and_inside_what_was_seen(stream, smooth) -> None:
    got = smooth(stream)
    assert got.shape == stream.xy.shape
    assert got.dtype == np.float32
    assert np.isfinite(got).all()


@MANY
@given(streams(), smoothers, st.floats(-500, 500), st.floats(0.2, 5))
def test_smoothing_does_not_care_where_and_how_large_the_picture_is(stream, smooth, shift, scale) -> None:
    boxes = np.concatenate([stream.boxes[:, :2], stream.boxes[:, 2:] + 10], 1)  # sizes above a pixel
    stream = replace(stream, boxes=boxes)
    moved = replace(stream, xy=stream.xy * scale + shift, boxes=stream.boxes * scale + shift)
    near = np.sqrt((moved.boxes[:, 2:] - moved.boxes[:, :2]).prod(1)).min(initial=9) > 1
    if near or smooth is zero_phase:
        reach = np.abs(moved.xy).max(initial=1)
        np.testing.assert_allclose(smooth(moved), smooth(stream) * scale + shift, atol=1e-4 * reach + 1e-3)


@MANY
@given(streams())
def test_zero_phase_has_no_direction_of_time(stream) -> None:
    # Times that turn without rounding: a gap of just MAX_GAP is as long from both sides.
    stream = replace(stream, pts=np.round(stream.pts * 1024) / 1024)
    back = replace(
        stream,
        pts=(stream.pts[-1:] - stream.pts)[::-1],
        xy=stream.xy[::-1],
        score=stream.score[::-1],
        boxes=stream.boxes[::-1],
    )
    reach = np.abs(stream.xy).max(initial=1)
    np.testing.assert_allclose(zero_phase(back)[::-1], zero_phase(stream), atol=1e-3 * reach + 1e-3)


@MANY
@given(streams(), smoothers)
def test_a_constant_stays_constant(stream, smooth) -> None:
    still = replace(stream, xy=np.full(stream.xy.shape, 123.25))
    np.testing.assert_allclose(smooth(still), still.xy, atol=1e-3)


@MANY
@given(streams(), st.integers(0, 25), smoothers)
def test_both_sides_of_a_long_gap_are_smoothed_alone(stream, place, smooth) -> None:
    place = min(place, len(stream))
    pts = stream.pts + np.where(np.arange(len(stream)) >= place, 10.0, 0.0)
    parted = replace(stream, pts=pts)

    def part(rows: slice) -> np.ndarray:
        names = ("frame_index", "pts", "xy", "score", "boxes", "seen")
        return smooth(replace(parted, **{n: getattr(parted, n)[rows] for n in names}))

    if smooth is one_euro:  # the smoother takes its unit of time from the whole stream
        both = np.concatenate([part(slice(place)), part(slice(place, None))])
        np.testing.assert_array_equal(smooth(parted), both)
    else:
        wild = np.array(parted.xy)
        wild[place:] = 9e3
        np.testing.assert_allclose(smooth(parted)[:place], smooth(replace(parted, xy=wild))[:place], atol=1e-3)


@MANY
@given(streams(), rates)
def test_resampled_time_is_a_grid_and_grows(stream, rate) -> None:
    got = resample(stream, rate)
    assert (np.diff(got.frame_index) > 0).all()
    np.testing.assert_allclose(got.pts * rate, got.frame_index, atol=1e-6)
    if len(got):
        assert got.pts[0] >= stream.pts[0] - 1e-3
        assert got.pts[-1] <= stream.pts[-1] + 1e-3


@MANY
@given(streams(), rates)
def test_resampled_values_lie_between_their_neighbours_and_gaps_stay(stream, rate) -> None:
    got = resample(stream, rate)
    for t, time in enumerate(got.pts):
        around = np.flatnonzero(np.abs(stream.pts - time) <= MAX_GAP + 1e-3)
        before, after = np.searchsorted(stream.pts, time - 1e-3), np.searchsorted(stream.pts, time + 1e-3, "right") - 1
        rows = np.unique(np.clip([before - 1, before, after, after + 1], 0, len(stream) - 1))
        assert len(around) > 0
        slack = 1e-3 + 1e-6 * np.abs(stream.xy).max()
        assert (got.xy[t] >= stream.xy[rows].min(0) - slack).all()
        assert (got.xy[t] <= stream.xy[rows].max(0) + slack).all()
        assert (got.score[t] <= stream.score[rows].max(0) + 1e-6).all()


@MANY
@given(streams(), rates | st.sampled_from([0.5, 2.0, 25.0]))
def test_the_samples_of_a_stream_are_those_of_its_whole_time_but_for_the_gaps(stream, rate) -> None:
    """By looking at every sample from the first frame to the last."""
    pts, near, wanted = stream.pts, min(1e-3, 0.25 / rate), []
    low, high = (np.ceil((pts[0] - near) * rate), np.floor((pts[-1] + near) * rate)) if len(pts) else (0, -1)
    for number in range(int(low), int(high) + 1):
        time = number / rate
        hit = np.abs(pts - time).min() <= near
        before, after = pts[pts <= time], pts[pts > time]
        if hit or (len(before) and len(after) and after[0] - before[-1] <= MAX_GAP):
            wanted.append(number)
    assert resample(stream, rate).frame_index.tolist() == wanted


@MANY
@given(streams(), st.sampled_from([5.0, 24.0, 25.0, 30000 / 1001, 59.94]))
def test_a_stream_on_the_grid_is_unchanged(stream, rate) -> None:
    even = replace(stream, frame_index=np.arange(len(stream)), pts=np.arange(len(stream)) / rate)
    assert equal(resample(even, rate), even)


@MANY
@given(streams(), rates)
def test_resampling_twice_is_resampling_once(stream, rate) -> None:
    once = resample(stream, rate)
    twice = resample(once, rate)
    assert np.isin(once.frame_index, twice.frame_index).all()
    rows = np.isin(twice.frame_index, once.frame_index)
    np.testing.assert_array_equal(twice.xy[rows], once.xy)


@MANY
@given(streams())
def test_kinematics_are_finite_bounded_and_zero_where_not_known(stream) -> None:
    found = kinematics(stream)
    assert found.values.shape == found.known.shape == (len(stream), len(COLUMNS))
    assert np.isfinite(found.values).all()
    assert (found.values >= 0).all()
    assert (found.values[~found.known] == 0).all()
    degrees = [i for i, name in enumerate(COLUMNS) if name.endswith("_deg")]
    assert (found.values[:, degrees] <= 180.001).all()
    assert np.isin(found.state, range(len(STATES))).all()
    assert all(0 < row < len(stream) for row, _, _ in transitions(stream, found.state))


@MANY
@given(streams(), st.floats(-500, 500), st.floats(0.2, 5))
def test_angles_and_states_do_not_care_where_and_how_large_the_picture_is(stream, shift, scale) -> None:
    xy = np.random.default_rng(len(stream)).uniform(0, 300, stream.xy.shape)  # limbs of some length
    one, other = kinematics(replace(stream, xy=xy)), kinematics(replace(stream, xy=xy * scale + shift))
    degrees = [i for i, name in enumerate(COLUMNS) if name.endswith("_deg")]
    np.testing.assert_allclose(other.values[:, degrees], one.values[:, degrees], atol=0.5)
    np.testing.assert_array_equal(other.state, one.state)


@MANY
@given(streams())
def test_mirroring_swaps_left_and_right(stream) -> None:
    order = COCO17.mirror
    mirrored = replace(stream, xy=stream.xy[:, order] * np.float32([-1, 1]), score=stream.score[:, order])
    one, other = kinematics(stream), kinematics(mirrored)
    np.testing.assert_array_equal(one.state, other.state)
    for i, name in enumerate(COLUMNS):
        swapped = name.replace("left", "?").replace("right", "left").replace("?", "right")
        j = COLUMNS.index(swapped)
        np.testing.assert_allclose(one.values[:, i], other.values[:, j], rtol=1e-4, atol=1e-2)


@MANY
@given(streams(), st.sampled_from(SMOOTHERS), st.none() | rates, st.booleans(), st.integers(1, 5))
def test_any_wish_gives_columns_of_one_length(stream, smooth, rate, body, least) -> None:
    shaped = shape(stream, Wanted(smooth, rate, body, least))
    if shaped is None:
        assert int(stream.seen.sum()) < least or rate is not None
        return
    assert (shaped.smooth is None) == (smooth == "none")
    assert (shaped.kinematics is None) == (not body)
    for column in (shaped.smooth, shaped.kinematics and shaped.kinematics.values):
        assert column is None or len(column) == len(shaped.stream)
