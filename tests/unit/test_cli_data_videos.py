"""``posepipe data`` on labels of videos whose frames nobody has written yet."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from label_sets import alphapose_row, person, write_json, write_video

from posepipe import cli
from posepipe.datasets.coco import read_coco

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four videos of six frames with AlphaPose results."""
    monkeypatch.setenv("POSEPIPE_CACHE", str(tmp_path / "cache"))
    for v in range(4):
        rows = [alphapose_row(f"{f}.jpg", person(20 + 5 * f, v, third=0.9)) for f in range(6)]
        write_json(tmp_path / "set" / "labels" / f"v{v}.json", rows)
        write_video(tmp_path / "set" / "videos" / f"v{v}.avi", 6)
    return tmp_path / "set"


def run(*words: object) -> int:
    return cli.main(["data", *map(str, words)])


def test_videos_that_are_missing_damaged_or_too_short_spoil_a_set(
    videos: Path, tmp_path: Path, capsys: Capture
) -> None:
    report = tmp_path / "report.json"
    assert run("check", videos, "--json", report) == 0
    assert "pictures decoded            none: frames of videos" in capsys.readouterr().out
    (videos / "videos" / "v0.avi").unlink()
    (videos / "videos" / "v1.avi").write_bytes(b"no video" * 999)
    write_video(videos / "videos" / "v2.avi", 2)
    for images in ([], ["--images", videos / "videos"], ["--pictures", 1]):
        assert run("check", videos, "--json", report, *images) == 4
        capsys.readouterr()
        found = {finding["code"]: finding for finding in json.loads(report.read_text())["findings"]}
        assert (found["missing-video"]["count"], found["missing-video"]["examples"]) == (1, ["v0"])
        assert found["unreadable-video"]["examples"][0].startswith("v1: ")
        assert (found["frame-beyond-video"]["count"], found["frame-beyond-video"]["total"]) == (4, 24)
        assert "missing-image" not in found


def test_videos_of_another_size_than_the_labels_say_spoil_a_set(videos: Path, tmp_path: Path, capsys: Capture) -> None:
    assert run("frames", videos, "-o", tmp_path / "frames") == 0
    (videos / "labels.json").write_bytes((tmp_path / "frames" / "labels.json").read_bytes())
    assert run("check", videos / "labels.json") == 0
    write_video(videos / "videos" / "v0.avi", 6, (60, 80))
    assert run("check", videos / "labels.json") == 4
    assert "image-size: 6 of 24: an image has another size than the labels say" in capsys.readouterr().out


def grey(out: Path, number: int) -> float:
    """Share of a sheet that is plain grey, as where there is no picture."""
    sheet = cv2.imread(str(out / f"sheets/{number:04d}.jpg"))
    assert sheet is not None
    return float((np.abs(sheet.astype(int) - 90).max(-1) < 8).mean())


@pytest.mark.parametrize("images", [True, False])
def test_the_sheets_of_an_audit_show_the_videos(videos: Path, tmp_path: Path, capsys: Capture, images: bool) -> None:
    out, words = tmp_path / "audit", ["--images", videos / "videos"] if images else []
    assert run("audit", videos, "-o", out, "--sheets", 3, *words) == 0
    assert max(grey(out, number) for number in range(3)) < 0.2
    assert len(list((tmp_path / "cache/frames").glob("*/*"))) == 3
    assert "grey" not in capsys.readouterr().out
    (videos / "videos" / "v0.avi").write_bytes(b"no video" * 999)
    assert run("audit", videos, "-o", out, "--overwrite", *words) == 0
    assert "no pictures of v0: " in capsys.readouterr().out
    assert sum(grey(out, number) > 0.5 for number in range(4)) == 1


def test_an_audit_without_pictures_says_so(videos: Path, tmp_path: Path, capsys: Capture) -> None:
    shutil.rmtree(videos / "videos")
    assert run("audit", videos, "-o", tmp_path / "audit") == 0
    assert "neither pictures nor videos are at hand" in capsys.readouterr().out
    assert grey(tmp_path / "audit", 0) > 0.5


