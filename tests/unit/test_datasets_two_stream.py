"""Which frames the streams see, and how views are made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from clips import number_of, write_clip

from posepipe.datasets.flow import FlowStore
from posepipe.datasets.two_stream import StreamSamples, TestSamples, Views, segment_starts, spaced_starts
from posepipe.datasets.video_frames import FrameStore
from posepipe.datasets.video_lists import LabelledVideo

WHOLE = Views(32, "none", 0.0)


def test_segments_are_drawn_from_each_third() -> None:
    """A video of 99 frames: n = 90, so 1..30, 30..60 and 60..91, counted from 1."""
    rng = np.random.default_rng(0)
    drawn = np.array([segment_starts(99, 3, rng) for _ in range(2000)]) + 1
    assert drawn.min(0).tolist() == [1, 30, 60]
    assert drawn.max(0).tolist() == [30, 60, 91]


@pytest.mark.parametrize("frames", [1, 2, 5, 10, 11, 12, 29])
def test_segments_of_short_videos_exist(frames: int) -> None:
    for seed in range(50):
        starts = segment_starts(frames, 3, np.random.default_rng(seed))
        assert len(starts) == 3
        assert all(0 <= start < frames for start in starts)


def test_one_segment_is_drawn_from_the_whole_video() -> None:
    drawn = {segment_starts(50, 1, np.random.default_rng(seed))[0] for seed in range(2000)}
    assert drawn == set(range(42))  # 1..42 counted from 1


def test_test_samples_stand_at_whole_steps() -> None:
    """UCF101's first test video has 164 frames: 155 / 19 = 8.16."""
    assert spaced_starts(164, 19) == [8 * i for i in range(19)]
    assert spaced_starts(28, 19) == list(range(19))
    short = spaced_starts(15, 19)  # six places for nineteen samples
    assert len(short) == 19
    assert (short[0], short[-1]) == (0, 5)
    assert spaced_starts(1, 19) == [0] * 19


def test_test_samples_of_the_official_set_are_71877() -> None:
    assert 3783 * len(spaced_starts(164, 19)) == 71_877


def test_views_by_hand() -> None:
    picture = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    crops = {Views(4, "square", 0.0).random(picture, np.random.default_rng(s), flow=False).tobytes() for s in range(40)}
    assert crops == {picture[:, left : left + 4].tobytes() for left in range(3)}
    mirrored = Views(4, "none", 1.0).random(picture[:, :4], np.random.default_rng(0), flow=False)
    np.testing.assert_array_equal(mirrored, picture[:, :4][:, ::-1])


def test_parts_of_the_frames_shape_are_squashed() -> None:
    """A picture of 60 x 120 whose values tell the place: parts are 2 : 1, of 40 to 60 rows, and anywhere."""
    rows, columns = np.mgrid[:60, :120]
    picture = np.stack([rows, columns, rows], -1).astype(np.uint8)
    spans = []
    for seed in range(200):
        view = Views(40, "frame", 0.0).random(picture, np.random.default_rng(seed), flow=False).astype(int)
        assert view.shape == (40, 40, 3)
        spans.append([view[-1, 0, 0] - view[0, 0, 0], view[0, -1, 1] - view[0, 0, 1], view[0, 0, 0], view[0, 0, 1]])
    height, width, top, left = np.array(spans).T
    assert 38 <= height.min() <= 40
    assert 57 <= height.max() <= 59
    np.testing.assert_allclose(width / height, 2, atol=0.15)
    assert top.max() > 15
    assert left.max() > 30


def test_a_mirrored_flow_goes_the_other_way() -> None:
    stack = np.zeros((4, 4, 4), np.uint8) + np.array([200, 90, 30, 10], np.uint8)
    mirrored = Views(4, "none", 1.0).random(stack, np.random.default_rng(0), flow=True)
    assert mirrored[0, 0].tolist() == [55, 90, 225, 10]


@pytest.mark.parametrize("channels", [3, 20])
def test_whole_pictures_are_squashed(channels: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, channels), dtype=np.uint8)
    view = WHOLE.whole(picture)
    assert view.shape == (32, 32, channels)
    np.testing.assert_allclose(view.mean((0, 1)), picture.mean((0, 1)), atol=2)


def test_samples_of_frames(tmp_path: Path) -> None:
    video = LabelledVideo(write_clip(tmp_path / "a.mp4", 40), 3, "a")
    frames = FrameStore(96, tmp_path / "c")
    samples = StreamSamples([video], frames, None, Views(96, "none", 0.0), segments=3, stack=10)
    sample = samples[0, 7]
    assert sample["image"].shape == (3, 3, 96, 96)
    assert sample["image"].dtype == np.uint8
    assert sample["label"] == 3
    wide = [np.repeat(picture.transpose(1, 2, 0), 2, 1) for picture in sample["image"]]
    shown = [number_of(picture) for picture in wide]
    assert shown == segment_starts(40, 3, np.random.default_rng(7))
    np.testing.assert_array_equal(samples[0, 7]["image"], sample["image"])
    tests = TestSamples([video], frames, None, Views(96, "none", 0.0), count=5, stack=10)
    wide = [np.repeat(picture.transpose(1, 2, 0), 2, 1) for picture in tests[0]["image"]]
    assert [number_of(picture) for picture in wide] == [0, 6, 12, 18, 24]


def test_stacks_interleave_right_and_down_and_repeat_the_last_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = LabelledVideo(write_clip(tmp_path / "a.mp4", 12), 0, "a")
    frames = FrameStore(32, tmp_path / "c")
    flow = FlowStore(frames, "dis", 5.0, tmp_path / "c")
    monkeypatch.setattr(flow, "count", lambda path: 11)
    monkeypatch.setattr(
        flow, "fields", lambda path, places: np.stack([np.full((32, 32, 2), (i, 100 + i), np.uint8) for i in places])
    )
    (first, last) = TestSamples([video], frames, flow, WHOLE, count=2, stack=10)[0]["image"]
    assert first[:, 0, 0].tolist() == [v for i in range(10) for v in (i, 100 + i)]
    assert last[:, 0, 0].tolist() == [v for i in range(1, 11) for v in (i, 100 + i)]
    (short,) = TestSamples([video], frames, flow, WHOLE, count=1, stack=14)[0]["image"]
    assert short[::2, 0, 0].tolist() == [*range(11), 10, 10, 10]
