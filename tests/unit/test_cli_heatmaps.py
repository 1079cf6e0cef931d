"""The command that writes heatmaps.npz and its picture."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from clips import write_clip
from results import header, result

from posepipe import cli
from posepipe.errors import InputError
from posepipe.io.records import RecordWriter
from posepipe.io.streams import pose_streams, read_streams, write_streams
from posepipe.io.volumes import read_heatmaps
from posepipe.skeleton import COCO17, Skeleton
from posepipe.volume_sheet import heatmap_sheet, sheet_frames
from posepipe.volumes.clips import HeatmapRecipe, heatmap_clips

FRAMES = [result(i, ids=(1, 2, 9) if i < 3 else (1, 2)) for i in range(20)]
LAME = Skeleton("lame", ("left_a", "right_a", "b"), (("left_a", "b"),), (("left_a", "right_a"),), (0.1,) * 3)


@pytest.fixture
def streams(tmp_path):
    write_streams(tmp_path / "streams.npz", FRAMES)
    return tmp_path / "streams.npz"


def heatmaps(source, out, *flags):
    return cli.main(["heatmaps", str(source), "-o", str(out), *map(str, flags)])


def test_the_file_holds_the_maps_and_how_they_were_made(tmp_path, streams, capsys):
    out = tmp_path / "maps.npz"
    assert heatmaps(streams, out, "--frames", 8, "--clips", 2, "--limbs", "--flip", "--sigma", 0.7, "--size", 24) == 0
    assert "maps 4x35x8x24x24, 3 people, 20 frames" in capsys.readouterr().out
    recipe = HeatmapRecipe(frames=8, clips=2, size=24, sigma=0.7, limbs=True, flip=True)
    clips = heatmap_clips(read_streams(streams), recipe)
    with np.load(out, allow_pickle=False) as file:
        about = json.loads(str(file["about"][()]))
        assert (about["schema"], about["version"]) == ("posepipe.heatmaps", 1)
        assert (about["recipe"]["sigma"], about["recipe"]["seed"], about["available"]) == (0.7, 255, 20)
        assert about["skeleton"]["keypoints"] == list(COCO17.keypoints)
        assert tuple(file["channels"]) == clips.channels
        assert file["track_id"].tolist() == [1, 2, 9]
        assert (file["data"].dtype, file["crop"].dtype, file["pts"].dtype) == (np.float32, np.float32, np.float64)
        np.testing.assert_array_equal(file["data"], clips.data)
    again = read_heatmaps(out)
    for name in ("data", "crop", "frame_index", "pts", "flipped", "track_id"):
        np.testing.assert_array_equal(getattr(again, name), getattr(clips, name))
    assert (again.channels, again.available, len(again)) == (clips.channels, 20, 4)


def test_records_give_the_same_bytes_as_streams(tmp_path, streams):
    with RecordWriter(tmp_path / "records.jsonl", header()) as writer:
        for frame in FRAMES:
            writer.write(frame)
    assert heatmaps(tmp_path / "records.jsonl", tmp_path / "a.npz", "--quiet") == 0
    assert heatmaps(streams, tmp_path / "b.npz", "--quiet") == 0
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_a_track_of_three_frames_is_repeated_and_told_of(tmp_path, streams, capsys):
    assert heatmaps(streams, tmp_path / "m.npz", "--track", 9, "--frames", 8) == 0
    assert "1 people, 3 frames repeated to 8" in capsys.readouterr().out
    clips = read_heatmaps(tmp_path / "m.npz")
    assert clips.track_id.tolist() == [9]
    assert clips.frame_index[0].tolist() == [0, 1, 2, 0, 1, 2, 0, 1]


def test_nobody_is_an_input_without_maps(tmp_path, capsys):
    write_streams(tmp_path / "empty.npz", [result(0), result(1)])
    assert heatmaps(tmp_path / "empty.npz", tmp_path / "m.npz") == 3
    assert "holds nobody" in capsys.readouterr().err
    assert not (tmp_path / "m.npz").exists()


def test_another_skeleton_has_its_own_channels(tmp_path, capsys):
    frames = [result(i, ids=(1,), skeleton=LAME) for i in range(9)]
    write_streams(tmp_path / "s.npz", frames, LAME)
    assert heatmaps(tmp_path / "s.npz", tmp_path / "m.npz", "--limbs") == 0
    assert read_heatmaps(tmp_path / "m.npz").channels == ("left_a", "right_a", "b", "left_a-b")
    assert heatmaps(tmp_path / "s.npz", tmp_path / "f.npz", "--limbs", "--flip") == 2
    assert "left_a-b" in capsys.readouterr().err
    assert heatmaps(tmp_path / "s.npz", tmp_path / "f.npz", "--flip") == 0


@pytest.mark.parametrize(
    ("flags", "code", "text"),
    [
        (["--track", "7"], 2, "expected one of 1, 2, 9"),
        (["--track", "0"], 2, "out of range"),
        (["--no-keypoints"], 2, "--limbs"),
        (["--video", "v.mp4"], 2, "--picture"),
        (["--picture", "p.gif"], 2, "FILE.png"),
        (["--picture", "there.png"], 6, "already exists"),
        (["--picture", "p.png", "--video", "no.mp4"], 3, "no.mp4"),
        (["--sigma", "0"], 2, "out of range"),
        (["--frames", "9999", "--clips", "99", "--size", "500"], 2, "do not fit"),
        (["-o", "m.csv"], 2, "OUT.npz"),
        (["-o", "no/m.npz"], 6, "no/m.npz"),
        (["-o", "streams.npz", "--overwrite"], 6, "already exists"),
    ],
)
def test_mistakes_are_named(tmp_path, streams, monkeypatch, capsys, flags, code, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.png").write_text("mine")
    before = streams.read_bytes()
    assert cli.main(["heatmaps", "streams.npz", "-o", "m.npz", *flags]) == code
    assert text in capsys.readouterr().err
    assert (tmp_path / "there.png").read_text() == "mine"
    assert streams.read_bytes() == before
    assert not (tmp_path / "m.npz").exists()


@pytest.mark.parametrize("name", ["no.npz", "noise.npz", "streams.npz"])
def test_what_holds_no_heatmaps_is_refused(tmp_path, streams, name):
    (tmp_path / "noise.npz").write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match=name):
        read_heatmaps(tmp_path / name)


@pytest.mark.parametrize("change", ["data", "frame_index", "channels", "about", "crop"])
def test_a_file_that_was_changed_is_refused(tmp_path, streams, change):
    heatmaps(streams, tmp_path / "m.npz", "--quiet", "--frames", 4)
    with np.load(tmp_path / "m.npz") as file:
        arrays = dict(file)
    arrays[change] = np.array("{}") if change == "about" else arrays[change][..., :-1]
    np.savez(tmp_path / "m.npz", **arrays)
    if change == "data":
        assert read_heatmaps(tmp_path / "m.npz").data.shape[-1] == 55  # a size like any other
        arrays["data"] = arrays["data"][:, :-1]
        np.savez(tmp_path / "m.npz", **arrays)
    with pytest.raises(InputError, match="holds no heatmaps"):
        read_heatmaps(tmp_path / "m.npz")


def test_the_picture_shows_maps_over_the_video_at_their_time(tmp_path, streams):
    video = write_clip(tmp_path / "v.mp4", 20, size=(640, 480))
    flags = ("--frames", 8, "--track", 1)
    assert heatmaps(streams, tmp_path / "a.npz", *flags, "--picture", tmp_path / "grey.png") == 0
    over = ("--picture", tmp_path / "over.png", "--video", video)
    assert heatmaps(streams, tmp_path / "b.npz", *flags, *over) == 0
    grey, over = (cv2.imread(str(tmp_path / name)) for name in ("grey.png", "over.png"))
    assert grey.shape == over.shape
    assert (grey != over).mean() > 0.2
    short = write_clip(tmp_path / "short.mp4", 5)
    picture = ("--picture", tmp_path / "p.png", "--video", short)
    assert heatmaps(streams, tmp_path / "c.npz", *flags, *picture) == 3
    assert not (tmp_path / "c.npz").exists()


def test_tiles_have_the_colour_of_their_channel_where_its_map_is():
    stream = pose_streams([result(i, ids=(1,)) for i in range(4)])[0]
    clips = heatmap_clips([stream], HeatmapRecipe(frames=4))
    sheet = heatmap_sheet(clips)
    # The nose has the first hue, red: where its map is strongest, red leads and the ground is grey.
    place = int(np.argmax(clips.data[0, 0].max((1, 2))))
    y, x = np.unravel_index(clips.data[0, 0, place].argmax(), (56, 56))
    pixel = sheet[3 * y + 1, 172 * place + 3 * x + 1].astype(int)
    assert pixel[0] > pixel[1] + 20
    assert pixel[0] > pixel[2] + 20
    assert (sheet == 72).all(-1).mean() > 0.3
    assert sheet_frames(clips, tiles=2).tolist() == [0, 3]
    assert len(sheet_frames(clips)) == 4
