from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posepipe.config import data_root
from posepipe.datasets.temporal import (
    Recording,
    TrainingWindows,
    WindowRules,
    check_recordings,
    filled_up,
    rearranged,
    search_starts,
)
from posepipe.datasets.temporal_annotations import classes_of, find_files, read_annotated, recording_of
from posepipe.datasets.temporal_sources import FeatureFiles, VideoWindows
from posepipe.datasets.utkinect_recordings import RATE, UTKINECT_ACTS, read_utkinect_recordings
from posepipe.errors import InputError

THUMOS = data_root() / "tad/thumos14_annotations/mmtad/mmtad"
KINECT = data_root() / "utkinect"
needs_thumos = pytest.mark.skipif(not THUMOS.is_dir(), reason="THUMOS-14's annotations are not there")
needs_kinect = pytest.mark.skipif(not KINECT.is_dir(), reason="UTKinect is not there; point POSEPIPE_DATA at the data")


class Places:
    """A source whose only feature is the place itself."""

    def at(self, index: int, places: np.ndarray, rng: object) -> tuple[np.ndarray, np.ndarray]:
        return places[None].astype(np.float32), np.ones(len(places), bool)


def recording(steps: int, *spans: tuple[float, float], name: str = "a", label: int = 0) -> Recording:
    ends = np.array(spans, float).reshape(-1, 2)
    return Recording(name, steps, 10.0, ends, np.full(len(ends), label), steps / 10)


def test_windows_hold_an_action_that_is_whole_enough():
    windows = TrainingWindows([recording(500, (20, 60), (300, 340))], Places(), WindowRules(100))
    for seed in range(40):
        window = windows[(0, seed)]
        assert window.data.shape == (1, 100)
        assert window.real.all()
        assert len(window.spans) >= 1
        start = window.data[0, 0]
        for span in window.spans:
            first, last = span + start
            whole = next((a, b) for a, b in ((20, 60), (300, 340)) if a - 1 < first < b)
            assert (last - first) / 40 >= 0.75
            assert whole[0] <= first
            assert last <= whole[1]
        again = windows[(0, seed)]
        assert np.array_equal(again.data, window.data)


def test_a_recording_shorter_than_a_window_is_filled_up():
    windows = TrainingWindows([recording(80, (10, 50))], Places(), WindowRules(100, least_crop=0.9))
    counts = {int(windows[(0, seed)].real.sum()) for seed in range(30)}
    assert min(counts) >= 72
    assert max(counts) <= 80
    assert len(counts) > 3
    window = windows[(0, 1)]
    real = int(window.real.sum())
    assert (window.data[0, real:] == window.data[0, real - 1]).all()


def test_stretched_time_moves_the_ends_alike():
    windows = TrainingWindows([recording(2000, (500, 540))], Places(), WindowRules(256, stretch=0.5))
    paces = []
    for seed in range(30):
        window = windows[(0, seed)]
        pace = float(window.data[0, 1] - window.data[0, 0])
        paces.append(pace)
        back = window.spans[0] * pace + window.data[0, 0]
        assert back == pytest.approx((500, 540), abs=0.01) or window.spans[0, 0] == 0 or window.spans[0, 1] == 256
    assert min(paces) >= 1 / 1.5 - 1e-6
    assert max(paces) <= 1.5 + 1e-6
    assert max(paces) - min(paces) > 0.3


def test_actions_in_another_order_keep_their_data():
    one = recording(100, (10, 20), (18, 30), (50, 60), (80, 95))
    orders = set()
    for seed in range(20):
        other, places = rearranged(one, np.random.default_rng(seed))
        assert sorted(places.tolist()) == list(range(100))
        for before, after in zip(one.spans, other.spans, strict=True):
            kept = places[int(after[0]) : int(after[1])]
            assert kept.tolist() == list(np.arange(before[0], before[1]))
        orders.add(tuple(np.argsort(other.spans[:, 0])))
    assert len(orders) == 6  # three groups: the first two overlap
    alone, places = rearranged(recording(30), np.random.default_rng(0))
    assert (len(alone.spans), places.tolist()) == (0, list(range(30)))


