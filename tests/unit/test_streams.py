"""Smoothing, resampling and kinematics of pose streams, against known truth and independent references."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from posepipe.errors import UsageError
from posepipe.skeleton import COCO17, Skeleton
from posepipe.streams.kinematics import COLUMNS, STATES, kinematics, transitions
from posepipe.streams.resampling import resample
from posepipe.streams.shaping import Wanted, shape
from posepipe.streams.smoothing import MAX_GAP, OneEuro, one_euro, zero_phase
from posepipe.types import PoseStream


def stream(pts, xy, score=None, frames=None, seen=None, box=(0, 0, 100, 200), skeleton=COCO17):
    """A stream whose keypoints are all at ``xy`` (T,2), or at (T,K,2)."""
    count, joints = len(pts), len(skeleton)
    xy = np.asarray(xy, float)
    xy = np.repeat(xy[:, None], joints, 1) if xy.ndim == 2 else xy
    return PoseStream(
        1,
        np.arange(count) if frames is None else frames,
        pts,
        xy,
        np.ones((count, joints)) if score is None else score,
        np.tile(np.array(box, float), (count, 1)),
        np.ones(count, bool) if seen is None else seen,
        skeleton,
    )


def wave(pts, hertz=0.5, reach=30.0):
    return np.stack([100 + reach * np.sin(2 * np.pi * hertz * pts), 200 + reach * np.cos(2 * np.pi * hertz * pts)], 1)


def noisy(pts, noise=2.0, seed=0, hertz=0.5):
    truth = wave(pts, hertz)[:, None] + np.zeros((1, 17, 1))
    return truth, truth + np.random.default_rng(seed).normal(0, noise, truth.shape)


def rms(a):
    return float(np.sqrt(np.mean(np.square(a))))


TIMES = np.arange(300) / 30


# Smoothing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("smooth", [one_euro, zero_phase])
def test_smoothing_brings_keypoints_nearer_to_the_truth(smooth):
    truth, raw = noisy(TIMES, hertz=0.1)
    assert rms(smooth(stream(TIMES, raw)) - truth) < 0.75 * rms(raw - truth)


def test_one_euro_equals_the_published_algorithm():
    """Algorithm 1 of Casiez et al., one coordinate, written out with scalars."""
    pts = np.cumsum(np.random.default_rng(1).uniform(0.02, 0.09, 40))
    line = np.random.default_rng(2).normal(0, 3, 40).cumsum()
    size = np.sqrt(100 * 200.0)

    def alpha(cutoff, dt):
        return 1 / (1 + 1 / (2 * np.pi * cutoff) / dt)

    expected, rate = [line[0]], 0.0
    for t in range(1, 40):
        dt = pts[t] - pts[t - 1]
        share = alpha(1.0, dt)
        rate = share * (line[t] - expected[-1]) / dt + (1 - share) * rate
        share = alpha(1.5 + 4.0 * abs(rate) / size, dt)
        expected.append(share * line[t] + (1 - share) * expected[-1])
    got = one_euro(stream(pts, np.stack([line, np.zeros(40)], 1)), min_cutoff=1.5, beta=4.0)
    np.testing.assert_allclose(got[:, 0, 0], expected, rtol=1e-5, atol=1e-4)
    assert (got[..., 1] == 0).all()


def test_one_euro_knows_only_the_past_and_online_equals_offline():
    _, raw = noisy(TIMES)
    whole = one_euro(stream(TIMES, raw))
    np.testing.assert_array_equal(whole[:100], one_euro(stream(TIMES[:100], raw[:100])))
    euro = OneEuro(17)
    live = [euro.update(p, xy, np.ones(17), np.sqrt(100 * 200)) for p, xy in zip(TIMES, raw.astype("f4"), strict=True)]
    np.testing.assert_allclose(whole, live, atol=1e-4)


def test_zero_phase_solves_the_spline_it_stands_for():
    """The same estimate by dense least squares over the integrated Wiener process, all at once."""
    pts = np.cumsum(np.random.default_rng(3).uniform(0.02, 0.08, 25))
    _, raw = noisy(pts)
    score = np.random.default_rng(4).uniform(0.2, 1, (25, 17))
    score[[3, 4, 11], 2] = 0
    got = zero_phase(stream(pts, raw, score), cutoff=3.0)
    q = (2 * np.pi * 3.0) ** 4 * np.median(np.diff(pts))
    for k in (0, 2):
        rows, wish = [], []
        for t in np.flatnonzero(score[:, k] > 0):
            row = np.zeros(50)
            row[2 * t] = np.sqrt(score[t, k])
            rows.append(row)
            wish.append(np.sqrt(score[t, k]) * np.float32(raw[t, k, 0]))
        for t, dt in enumerate(np.diff(pts)):
            root = np.linalg.inv(np.linalg.cholesky(q * np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])))
            step = np.zeros((2, 50))
            step[:, 2 * t : 2 * t + 2] = -root @ np.array([[1, dt], [0, 1]])
            step[:, 2 * t + 2 : 2 * t + 4] = root
            rows.extend(step)
            wish.extend([0.0, 0.0])
        exact = np.linalg.lstsq(np.array(rows), np.array(wish), rcond=None)[0][::2]
        np.testing.assert_allclose(got[:, k, 0], exact, atol=2e-3)


@pytest.mark.parametrize(("hertz", "gain"), [(0.5, 1 / (1 + 0.125**4)), (4.0, 0.5), (8.0, 1 / 17)])
def test_zero_phase_halves_the_amplitude_at_its_cutoff_and_never_lags(hertz, gain):
    pts = np.arange(1200) / 120
    middle = slice(300, 900)
    wanted = wave(pts, hertz) - [100, 200]
    got = zero_phase(stream(pts, wave(pts, hertz)), cutoff=4.0)[middle, 0] - [100, 200]
    np.testing.assert_allclose(got, gain * wanted[middle], atol=0.3)


def test_a_gap_is_not_crossed():
    pts = np.concatenate([np.arange(30) / 30, 1 + MAX_GAP + np.arange(30) / 30])
    _, raw = noisy(pts)
    for smooth in (one_euro, zero_phase):
        whole = smooth(stream(pts, raw))
        np.testing.assert_allclose(whole[:30], smooth(stream(pts[:30], raw[:30])), atol=1e-4)
        np.testing.assert_allclose(whole[30:], smooth(stream(pts[30:], raw[30:])), atol=1e-4)


def test_missing_keypoints_do_not_pull_at_the_others():
    truth, raw = noisy(TIMES)
    score = np.ones((300, 17))
    score[50:58, 3] = 0
    score[100:200, 3] = 0
    wild = raw.copy()
    wild[score == 0] = 9999
    for smooth in (one_euro, zero_phase):
        a, b = smooth(stream(TIMES, raw, score)), smooth(stream(TIMES, wild, score))
        np.testing.assert_array_equal(a[score > 0], b[score > 0])
    bridged = zero_phase(stream(TIMES, wild, score))[50:58, 3]
    assert rms(bridged - truth[50:58, 3]) < 5
    assert (zero_phase(stream(TIMES, wild, score))[100:200, 3] == 9999).all()


def test_unsure_keypoints_count_less():
    _, raw = noisy(TIMES)
    raw[150, 0] += 60
    score = np.ones((300, 17))
    sure = zero_phase(stream(TIMES, raw, score))[150, 0]
    score[150, 0] = 0.05
    unsure = zero_phase(stream(TIMES, raw, score))[150, 0]
    place = wave(TIMES)[150]
    assert np.hypot(*(unsure - place)) < 0.3 * np.hypot(*(sure - place))


# Resampling ----------------------------------------------------------------------------------------------------------


def test_resampling_at_the_same_rate_changes_nothing():
    _, raw = noisy(TIMES)
    whole = stream(TIMES, raw)
    again = resample(whole, 30)
    for name in ("frame_index", "pts", "xy", "score", "boxes", "seen"):
        np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))


def test_times_of_a_coarse_clock_are_taken_as_they_are():
    number = np.arange(200)
    pts = np.round(number * 1001 / 30000, 3)  # Matroska counts milliseconds
    again = resample(stream(pts, wave(pts)), 30000 / 1001)
    np.testing.assert_array_equal(again.xy[:, 0], wave(pts).astype(np.float32))
    assert again.seen.all()


def test_a_straight_line_stays_one_at_any_rate_and_time():
    pts = np.cumsum(np.random.default_rng(0).uniform(0.01, 0.2, 80))
    got = resample(stream(pts, np.stack([10 * pts, -7 * pts], 1)), 25)
    # A frame within a millisecond stands for its time.
    np.testing.assert_allclose(got.xy[:, 0], np.stack([10 * got.pts, -7 * got.pts], 1), atol=0.011)
    np.testing.assert_allclose(got.pts * 25, got.frame_index)


def test_short_gaps_are_filled_and_marked_and_long_ones_stay():
    frames = np.array([0, 1, 2, 5, 6, 30, 31])
    got = resample(stream(frames / 10, wave(frames / 10), frames=frames), 10)
    assert got.frame_index.tolist() == [0, 1, 2, 3, 4, 5, 6, 30, 31]
    assert got.seen.tolist() == [True, True, True, False, False, True, True, True, True]


def test_what_was_filled_in_before_stays_marked():
    seen = np.array([True, False, True, True])
    got = resample(stream(np.arange(4) / 10, wave(np.arange(4) / 10), seen=seen), 20)
    assert got.seen.tolist() == [True, False, False, False, True, True, True]


def test_a_keypoint_is_interpolated_only_where_both_neighbours_have_it():
    score = np.ones((3, 17))
    score[1, 5] = 0
    got = resample(stream(np.arange(3) / 10, wave(np.arange(3) / 10), score), 20)
    assert (got.score[:, 5] > 0).tolist() == [True, False, False, False, True]
    assert (got.score[:, 4] > 0).all()


def test_a_leap_in_time_costs_nothing():
    """All samples of 1e9 seconds at 100 Hz would be 800 GB."""
    pts = np.array([0, 0.04, 0.08, 1e9, 1e9 + 0.04])
    got = resample(stream(pts, wave(pts)), 100)
    assert got.frame_index.tolist() == [*range(9), *range(10**11, 10**11 + 5)]
    np.testing.assert_array_equal(got.xy[8:10, 0], wave(pts[2:4]).astype(np.float32))


def test_a_rate_is_positive():
    with pytest.raises(ValueError, match="above 0"):
        resample(stream(TIMES, wave(TIMES)), 0)


# Kinematics ----------------------------------------------------------------------------------------------------------

# A body of 1000 px by the shares of Drillis and Contini, from the side, facing right; y down, ankles at 0.
HEIGHT = 1000.0


def body(knee=180.0, hip=180.0, trunk=0.0):
    """(17,2) px: a person whose knees and hips are bent so, and whose trunk leans forward by so many degrees."""
    up = np.array([0.0, -1.0])

    def turned(direction, degrees):
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        return np.array([[c, -s], [s, c]]) @ direction

    spine = turned(up, trunk)
    thigh = turned(spine, 180 - hip)  # the direction from knee to hip
    shank = turned(thigh, -(180 - knee))
    ankle = np.zeros(2)
    knee_at = ankle + 0.246 * HEIGHT * shank
    hip_at = knee_at + 0.245 * HEIGHT * thigh
    shoulder = hip_at + 0.288 * HEIGHT * spine
    elbow = shoulder + 0.186 * HEIGHT * np.array([0, 1.0])
    wrist = elbow + 0.146 * HEIGHT * np.array([1.0, 0])
    places = {"ankle": ankle, "knee": knee_at, "hip": hip_at, "shoulder": shoulder, "elbow": elbow, "wrist": wrist}
    head = shoulder + 0.1 * HEIGHT * spine
    xy = np.array([places.get(name.split("_")[-1], head) for name in COCO17.keypoints])
    return xy + 500


STANDING, SITTING = body(), body(knee=90, hip=90)


def posed(*poses, rate=20):
    return stream(np.arange(len(poses)) / rate, np.array(poses), box=(0, 0, 500, 1000))


def column(found, name):
    i = COLUMNS.index(name)
    return found.values[:, i], found.known[:, i]


@pytest.mark.parametrize(("knee", "hip", "trunk"), [(180, 180, 0), (90, 90, 0), (120, 75, 20), (150, 160, -10)])
def test_angles_are_those_of_the_body(knee, hip, trunk):
    found = kinematics(posed(*[body(knee, hip, trunk)] * 3))
    for side in ("left", "right"):
        assert column(found, f"{side}_knee_deg")[0] == pytest.approx(knee, abs=1e-2)
        assert column(found, f"{side}_hip_deg")[0] == pytest.approx(hip, abs=1e-2)
        assert column(found, f"{side}_elbow_deg")[0] == pytest.approx(90, abs=1e-2)
    assert column(found, "trunk_deg")[0] == pytest.approx(abs(trunk), abs=1e-2)
    assert column(found, "height_px")[0] == pytest.approx(HEIGHT, rel=1e-4)
    assert found.known.all()


def test_speed_is_that_of_the_hips_in_pixels_and_heights_of_the_body():
    poses = [STANDING + np.array([t * 15.0, t * 20.0]) for t in range(10)]
    found = kinematics(posed(*poses, rate=20))
    assert column(found, "speed_px_s")[0] == pytest.approx(500, rel=1e-4)
    assert column(found, "speed_heights_s")[0] == pytest.approx(0.5, rel=1e-4)


def test_speed_does_not_cross_a_gap():
    pts = np.array([0, 0.1, 0.2, 5.0, 5.1])
    xy = np.array([STANDING + np.array([x, 0]) for x in (0, 0, 0, 900, 900)])
    speed, known = column(kinematics(stream(pts, xy)), "speed_px_s")
    assert speed.tolist() == [0] * 5
    assert known.all()


def test_standing_and_sitting_and_the_change_between_them():
    down = [body(knee=180 - a, hip=180 - a) for a in np.linspace(0, 90, 20)]
    states = kinematics(posed(*[STANDING] * 20, *down, *[SITTING] * 20, *down[::-1], *[STANDING] * 20)).state
    kinds = [name for i, name in enumerate(STATES[s] for s in states) if i == 0 or STATES[states[i - 1]] != name]
    assert kinds == ["standing", "sitting", "standing"]
    whole = posed(*[STANDING] * 20, *down, *[SITTING] * 20, *down[::-1], *[STANDING] * 20)
    (first, *names), (second, *more) = transitions(whole, states)
    assert (names, more) == (["standing", "sitting"], ["sitting", "standing"])
    assert 20 < first < 40 < 60 < second < 80


def test_a_state_that_does_not_last_is_none():
    states = kinematics(posed(*[STANDING] * 20, *[SITTING] * 4, *[STANDING] * 20)).state
    assert {STATES[s] for s in states} == {"standing"}


def test_somebody_on_the_floor_lies():
    states = kinematics(posed(*[body(trunk=85)] * 20)).state
    assert {STATES[s] for s in states} == {"lying"}


def test_a_camera_from_above_in_front_of_somebody_who_sits():
    """Seen from in front and 20 degrees above, the thigh points at the camera and is foreshortened."""
    pitch, shank, thigh, trunk = np.radians(20), 246.0, 245.0, 288.0
    down = {"knee": -shank * np.cos(pitch), "ankle": 0.0}
    down["hip"] = down["knee"] - thigh * np.sin(pitch)
    down["shoulder"] = down["hip"] - trunk * np.cos(pitch)
    pose = np.array([[500, 900 + down.get(n.split("_")[-1], down["shoulder"])] for n in COCO17.keypoints])
    assert {STATES[s] for s in kinematics(posed(*[pose] * 20)).state} == {"sitting"}


def test_legs_that_are_hidden_say_nothing_and_what_is_not_known_is_0_and_marked():
    pose = posed(*[STANDING] * 20)
    score = np.array(pose.score)
    score[:, [COCO17.index(f"{side}_ankle") for side in ("left", "right")]] = 0
    found = kinematics(replace(pose, score=score))
    assert {STATES[s] for s in found.state} == {"unknown"}
    values, known = column(found, "left_knee_deg")
    assert not known.any()
    assert (values == 0).all()


def test_a_skeleton_without_such_names_knows_nothing():
    points = Skeleton("points", ("a", "b"), (), (), (0.1, 0.1))
    found = kinematics(stream(TIMES, wave(TIMES), np.ones((300, 2)), skeleton=points))
    assert not found.known.any()
    assert (found.state == 0).all()


# Shaping -------------------------------------------------------------------------------------------------------------


def test_wishes_are_checked():
    for wrong in ({"smooth": "gauss"}, {"rate": 0.0}, {"rate": 1e6}, {"min_frames": 0}):
        with pytest.raises(UsageError):
            Wanted(**wrong)


def test_raw_stays_beside_smooth_and_short_streams_are_left_out():
    _, raw = noisy(TIMES)
    whole = stream(TIMES, raw)
    shaped = shape(whole, Wanted("zero-phase", rate=15, kinematics=True))
    assert shaped is not None
    np.testing.assert_array_equal(shaped.stream.xy, whole.xy[::2])
    np.testing.assert_array_equal(shaped.smooth, zero_phase(whole)[::2])
    assert len(shaped.kinematics.values) == 150
    assert shape(whole, Wanted(min_frames=301)) is None
    assert shape(whole, Wanted(min_frames=300)) is not None
