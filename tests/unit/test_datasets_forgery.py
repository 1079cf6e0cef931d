"""FaceForensics++: layout, official pairs, leaks; own lists; clips by time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posepipe.config import data_root
from posepipe.datasets.forgery import (
    FAKE,
    FFPP_METHODS,
    REAL,
    both_classes,
    person_leaks,
    read_ffpp,
    read_forgery_list,
    read_pairs,
)
from posepipe.datasets.video_clips import clip_frames, clip_starts
from posepipe.datasets.video_lists import check_videos
from posepipe.errors import InputError, UsageError

OFFICIAL, VIDEOS = data_root() / "splits/ffpp", data_root() / "deepfake"
official = pytest.mark.skipif(not OFFICIAL.is_dir(), reason="the official splits of FaceForensics++ are not here")
PAIRS = {"train": (("001", "002"), ("003", "004")), "val": (("005", "006"),), "test": (("007", "008"),)}


@official
def test_the_official_pairs() -> None:
    pairs = read_pairs(OFFICIAL)
    assert {part: len(members) for part, members in pairs.items()} == {"train": 360, "val": 70, "test": 70}
    assert len({name for members in pairs.values() for pair in members for name in pair}) == 1000
    assert person_leaks(pairs) == {}


@official
@pytest.mark.skipif(not VIDEOS.is_dir(), reason="the videos of FaceForensics++ are not here")
def test_the_videos_at_hand_stand_in_their_official_parts() -> None:
    listed = read_ffpp(VIDEOS, read_pairs(OFFICIAL), partial=True)
    names = {part: {v.path.stem: v.label for v in listed[part]} for part in ("train", "val", "test")}
    assert names == {
        "train": {"519": REAL, "519_515": FAKE, "750_743": FAKE},
        "val": {"004": REAL, "004_982": FAKE},
        "test": {"634": REAL, "634_660": FAKE},
    }
    whole = read_ffpp(VIDEOS, read_pairs(OFFICIAL))
    assert {part: len(whole[part]) for part in names} == {"train": 3600, "val": 700, "test": 700}
    with pytest.raises(InputError, match=r"4993 videos are missing: .*/071\.mp4"):
        check_videos(whole, lambda path: 9)


def layout(root: Path, compression: str = "c23") -> Path:
    for name in ("001", "002", "003", "004", "005", "006", "007", "008"):
        path = root / "original_sequences/youtube" / compression / f"videos/{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for method in FFPP_METHODS:
        for name in ("001_002", "002_001", "003_004", "004_003", "005_006", "006_005", "007_008", "008_007", "001_005"):
            path = root / "manipulated_sequences" / method / compression / f"videos/{name}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return root


def test_a_fake_stands_where_its_pair_stands(tmp_path: Path) -> None:
    listed = read_ffpp(layout(tmp_path), PAIRS)
    assert listed.classes == ("real", "fake")
    assert {p: len(listed[p]) for p in PAIRS} == {"train": 4 + 16, "val": 2 + 8, "test": 2 + 8}
    assert all(video.path.is_file() for part in PAIRS for video in listed[part])
    assert check_videos(listed, lambda path: 9) == ()
    for part in PAIRS:
        people = {name for pair in PAIRS[part] for name in pair}
        for video in listed[part]:
            assert set(video.path.stem.split("_")) <= people
            assert video.label == (FAKE if "_" in video.path.stem else REAL)
    one = read_ffpp(tmp_path, PAIRS, methods=("FaceSwap",))
    assert {v.path.parts[-4] for v in one["val"] if v.label == FAKE} == {"FaceSwap"}
    both_classes(one, ("train", "val", "test"))


def test_a_set_that_is_not_whole_is_told(tmp_path: Path) -> None:
    layout(tmp_path)
    gone = tmp_path / "manipulated_sequences/Deepfakes/c23/videos/005_006.mp4"
    gone.unlink()
    with pytest.raises(InputError, match=r"1 videos are missing: .*Deepfakes/c23/videos/005_006\.mp4"):
        check_videos(read_ffpp(tmp_path, PAIRS), lambda path: 9)
    assert len(read_ffpp(tmp_path, PAIRS, partial=True)["val"]) == 9
    with pytest.raises(InputError, match=r"holds no video of FaceForensics.*c40/videos/001\.mp4"):
        read_ffpp(tmp_path, PAIRS, compression="c40", partial=True)
    with pytest.raises(UsageError, match="unknown compression 'c24'"):
        read_ffpp(tmp_path, PAIRS, compression="c24")


def test_people_in_two_parts_are_refused(tmp_path: Path) -> None:
    leaking = {**PAIRS, "test": (("007", "001"),)}
    assert person_leaks(leaking) == {"001": ("train", "test")}
    with pytest.raises(UsageError, match=r"1 people stand more than once in the splits: 001 \(train and test\)"):
        read_ffpp(layout(tmp_path), leaking)


@pytest.mark.parametrize("content", ["[", '{"a": 1}', '[["001"]]', '[["001", 2]]', '[["../x", "002"]]', "[]"])
def test_wrong_splits_are_refused(tmp_path: Path, content: str) -> None:
    for part in PAIRS:
        (tmp_path / f"{part}.json").write_text(json.dumps([["001", "002"]]))
    (tmp_path / "val.json").write_text(content)
    with pytest.raises(InputError, match=r"val\.json"):
        read_pairs(tmp_path)
    (tmp_path / "val.json").unlink()
    with pytest.raises(InputError, match=r"cannot read the split .*val\.json"):
        read_pairs(tmp_path)


def test_own_lists_are_numbered_real_then_fake(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("video,label,split\na.mp4,fake,train\nb.mp4,real,train\nc.mp4,fake,val\n")
    listed = read_forgery_list(path)
    assert [v.label for v in listed["train"]] == [FAKE, REAL]
    with pytest.raises(InputError, match=r"part val of list\.csv has no real video; got 1 videos"):
        both_classes(listed, ("train", "val"))
    path.write_text("video,label,split\na.mp4,fake,train\nb.mp4,genuine,train\n")
    with pytest.raises(InputError, match=r"are not real and fake; got fake, genuine"):
        read_forgery_list(path)


def test_clips_lie_evenly_and_show_each_segment_once() -> None:
    pts = np.arange(100) / 25  # four seconds
    assert clip_starts(pts, 2.0, 3).tolist() == pytest.approx([0.0, 1.0, 2.0])
    assert clip_starts(pts, 2.0, 1).tolist() == pytest.approx([1.0])
    assert clip_starts(pts, 9.0, 5).tolist() == [0.0]
    # Eight segments of a quarter second; their middles are 0.125 s, 0.375 s ...: frames 3, 9 ...
    assert clip_frames(pts, 0.0, 2.0, 8).tolist() == [3, 9, 15, 21, 28, 34, 40, 46]
    assert clip_frames(pts, 0.0, 99.0, 4).tolist() == [12, 37, 62, 87]  # all of it
    assert clip_frames(np.array([0.5]), 0.5, 2.0, 3).tolist() == [0, 0, 0]
    late = np.concatenate([np.arange(10) / 10, 10 + np.arange(10) / 10])  # nothing is shown anew for nine seconds
    assert clip_frames(late, 0.0, 10.0, 2).tolist() == [9, 9]


@settings(max_examples=80)
@given(
    gaps=st.lists(st.floats(0.001, 1.0), min_size=1, max_size=80),
    segments=st.integers(1, 12),
    span=st.floats(0.05, 5.0),
    clips=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_drawn_frames_lie_in_their_segments(gaps: list, segments: int, span: float, clips: int, seed: int) -> None:
    pts = np.cumsum(gaps)
    for start in clip_starts(pts, span, clips):
        chosen = clip_frames(pts, start, span, segments, np.random.default_rng(seed))
        assert len(chosen) == segments
        assert (np.diff(chosen) >= 0).all()
        assert chosen.min() >= 0
        assert chosen.max() < len(pts)
        again = clip_frames(pts, start, span, segments, np.random.default_rng(seed))
        assert chosen.tolist() == again.tolist()
        for number, frame in enumerate(chosen):  # shown at some moment of the segment
            upto = pts[frame + 1] if frame + 1 < len(pts) else np.inf
            assert pts[frame] <= start + (number + 1) * span / segments + 1e-9
            whole = min(span, pts[-1] + np.median(np.diff(pts) if len(pts) > 1 else 0) - start)
            assert upto >= start + number * max(whole, 0) / segments - 1e-9
