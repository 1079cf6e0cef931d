"""Optical flow: known motions come out, quantised by hand, kept, and honest about what OpenCV lacks."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import write_clip

from posepipe.datasets import flow
from posepipe.datasets.flow import FlowStore, dequantise, flow_method, quantise
from posepipe.datasets.video_frames import FrameStore
from posepipe.errors import InputError, UsageError


def texture(seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (140, 140), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2)


def test_quantisation_by_hand() -> None:
    values = np.array([-30, -20, -10, 0, 10, 20, 99], np.float32)
    assert quantise(values, 20).tolist() == [0, 0, 64, 128, 191, 255, 255]
    np.testing.assert_allclose(dequantise(quantise(values[1:6], 20), 20), values[1:6], atol=20 / 255 + 1e-5)
    assert quantise(np.array([5.0], np.float32), 5).tolist() == [255]


@pytest.mark.parametrize("name", ["dis", "farneback"])
def test_a_known_motion_is_found(name: str) -> None:
    """The picture moves 3 px to the right and 2 px up."""
    whole = texture()
    one, other = whole[20:120, 20:120], whole[22:122, 17:117]
    found = flow_method(name)(np.ascontiguousarray(one), np.ascontiguousarray(other))
    assert found.shape == (100, 100, 2)
    np.testing.assert_allclose(np.median(found[20:-20, 20:-20], (0, 1)), [3, -2], atol=0.2)


def test_tvl1_is_there_or_said_to_be_missing() -> None:
    if hasattr(cv2, "optflow"):
        assert callable(flow_method("tvl1"))
    else:
        with pytest.raises(UsageError, match=r"no TV-L1 flow.*opencv-contrib-python-headless"):
            flow_method("tvl1")
    with pytest.raises(UsageError, match="no flow 'raft'; expected dis, farneback, tvl1"):
        FlowStore(FrameStore(32, Path()), "raft", 20, Path())


def test_fields_of_a_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames shifted by 2 px each; 33 of them, so that a pair lies across the border of a chunk."""
    frames = FrameStore(96, tmp_path / "frames")
    video = write_clip(tmp_path / "a.mp4", 34)
    whole = np.repeat(cv2.resize(texture(1), (300, 140))[:, :, None], 3, 2)
    shown = np.stack([whole[20:116, 100 - 2 * i : 260 - 2 * i] for i in range(34)])
    monkeypatch.setattr(frames, "frames", lambda video, indices: shown[list(indices)])
    store = FlowStore(frames, "dis", 8.0, tmp_path / "flow")
    assert store.count(video) == 33
    fields = store.fields(video, [0, 31, 32])
    assert fields.shape == (3, 96, 160, 2)
    assert fields.dtype == np.uint8
    motion = np.median(dequantise(fields, 8.0)[:, 20:-20, 20:-20], (1, 2))
    np.testing.assert_allclose(motion, [[2, 0]] * 3, atol=0.15)


def test_flow_is_worked_out_once_and_apart_for_each_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video, worked = write_clip(tmp_path / "a.mp4", 4), []
    real = flow.flow_method

    def counting(name: str) -> flow.Method:
        method = real(name)
        return lambda one, other: worked.append(name) or method(one, other)

    monkeypatch.setattr(flow, "flow_method", counting)
    for _ in range(2):
        FlowStore(FrameStore(32, tmp_path / "c"), "farneback", 20, tmp_path / "c").count(video)
    assert len(worked) == 3
    FlowStore(FrameStore(32, tmp_path / "c"), "farneback", 5, tmp_path / "c").count(video)
    FlowStore(FrameStore(32, tmp_path / "c"), "dis", 20, tmp_path / "c").count(video)
    assert worked == ["farneback"] * 6 + ["dis"] * 3


def test_videos_without_motion_are_named(tmp_path: Path) -> None:
    store = FlowStore(FrameStore(32, tmp_path / "c"), "dis", 20, tmp_path / "c")
    with pytest.raises(InputError, match=r"one\.mp4 has one frame only"):
        store.count(write_clip(tmp_path / "one.mp4", 1))
    with pytest.raises(InputError, match=r"no video .*absent\.mp4"):
        store.count(tmp_path / "absent.mp4")
    with pytest.raises(InputError, match=r"has no picture 4; expected 0 to 3"):
        store.fields(write_clip(tmp_path / "five.mp4", 5), [4])