def test_shuffled_windows_hold_the_same_actions():
    windows = TrainingWindows(
        [recording(200, (20, 60), (120, 160))], Places(), WindowRules(200, 0.75, 1.0, shuffle=1.0)
    )
    swapped = 0
    for seed in range(20):
        window = windows[(0, seed)]
        for span, truth in zip(window.spans, ((20, 60), (120, 160)), strict=True):
            assert window.data[0, int(span[0]) : int(span[1])].tolist() == list(range(*truth))
        swapped += bool(window.spans[0, 0] > window.spans[1, 0])
    assert 4 < swapped < 16


def test_windows_that_are_searched():
    assert search_starts(768, 768, 0.5) == [0]
    assert search_starts(100, 768, 0.5) == [0]
    assert search_starts(1000, 768, 0.5) == [0, 232]
    assert search_starts(1536, 768, 0.5) == [0, 384, 768]
    assert search_starts(1100, 768, 0.5) == [0, 332]
    # with less overlap the end is searched too
    assert search_starts(1000, 768, 0.25) == [0, 232]
    assert search_starts(1500, 512, 0.0) == [0, 512, 988]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 300), st.integers(1, 80), st.floats(0, 0.95))
def test_every_step_of_a_recording_is_searched(steps: int, length: int, overlap: float):
    starts = search_starts(steps, length, overlap)
    assert starts == sorted(set(starts))
    assert starts[0] == 0
    assert starts[-1] == max(0, steps - length)
    seen = {step for start in starts for step in range(start, start + length)}
    assert set(range(steps)) <= seen
    # evenly spaced, and only the last one may stand closer
    spacing = max(1, int(length * (1 - overlap)))
    assert all(b - a == spacing for a, b in itertools.pairwise(starts[:-1]))
    # as many as OpenTAD makes, where those cover the recording
    assert overlap < 0.5 or len(starts) <= max(1, steps // spacing)


@needs_thumos
def test_thumos_14_as_the_published_configuration_reads_it():
    learnt = read_annotated(THUMOS / "thumos14_val.json")
    asked = read_annotated(THUMOS / "thumos14_test.json", left_out=("video_test_0000270",))
    assert (len(learnt), len(asked)) == (200, 211)
    assert (sum(len(v.labels) for v in learnt), len(classes_of(learnt))) == (3007, 20)
    classes = classes_of(asked)
    assert len(classes) == 20
    recordings = [recording_of(v, classes, -(-v.frames // 4), 4) for v in asked]
    # 792 in the published configuration, which looks twice at the last window of one video
    twice = sum(r.steps > 768 and (r.steps - 768) % 384 == 0 for r in recordings)
    assert (sum(len(search_starts(r.steps, 768, 0.5)) for r in recordings), twice) == (791, 1)
    assert sum(-(-v.frames // 4) < 768 for v in learnt) == 62
    rates = [round(4 * recording_of(v, classes, 1, 4).rate, 2) for v in [*learnt, *asked]]
    assert {rate: rates.count(rate) for rate in (30.0, 29.97, 25.0, 24.0)} == {30.0: 380, 29.97: 18, 25.0: 11, 24.0: 2}
    with pytest.raises(InputError, match=r"8 faults.*video_validation_0000364: HighJump 113\.6-117\.3 s ends after"):
        check_recordings([recording_of(v, classes, -(-v.frames // 4), 4) for v in learnt], recordings, classes)
    parts = [[v.without_late() for v in part] for part in (learnt, asked)]
    assert [sum(len(v.labels) for v in part) for part in parts] == [3003, 3325]
    check_recordings(*([recording_of(v, classes, -(-v.frames // 4), 4) for v in part] for part in parts), classes)


def test_both_forms_of_annotations(tmp_path: Path):
    one = {"a": {"segments": [[1, 2], [3, 4]], "labels": ["x", "Ambiguous"], "duration": 10, "num_frame": 250}}
    two = {
        "database": {"a": {"subset": "training", "duration": 10, "annotations": [{"segment": [1, 2], "label": "x"}]}}
    }
    for number, table in enumerate((one, two)):
        (tmp_path / f"{number}.json").write_text(json.dumps(table))
        (video,) = read_annotated(tmp_path / f"{number}.json")
        assert (video.labels, video.spans.tolist(), video.duration) == (("x",), [[1, 2]], 10)
    with pytest.raises(InputError, match="no videos of the subset 'test'"):
        read_annotated(tmp_path / "1.json", "test")
    for text in (
        "[1]",
        "{",
        '{"a": 3}',
        '{"a": {}}',
        '{"a": {"segments": 3, "labels": ["x"]}}',
        '{"a": {"segments": [[1, "x"]], "labels": ["x"]}}',
        '{"a": {"segments": [[1, 2]], "labels": []}}',
        '{"a": {"segments": [[1, 2, 3]], "labels": ["x"]}}',
        '{"a": {"annotations": [{"label": "x"}]}}',
        '{"database": {"a": {"annotations": [[1, 2]]}}}',
        '{"a": {"segments": [[1, 2]], "labels": ["x"], "duration": "long"}}',
    ):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(InputError, match=r"bad\.json"):
            read_annotated(tmp_path / "bad.json")


def test_seconds_become_steps_by_whole_frames(tmp_path: Path):
    table = {"a": {"segments": [[1.05, 2]], "labels": ["x"], "duration": 10, "num_frame": 250}}
    (tmp_path / "a.json").write_text(json.dumps(table))
    (video,) = read_annotated(tmp_path / "a.json")
    found = recording_of(video, ["x"], 62, 4)
    assert found.rate == 6.25
    assert found.spans.tolist() == [[26 / 4, 50 / 4]]
    table["a"] |= {"duration": 0}
    (tmp_path / "a.json").write_text(json.dumps(table))
    with pytest.raises(InputError, match="the frame rate of a is not known"):
        recording_of(read_annotated(tmp_path / "a.json")[0], ["x"], 62, 4)


def test_faults_are_told_by_name():
    learnt = [recording(100, (10, 20)), recording(100, (50, 40), name="backwards")]
    asked = [recording(100, (90, 130), name="late", label=1), recording(100, (1, 2))]
    with pytest.raises(InputError) as told:
        check_recordings(learnt, asked, ["x", "y"])
    text = str(told.value)
    assert "4 faults" in text
    assert "backwards: x 5.0-4.0 s ends before it starts" in text
    assert "late: y 9.0-13.0 s ends after the video (10.0 s)" in text
    assert "class y occurs in the test part only" in text
    assert "a stands in training and test" in text
    (note,) = check_recordings(asked[1:], asked[1:], ["x", "y"], allow_leaks=True)
    assert "1 recordings stand in training and test, such as a" in note
    with pytest.raises(InputError, match="nothing to learn from"):
        check_recordings([], [recording(100)], ["x"])


def test_missing_videos_are_told_by_name(tmp_path: Path):
    (tmp_path / "a.mkv").touch()
    assert find_files(["a"], tmp_path, (".mp4", ".mkv")) == [tmp_path / "a.mkv"]
    with pytest.raises(InputError, match=r"2 of 3 have no file in .*: b, c"):
        find_files(["a", "b", "c"], tmp_path, (".mp4", ".mkv"))


def test_stored_features(tmp_path: Path):
    np.save(tmp_path / "a.npy", np.arange(10, dtype=np.float32).reshape(5, 2))
    files = FeatureFiles([tmp_path / "a.npy"])
    assert (files.steps, files.channels) == ([5], 2)
    data, real = files.at(0, np.array([0.0, 1.5, 4.0, 5.0]), None)
    assert data.tolist() == [[0, 3, 8, 8], [1, 4, 9, 9]]
    assert real.tolist() == [True, True, True, False]
    np.savez(tmp_path / "z.npz", a=np.zeros((5, 2), np.float32))
    (tmp_path / "z.npz").rename(tmp_path / "z.npy")
    np.save(tmp_path / "y.npy", np.zeros((5, 2), np.int64))
    for name in ("y", "z"):
        with pytest.raises(InputError, match=f"{name}.npy holds no features"):
            FeatureFiles([tmp_path / f"{name}.npy"])
    np.save(tmp_path / "b.npy", np.zeros((5, 3), np.float32))
    with pytest.raises(InputError, match="differ in their channels"):
        FeatureFiles([tmp_path / "a.npy", tmp_path / "b.npy"])
    for content in (
        b"",
        b"\x80\x04pickle",
        b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
    ):
        (tmp_path / "c.npy").write_bytes(content)
        with pytest.raises(InputError, match="cannot read features"):
            FeatureFiles([tmp_path / "c.npy"])


class Store:
    """A store of one video whose frames are numbered by their blue, with a bright left half."""

    def __init__(self, count: int) -> None:
        self._count = count

    def count(self, video: Path) -> int:
        return self._count

    def frames(self, video: Path, indices: list[int]) -> np.ndarray:
        frames = np.zeros((len(indices), 40, 60, 3), np.uint8)
        frames[:, :, :30, 0] = 200
        frames[..., 2] = np.array(indices)[:, None, None]
        return frames


def test_windows_of_frames():
    source = VideoWindows([Path("a")], Store(50), 4, 32)
    frames, real = source.at(0, np.array([0.0, 3, 12, 13]), None)
    assert frames.shape == (4, 32, 32, 3)
    assert frames[:, 0, 0, 2].tolist() == [0, 12, 48, 49]
    assert real.tolist() == [True, True, True, False]
    # the middle: as much of the bright half as of the dark one
    assert (frames[0, 16, :, 0] > 100).sum() == 16


def test_frames_of_a_window_are_varied_alike_and_windows_differently():
    source = VideoWindows([Path("a")], Store(8), 1, 32)
    mirrored = 0
    for seed in range(12):
        frames, _ = source.at(0, np.zeros(3), np.random.default_rng(seed))
        assert np.array_equal(frames[0], frames[2])
        bright = frames[0, :, :, 0].astype(float)
        mirrored += bright[:, 20:].mean() > bright[:, :12].mean()
    assert 2 <= mirrored <= 10


@needs_kinect
def test_recordings_of_utkinect():
    recordings, source = read_utkinect_recordings(KINECT, range(1, 11))
    assert len(recordings) == 20
    assert sum(len(r.labels) for r in recordings) == 199
    check_recordings(recordings, [], UTKINECT_ACTS)
    one = recordings[0]
    assert (one.name, one.steps, one.rate) == ("s01_e01", 526, RATE)
    # frames 252 to 390 of a recording whose first frame is 190, in sixtieths of a second
    assert one.spans[0].tolist() == [15.5, 50.0]
    data, real = source.at(0, np.arange(526.0), None)
    assert data.shape == (60, 526)
    assert real.mean() > 0.98
    # seen from the front: the left shoulder is at the picture's right
    assert (data[0] > data[2]).mean() > 0.95
    assert np.median(data[21]) > 0  # feet below hips
    moved, _ = source.at(0, np.arange(526.0), np.random.default_rng(1))
    again, _ = source.at(0, np.arange(526.0), np.random.default_rng(1))
    assert np.array_equal(moved, again)
    assert not np.allclose(moved[:24], data[:24], atol=0.1)


@needs_kinect
def test_people_that_are_not_there_are_told(tmp_path: Path):
    with pytest.raises(InputError, match="no recordings of the people"):
        read_utkinect_recordings(KINECT, [11])
    with pytest.raises(InputError, match="actionLabel_modified"):
        read_utkinect_recordings(tmp_path, [1])


def test_a_window_that_is_long_enough_is_left_alone():
    window = TrainingWindows([recording(100, (10, 20))], Places(), WindowRules(50))[(0, 0)]
    assert filled_up(window, 50) is window
