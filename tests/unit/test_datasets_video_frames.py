"""Frames of videos out of a cache: the right ones, at the right size, decoded once, also where a video is damaged."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
from clips import damage, lay, number_of, write_clip

from posepipe.datasets import video_frames
from posepipe.datasets.jpeg_pile import open_pile, write_pile
from posepipe.datasets.video_frames import FrameStore
from posepipe.errors import InputError, OutputError


def test_frames_are_the_numbered_ones_at_the_asked_size(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "a.mp4", 20)
    store = FrameStore(48, tmp_path / "cache")
    assert store.count(video) == 20
    np.testing.assert_allclose(store.pts(video), np.arange(20) / 25)
    frames = store.frames(video, [3, 19, 0, 3])
    assert frames.shape == (4, 48, 80, 3)
    assert frames.dtype == np.uint8
    assert [number_of(frame) for frame in frames] == [3, 19, 0, 3]
    assert frames[0][4, 4, 0] > 150 > frames[0][4, 4, 2]  # upper left corner: red, in RGB
    assert store.fault(video) == ""


def test_small_videos_are_made_large_too(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "a.mp4", 3)
    assert FrameStore(150, tmp_path / "cache").frames(video, [2]).shape == (1, 150, 250, 3)


def test_turned_videos_come_upright(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "a.mp4", 4)
    lay(video, (0, 1, -1, 0))
    frames = FrameStore(48, tmp_path / "cache").frames(video, [1])
    assert frames.shape == (1, 80, 48, 3)
    assert number_of(np.rot90(frames[0])) == 1


def test_a_video_is_decoded_once_and_again_when_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video, opened = write_clip(tmp_path / "a.mp4", 6), []
    real = video_frames.open_video
    monkeypatch.setattr(video_frames, "open_video", lambda path: opened.append(path) or real(path))
    for _ in range(2):
        store = FrameStore(32, tmp_path / "cache")
        assert store.count(video) == 6
        assert store.frames(video, [5]).shape[0] == 1
    assert len(opened) == 1
    FrameStore(40, tmp_path / "cache").count(video)
    assert len(opened) == 2
    write_clip(video, 8)
    assert FrameStore(32, tmp_path / "cache").count(video) == 8
    assert len(opened) == 3


def test_an_interrupted_video_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = write_clip(tmp_path / "a.mp4", 6)
    with monkeypatch.context() as patch:
        patch.setattr(video_frames, "short_side", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            FrameStore(32, tmp_path / "cache").count(video)
    assert list((tmp_path / "cache").iterdir()) == []
    assert FrameStore(32, tmp_path / "cache").count(video) == 6


def test_of_a_cut_video_what_was_decoded_is_used_and_told(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "a.mkv", 30)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(damage(whole.read_bytes(), "cut", 0.6))
    store = FrameStore(32, tmp_path / "cache")
    with pytest.warns(UserWarning, match=r"cut\.mkv: the file broke off .*; what was decoded is used"):
        count = store.count(cut)
    assert 0 < count < 30
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "broke off" in FrameStore(32, tmp_path / "cache").fault(cut)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.mp4", None, r"there is no video .*absent\.mp4"),
        ("empty.mp4", b"", r"empty\.mp4 is empty"),
        ("text.mp4", b"no video at all" * 99, r"cannot read text\.mp4 as a video"),
    ],
)
def test_what_is_no_video_is_named(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        FrameStore(32, tmp_path / "cache").count(tmp_path / name)


def test_frames_that_are_not_there_are_named(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "a.mp4", 5)
    store = FrameStore(32, tmp_path / "cache")
    for index in (5, -1):
        with pytest.raises(InputError, match=rf"a\.mp4 has no frame {index}; expected 0 to 4"):
            store.frames(video, [0, index])
    with pytest.raises(InputError, match=r"no frames of .* were asked for"):
        store.frames(video, [])


def test_a_damaged_cache_is_named(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "a.mp4", 5)
    FrameStore(32, tmp_path / "cache").count(video)
    (pile,) = (tmp_path / "cache").iterdir()
    data = pile.read_bytes()
    pile.write_bytes(bytes(200) + data[200:])
    with pytest.raises(InputError, match=r"picture 0 of .* is damaged.*Delete"):
        FrameStore(32, tmp_path / "cache").frames(video, [0])
    for broken in (data[:-20], b"", b"short", data[:-8] + b"\xff" * 8):
        pile.write_bytes(broken)
        with pytest.raises(InputError, match=r"is no file of pictures.*Delete"):
            FrameStore(32, tmp_path / "cache").count(video)


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "a.mp4", 5)
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(OutputError, match=r"cannot write .*cache"):
        FrameStore(32, tmp_path / "cache").count(video)


def test_a_store_goes_to_other_processes(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "a.mp4", 5)
    store = FrameStore(32, tmp_path / "cache")
    assert store.count(video) == 5
    assert pickle.loads(pickle.dumps(store)).count(video) == 5  # noqa: S301 - our own


def test_grey_pictures_keep_their_values(tmp_path: Path) -> None:
    picture = np.repeat(np.arange(0, 256, 4, dtype=np.uint8)[None], 40, 0)
    write_pile(tmp_path / "p.jpegs", [(0.5, picture), (1.0, picture[::-1])], lambda: "late", quality=95)
    pile = open_pile(tmp_path / "p.jpegs")
    assert (len(pile), pile.fault, pile.pts.tolist()) == (2, "late", [0.5, 1.0])
    (back,) = pile.read([1], grey=True)
    assert back.shape == picture.shape
    assert np.abs(back.astype(int) - picture).max() <= 6