def test_second_labels_of_other_videos_are_refused_and_of_some_told(
    videos: Path, tmp_path: Path, capsys: Capture
) -> None:
    write_json(tmp_path / "second/labels/other.json", [alphapose_row("0.jpg", person(third=0.9))])
    command = ("audit", videos, "-o", tmp_path / "audit", "--overwrite", "--second", tmp_path / "second")
    assert run(*command) == 3
    assert "second labels are of no frame of set" in capsys.readouterr().err
    write_json(tmp_path / "second/labels/v2.json", [alphapose_row("0.jpg", person(20, 2, third=0.9))])
    assert run(*command) == 0
    assert "the second labels are of 1 of 24 frames" in capsys.readouterr().out


def test_a_network_labels_the_frames_of_videos(videos: Path, tmp_path: Path, capsys: Capture) -> None:
    (videos / "videos" / "v0.avi").write_bytes(b"no video" * 999)
    command = ("audit", videos, "-o", tmp_path / "audit", "--overwrite", "--second")
    assert run(*command, "smal") != 0
    assert not (tmp_path / "cache").exists()
    assert run(*command, "small") == 0
    assert "the second labels are of 18 of 24 frames" in capsys.readouterr().out
    cards = json.loads((tmp_path / "audit/scorecard.json").read_text())["videos"]
    assert sorted(card["video"] for card in cards if "second-opinion" in card["signs"]) == ["v1", "v2", "v3"]


def test_a_split_without_pictures_or_with_some_says_so(
    videos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    away = videos / "videos"
    away.rename(tmp_path / "away")
    assert run("split", videos, "-o", tmp_path / "a.json") == 0
    assert "neither pictures nor videos are at hand" in capfd.readouterr().out
    (tmp_path / "away").rename(away)
    assert run("frames", videos, "-o", videos / "frames") == 0
    (videos / "frames" / "v3" / "000002.jpg").unlink()
    capfd.readouterr()
    assert run("split", videos, "--check", tmp_path / "a.json") == 4  # all videos show the same
    told = capfd.readouterr()
    assert "1 of 24 pictures are not there, and were not compared" in told.out
    assert not told.err


def test_a_split_looks_at_the_frames_of_videos_as_training_does(videos: Path, tmp_path: Path, capsys: Capture) -> None:
    assert run("split", videos, "-o", tmp_path / "a.json") == 4  # all videos show the same
    told = capsys.readouterr().out
    assert "comparing 24 frames of 4 videos" in told
    assert "leak: near-duplicate frames v" in told
    assert run("split", videos, "--check", tmp_path / "a.json", "--no-frames") == 0
    # Splits by image name what the labels name, and are compared by the frames all the same.
    assert run("split", videos, "--by", "image", "-o", tmp_path / "i.json") == 4
    assert "leak: near-duplicate frames" in capsys.readouterr().out
    (videos / "videos" / "v0.avi").write_bytes(b"no video" * 999)
    assert run("split", videos, "--check", tmp_path / "a.json") == 4
    told = capsys.readouterr().out
    assert "no pictures of v0: " in told
    assert "6 of 24 pictures are not there" in told


def test_frames_numbered_from_one(videos: Path, tmp_path: Path, capsys: Capture) -> None:
    for file in (videos / "labels").iterdir():
        rows = [alphapose_row(f"{f + 1:06d}.jpg", person(20 + 5 * f, third=0.9)) for f in range(6)]
        write_json(file, rows)
    assert run("check", videos) == 4
    assert "frame-beyond-video: 4 of 24" in capsys.readouterr().out
    assert run("check", videos, "--first-frame", 1) == 0
    assert run("frames", videos, "--first-frame", 1, "-o", tmp_path / "frames") == 0
    people = read_coco(tmp_path / "frames" / "labels.json", tmp_path / "frames")
    assert people.frames.tolist() == [*range(6)] * 4
    assert people.xy[people.frames[people.image] == 0, 0, 0].tolist() == [70.0] * 4
    assert run("check", tmp_path / "frames" / "labels.json", "--first-frame", 1) == 2


def test_joints_that_training_does_not_take_are_told(videos: Path, tmp_path: Path, capsys: Capture) -> None:
    for file in (videos / "labels").iterdir():
        write_json(file, [alphapose_row("0.jpg", np.concatenate([person(third=0.9), person(third=0.9)[:9]]))])
    assert run("check", videos) == 4
    told = capsys.readouterr().out
    assert "other-joints: 1 of 1: pose training takes COCO's 17 joints" in told
    assert run("convert", "--to", "alphapose", videos, tmp_path / "coco") == 0
    assert run("check", tmp_path / "coco", "--images", videos) == 0
