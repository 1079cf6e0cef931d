from __future__ import annotations

import numpy as np
import pytest

from posepipe.skeleton import COCO17
from posepipe.streams.motion import MOTION_KEYPOINTS, motion_channels, motion_features

RATE = 15.0


def walker(steps: int = 40) -> np.ndarray:
    """(T,12,2) somebody whose wrists swing and who moves to the right."""
    x = np.tile([-1, 1], 6) * 10.0
    y = np.repeat([-50.0, -30, -10, 0, 40, 80], 2)
    pose = np.stack([x, y], 1)
    xy = np.repeat(pose[None], steps, 0) + np.arange(steps)[:, None, None] * (2.0, 0)
    xy[:, 4:6, 0] += 8 * np.sin(np.arange(steps) / 3)[:, None]
    return xy + np.array([200, 150])


def test_keypoints_are_cocos_and_go_left_right():
    assert set(MOTION_KEYPOINTS) < set(COCO17.keypoints)
    assert all(
        a.replace("left", "right") == b for a, b in zip(MOTION_KEYPOINTS[::2], MOTION_KEYPOINTS[1::2], strict=True)
    )
    assert motion_channels() == 60


def test_place_size_and_units():
    xy, seen = walker(), np.ones((40, 12), bool)
    features = motion_features(xy, seen, RATE)
    assert features.shape == (60, 40)
    assert features.dtype == np.float32
    # the trunk is 50 px: shoulders are one above the hips, ankles 1.6 below
    assert features[[1, 23], 5] == pytest.approx([-1, 1.6])
    # 2 px a step are 30 px/s, 0.6 trunks/s, shown as a third of it
    assert features[24 + 14, 5] == pytest.approx(0.2)
    assert (features[48:] == 1).all()


def test_where_how_large_and_how_fast_sampled_a_person_is_does_not_matter():
    xy, seen = walker(), np.ones((40, 12), bool)
    plain = motion_features(xy, seen, RATE)
    assert motion_features(xy * 3.5 + (70, -20), seen, RATE) == pytest.approx(plain, abs=1e-4)
    slow = motion_features(xy, seen, RATE / 3)
    assert slow[:24] == pytest.approx(plain[:24], abs=1e-5)
    assert slow[24:48] == pytest.approx(plain[24:48] / 3, abs=1e-5)


def test_what_was_not_seen_is_zero_and_moves_nothing_else():
    xy, seen = walker(), np.ones((40, 12), bool)
    seen[10:15, 4] = False
    wild = xy.copy()
    wild[10:15, 4] = 1e6
    features = motion_features(wild, seen, RATE)
    rows = [8, 9, 24 + 8, 24 + 9, 48 + 4]
    assert (features[rows, 10:15] == 0).all()
    others = [i for i in range(60) if i not in rows]
    assert features[others] == pytest.approx(motion_features(xy, np.ones((40, 12), bool), RATE)[others], abs=1e-5)


def test_nobody_at_all_gives_zeros():
    assert not motion_features(np.full((5, 12, 2), 7.0), np.zeros((5, 12), bool), RATE).any()
    assert motion_features(np.zeros((0, 12, 2)), np.zeros((0, 12), bool), RATE).shape == (60, 0)
    assert motion_features(np.zeros((1, 12, 2)), np.ones((1, 12), bool), RATE).shape == (60, 1)


def test_one_hip_stands_for_both_and_hips_that_are_hidden_for_a_while_for_themselves():
    xy, seen = walker(), np.ones((40, 12), bool)
    seen[:, 6] = False
    assert motion_features(xy, seen, RATE)[14, 5] == pytest.approx(0, abs=1e-6)
    seen[10:14, 6:8] = False
    features = motion_features(xy, seen, RATE)
    assert np.isfinite(features).all()
    assert features[23, 12] == pytest.approx(features[23, 9], abs=0.02)
