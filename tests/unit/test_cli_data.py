from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from label_sets import alphapose_row, noise_picture, person, video_set, write_json, write_pictures, write_video

from posepipe import cli
from posepipe.datasets.coco import read_coco, write_coco
from posepipe.datasets.exclusions import write_exclusions
from posepipe.datasets.formats import Form, write_set
from posepipe.datasets.splits import read_split

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def sail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six videos in the SAIL-color layout: AlphaPose results and frames."""
    monkeypatch.setenv("POSEPIPE_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "sail"
    for v in range(6):
        rows = [alphapose_row(f"{f}.jpg", person(20 + f, v, third=0.35 + 0.1 * v)) for f in range(3)]
        write_json(root / "labels" / f"s{v % 3}_v{v}.json", rows)
        for f in range(3):
            path = root / "frames" / f"s{v % 3}_v{v}" / f"{f}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), noise_picture(3 * v + f))
    return root


def run(*words: object) -> int:
    return cli.main(["data", *map(str, words)])


def test_check_tells_soundness_by_its_exit_code(sail: Path, tmp_path: Path, capsys: Capture) -> None:
    assert run("check", sail, "--json", tmp_path / "report.json") == 0
    assert capsys.readouterr().out.endswith("\nsound\n")
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["format"], report["sound"], report["figures"]["people"]) == ("posepipe-check/1", True, 18)
    (sail / "frames" / "s0_v0" / "0.jpg").write_bytes(b"no picture")
    assert run("check", sail) == 4
    assert "unreadable-image: 1 of 18" in capsys.readouterr().out


def test_confidences_in_a_coco_file_are_the_classic_mistake(tmp_path: Path, capsys: Capture) -> None:
    people = video_set(1, 3)
    write_coco(people, tmp_path / "a.json")
    data = json.loads((tmp_path / "a.json").read_text())
    for row in data["annotations"]:
        row["keypoints"][2::3] = [0.8] * 17
    write_json(tmp_path / "a.json", data)
    assert run("check", tmp_path / "a.json") == 4
    assert "confidence-as-visibility: 3 of 3" in capsys.readouterr().out


def test_confidences_in_a_coco_file_become_no_labels_by_people(tmp_path: Path, capsys: Capture) -> None:
    coco, out = tmp_path / "a.json", tmp_path / "out.json"
    write_coco(video_set(1, 3), coco)
    data = json.loads(coco.read_text())
    for row, value in zip(data["annotations"], (0.05, 1.0, 0.7), strict=True):
        row["keypoints"][2::3] = [value] * 16 + [0]
        del row["keypoint_scores"]
    write_json(coco, data)
    split, frames = ("split", coco, "-o", tmp_path / "split.json"), ("frames", coco, "-o", tmp_path / "frames")
    for words in (("convert", coco, out, "--to", "coco", "--threshold", 0.4), split, frames):
        assert run(*words) == 3
        told = capsys.readouterr().err
        assert "confidence-as-visibility: 2 of 3" in told
        assert "--from alphapose" in told
    assert not any(path.exists() for path in (out, tmp_path / "split.json", tmp_path / "frames"))
    assert run("convert", coco, out, "--to", "coco", "--from", "alphapose", "--threshold", 0.4) == 0
    people = read_coco(out)
    assert (people.visibility[:, :16] == np.array([[0], [2], [2]])).all()
    assert people.score[:, 0].tolist() == pytest.approx([0, 1, 0.7])
    assert not people.visibility[:, 16].any()
    assert people.frames.tolist() == [0, 1, 2]
    assert run("convert", coco, out, "--to", "coco", "--from", "alphapose", "--overwrite", "--first-frame", 1) == 2


def test_convert_drops_joints_below_their_threshold_and_says_so(sail: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out.json"
    options = ["--threshold", 0.4, "--joint-threshold", "left_ankle=0.6", "--report", tmp_path / "report.json"]
    assert run("convert", "--from", "alphapose", "--to", "coco", sail, out, *options) == 0
    assert "share of labelled joints that a threshold drops" in capsys.readouterr().out
    people = read_coco(out, sail / "frames")
    assert (people.visibility[:, 0] > 0).sum() == 15
    assert (people.visibility[:, 15] > 0).sum() == 9
    assert json.loads((tmp_path / "report.json").read_text())["applied_people_lost"] == 3
    assert run("convert", "--to", "coco", sail, out) == 6
    assert "already exists" in capsys.readouterr().err
    assert run("convert", "--to", "coco", sail, out, "--overwrite", "--quiet", "--joint-threshold", "tail=0.5") == 2
    assert run("check", out, "--images", sail / "frames") == 0


@pytest.mark.parametrize("form", ["coco", "alphapose", "openpose", "mmpose", "dlc", "yolo"])
def test_every_format_can_be_written_and_read(form: str, tmp_path: Path) -> None:
    people = video_set(1, 2, root=tmp_path / "frames")
    write_pictures(people, tmp_path / "frames")
    write_coco(people, tmp_path / "a.json")
    out = tmp_path / ("b.csv" if form == "dlc" else "b.json" if form in ("coco", "mmpose") else "b")
    assert run("convert", "--to", form, tmp_path / "a.json", out, "--images", tmp_path / "frames") == 0
    assert run("convert", "--from", form, "--to", "coco", out, tmp_path / "c.json") == 0
    again = read_coco(tmp_path / "c.json")
    assert len(again) == 2
    assert abs(again.xy - people.xy).max() < 0.01


@pytest.mark.parametrize("form", ["openpose", "mmpose", "dlc"])
def test_pictures_of_every_format_are_looked_at(form: str, tmp_path: Path, capsys: Capture) -> None:
    people = video_set(1, 3)
    write_pictures(people, tmp_path / "frames")
    out = tmp_path / ("clip00.csv" if form == "dlc" else "b")
    write_set(people.of_images([0, 2]), out, Form(form))
    options = ["--images", tmp_path / "frames", "--json", tmp_path / "report.json"]
    assert run("check", out, *options) == (4 if form == "openpose" else 0)  # 18 joints
    assert json.loads((tmp_path / "report.json").read_text())["figures"]["pictures decoded"] == 2
    assert "missing-image" not in capsys.readouterr().out
    (tmp_path / "frames" / people.images[2]).unlink()
    assert run("check", out, "--images", tmp_path / "frames") == 4
    assert "missing-image" in capsys.readouterr().out


def test_split_writes_checks_and_refuses(sail: Path, tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "split.json"
    options = ["--by", "subject", "--subject-pattern", r"(s\d)_", "--val", 0.3, "--seed", 5]
    assert run("split", sail, "-o", file, *options) == 0
    assert "0 leaks" in capsys.readouterr().out
    assert len(read_split(file).parts["val"]) == 2
    assert run("split", sail, "--check", file) == 0
    train, val = (read_split(file).parts[part][0] for part in ("train", "val"))
    (sail / "frames" / val / "1.jpg").write_bytes((sail / "frames" / train / "2.jpg").read_bytes())
    capsys.readouterr()
    assert run("split", sail, "--check", file) == 4
    assert f"leak: near-duplicate frames {train}/2.jpg = {val}/1.jpg" in capsys.readouterr().out
    assert run("split", sail, "--check", file, "--no-frames") == 0
    assert run("split", sail, "-o", file) == 6
    assert run("split", sail) == 2
    write_json(tmp_path / "other" / "labels" / f"{train}.json", [alphapose_row("0.jpg", person(third=0.9))])
    write_json(tmp_path / "other" / "labels" / "new.json", [alphapose_row("0.jpg", person(third=0.9))])
    capsys.readouterr()
    assert run("split", tmp_path / "other", "--check", file) == 4
    told = capsys.readouterr().out
    assert "1 members of the set in no part: new\n" in told
    assert "5 members of the split not in the set: " in told
    assert val in told
    assert train not in told


def test_label_files_that_cannot_be_read_are_told_or_refused(sail: Path, tmp_path: Path, capsys: Capture) -> None:
    (sail / "labels" / "s0_v0.json").write_text("[{")
    assert run("stats", sail) == 0
    assert "unreadable-labels: 1 of 6" in capsys.readouterr().out
    for words in (("split", sail, "-o", tmp_path / "split.json"), ("frames", sail, "-o", tmp_path / "frames")):
        assert run(*words) == 3
        assert "s0_v0.json" in capsys.readouterr().err
    assert not (tmp_path / "split.json").exists()
    halpe = [alphapose_row("0.jpg", np.concatenate([person(), person()[:9]]))]
    write_json(sail / "labels" / "s0_v0.json", halpe)
    assert run("split", sail, "-o", tmp_path / "split.json") == 3
    assert "joints of" in capsys.readouterr().err


def test_what_posepipe_writes_beside_the_labels_is_no_label_file(tmp_path: Path, capsys: Capture) -> None:
    flat = tmp_path / "flat"
    for v in range(4):
        write_json(flat / f"v{v}.json", [alphapose_row("0.jpg", person(v, third=0.9))])
    assert run("split", flat, "-o", flat / "A.json", "--val", 0.25) == 0
    assert run("stats", flat, "--json", flat / "B.json") == 0
    write_exclusions(flat / "C.json", {"v0": ()}, {})
    assert run("check", flat, "--json", flat / "D.json") == 0
    assert run("check", flat) == 0
    assert "videos                      4" in capsys.readouterr().out
    assert run("split", flat, "--check", flat / "A.json") == 0


def test_split_parts_become_parts_of_a_yolo_set(sail: Path, tmp_path: Path) -> None:
    coco = tmp_path / "a.json"
    write_coco(video_set(4, 1), coco)
    assert run("split", coco, "-o", tmp_path / "s.json", "--val", 0.25) == 0
    assert run("convert", "--to", "yolo", coco, tmp_path / "yolo", "--split", tmp_path / "s.json") == 0
    assert len(list((tmp_path / "yolo" / "labels" / "val").rglob("*.txt"))) == 1
    assert "val: images/val" in (tmp_path / "yolo" / "data.yaml").read_text()
    assert run("convert", "--to", "coco", coco, tmp_path / "b.json", "--split", tmp_path / "s.json") == 2


def test_frames_of_videos_for_training(tmp_path: Path, capsys: Capture) -> None:
    write_json(tmp_path / "labels" / "a.json", [alphapose_row(f"{f}.jpg", person(third=0.9)) for f in (0, 1, 2, 9)])
    write_video(tmp_path / "videos" / "a.avi", 4)
    assert run("frames", tmp_path, "-o", tmp_path / "set") == 0
    assert "1 labelled frames lie beyond the end" in capsys.readouterr().out
    people = read_coco(tmp_path / "set" / "labels.json", tmp_path / "set")
    assert (people.images, people.videos) == (tuple(f"a/{f:06d}.jpg" for f in range(3)), ("a",) * 3)
    assert run("check", tmp_path / "set" / "labels.json") == 0
    write_json(tmp_path / "videos" / "a.json", json.loads((tmp_path / "set" / "labels.json").read_text()))
    assert run("frames", tmp_path / "videos" / "a.json", "-o", tmp_path / "beside") == 0
    (tmp_path / "a.json").write_bytes((tmp_path / "videos" / "a.json").read_bytes())
    assert run("frames", tmp_path / "a.json", "--images", tmp_path / "videos", "-o", tmp_path / "named") == 0


def test_what_is_not_there_is_an_input_error(tmp_path: Path, capsys: Capture) -> None:
    assert run("check", tmp_path / "none") == 3
    assert run("stats", tmp_path) == 3
    assert "posepipe: error:" in capsys.readouterr().err
