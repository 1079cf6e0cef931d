"""What users get wrong: each mistake has its exit code, one line, the file or flag by name, and a way out."""

from __future__ import annotations

import json
import shutil
import wave
from pathlib import Path

import numpy as np
import pytest

from posepipe.cli import main
from posepipe.io.records import RecordWriter
from posepipe.io.schema import skeleton_to_json
from posepipe.io.video import VideoWriter
from posepipe.skeleton import COCO17


def write_clip(path: Path, frames: int = 12, seed: int = 0) -> None:
    random = np.random.default_rng(seed)
    with VideoWriter(path, 96, 64) as writer:
        for index in range(frames):
            writer.write(random.integers(0, 256, (64, 96, 3), np.uint8), index / 25)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that one can get wrong, and one run that is finished."""
    desk = tmp_path_factory.mktemp("desk")
    write_clip(desk / "clip.mp4", 3)
    write_clip(desk / "other.mp4", 3, seed=1)
    write_clip(desk / "cut.mp4", 60)
    whole = (desk / "cut.mp4").read_bytes()
    (desk / "cut.mp4").write_bytes(whole[: len(whole) * 6 // 10])
    (desk / "stub.mp4").write_bytes(whole[:200])
    (desk / "empty.mp4").touch()
    (desk / "notes.mp4").write_text("Buy milk.\n" * 50)
    with wave.open(str(desk / "sound.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(16000))
    (desk / "bare").mkdir()
    (desk / "texts").mkdir()
    (desk / "texts/a.txt").write_text("a")
    (desk / "shots").mkdir()
    (desk / "shots/1.png").write_bytes(b"no picture")
    (desk / "bad.toml").write_text("batch = = 3")
    (desk / "unknown.toml").write_text("bacth = 3")
    (desk / "type.toml").write_text('batch = "eight"')
    (desk / "range.toml").write_text("detector_score = 7.0")
    (desk / "nan.toml").write_text("track_iou = nan")
    (desk / "deep.toml").write_text("a = " + "[" * 5000)
    (desk / "long.toml").write_text("# " + "x" * 2_000_000)
    (desk / "binary.toml").write_bytes(bytes(range(256)))
    (desk / "text.onnx").write_text("no network")
    (desk / "boxes.txt").write_text("no boxes here\n")
    (desk / "made.jsonl").write_text('{"type":"header"}\n')
    header = {"video": {"sha256": "0" * 64}, "skeleton": skeleton_to_json(COCO17)}
    RecordWriter(desk / "elsewhere.jsonl", header).close("ok")
    assert main(["run", str(desk / "clip.mp4"), "-o", str(desk / "done"), "--quiet"]) == 0
    return desk


@pytest.fixture(autouse=True)
def no_weights_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSEPIPE_CACHE", str(tmp_path / "cache"))


# The command line ({desk} is the folder above, {out} a fresh one), the exit code, and what the line must say.
MISTAKES = {
    "no command": ("", 2, ["COMMAND", "--help"]),
    "misspelt command": ("rum", 2, ["'rum'", "run"]),
    "no input": ("run -o {out}", 2, ["INPUT", "posepipe run --help"]),
    "no output": ("run {desk}/clip.mp4", 2, ["-o/--out"]),
    "misspelt flag": ("run {desk}/clip.mp4 -o {out} --detecter small", 2, ["--detecter", "Did you mean --detector?"]),
    "flag without value": ("run {desk}/clip.mp4 -o {out} --batch", 2, ["--batch", "expected one argument"]),
    "batch of none": ("run {desk}/clip.mp4 -o {out} --batch 0", 2, ["--batch", "0 is out of range", "from 1 to 1024"]),
    "batch of words": ("run {desk}/clip.mp4 -o {out} --batch many", 2, ["--batch", "'many'", "whole number"]),
    "no stride": ("run {desk}/clip.mp4 -o {out} --stride 0", 2, ["--stride", "from 1"]),
    "negative detector stride": (
        "run {desk}/clip.mp4 -o {out} --detector-stride -3",
        2,
        ["--detector-stride", "from 0"],
    ),
    "score in percent": ("run {desk}/clip.mp4 -o {out} --detector-score 40", 2, ["--detector-score", "0.0 to 1.0"]),
    "score that is no number": ("run {desk}/clip.mp4 -o {out} --track-iou nan", 2, ["--track-iou", "0.0 to 1.0"]),
    "no frames": ("run {desk}/clip.mp4 -o {out} --limit-frames 0", 2, ["--limit-frames", "from 1"]),
    "unknown device": ("run {desk}/clip.mp4 -o {out} --device gpu", 2, ["device", "'gpu'", "auto, cpu or cuda"]),
    "unknown detector": ("run {desk}/clip.mp4 -o {out} --detector smal", 2, ["'smal'", "'small'"]),
    "unknown pose": ("run {desk}/clip.mp4 -o {out} --pose huge", 2, ["'huge'", "small, detector, FILE.onnx"]),
    "unknown tracker": ("run {desk}/clip.mp4 -o {out} --tracker srt", 2, ["'srt'", "'sort'"]),
    "pose of a detector without": ("run {desk}/clip.mp4 -o {out} --pose detector", 2, ["'detector'", "yolo:FILE"]),
    "config missing": ("run {desk}/clip.mp4 -o {out} --config {desk}/no.toml", 2, ["no.toml", "No such file"]),
    "config is a folder": ("run {desk}/clip.mp4 -o {out} --config {desk}", 2, ["{desk}", "directory"]),
    "config is not TOML": ("run {desk}/clip.mp4 -o {out} --config {desk}/bad.toml", 2, ["bad.toml", "line 1"]),
    "config of bytes": ("run {desk}/clip.mp4 -o {out} --config {desk}/binary.toml", 2, ["binary.toml", "TOML"]),
    "config nested deeply": ("run {desk}/clip.mp4 -o {out} --config {desk}/deep.toml", 2, ["deep.toml", "TOML"]),
    "config too large": ("run {desk}/clip.mp4 -o {out} --config {desk}/long.toml", 2, ["long.toml", "at most 1 MB"]),
    "unknown setting": ("run {desk}/clip.mp4 -o {out} --config {desk}/unknown.toml", 2, ["'bacth'", "batch"]),
    "setting of a wrong type": ("run {desk}/clip.mp4 -o {out} --config {desk}/type.toml", 2, ["'batch'", "int"]),
    "setting out of range": ("run {desk}/clip.mp4 -o {out} --config {desk}/range.toml", 2, ["'detector_score'", "1.0"]),
    "setting that is no number": (
        "run {desk}/clip.mp4 -o {out} --config {desk}/nan.toml",
        2,
        ["'track_iou'", "finite"],
    ),
    "input missing": ("run {desk}/clap.mp4 -o {out}", 3, ["clap.mp4 does not exist", "Check the path"]),
    "input empty": ("run {desk}/empty.mp4 -o {out}", 3, ["empty.mp4 is empty", "again"]),
    "input is a text": ("run {desk}/notes.mp4 -o {out}", 3, ["notes.mp4"]),
    "input is sound": ("run {desk}/sound.wav -o {out}", 3, ["sound.wav"]),
    "input ends before its first frame": ("run {desk}/stub.mp4 -o {out}", 3, ["stub.mp4"]),
    "input cut short": ("run {desk}/cut.mp4 -o {out} --quiet", 4, ["cut: truncated", "{out}/cut"]),
    "empty folder": ("run {desk}/bare -o {out}", 3, ["bare holds no pictures"]),
    "folder of texts": ("run {desk}/texts -o {out}", 3, ["texts holds no pictures", "JPEG"]),
    "pattern without a match": ("run {desk}/*.mkv -o {out}", 3, ["*.mkv", "pattern"]),
    "picture that is none": ("run {desk}/shots -o {out}", 3, ["1.png"]),
    "no such camera": ("run 97 -o {out}", 3, ["97"]),
    "no such stream": ("run http://127.0.0.1:9/live.mp4 -o {out}", 3, ["http://127.0.0.1:9/live.mp4"]),
    "weights missing": ("run {desk}/clip.mp4 -o {out} --pose {desk}/none.onnx", 5, ["none.onnx", "Check the path"]),
    "weights that are a text": ("run {desk}/clip.mp4 -o {out} --pose {desk}/text.onnx", 5, ["text.onnx"]),
    "boxes missing": ("run {desk}/clip.mp4 -o {out} --detector {desk}/none.txt", 3, ["none.txt"]),
    "boxes that are a text": ("run {desk}/clip.mp4 -o {out} --detector {desk}/boxes.txt", 3, ["boxes.txt", "line 1"]),
    "output is a file": ("run {desk}/clip.mp4 -o {desk}/notes.mp4", 6, ["notes.mp4/clip", "Name a folder"]),
    "output cannot be made": ("run {desk}/clip.mp4 -o /proc/posepipe", 6, ["/proc/posepipe/clip", "Name a folder"]),
    "output holds results": ("run {desk}/clip.mp4 -o {desk}/done", 6, ["done/clip", "--resume", "--overwrite"]),
    "resumed with other settings": ("run {desk}/clip.mp4 -o {desk}/done --resume --stride 2", 6, ["another stride"]),
    "records missing": ("render {desk}/no.jsonl {desk}/clip.mp4 -o {out}.mp4", 3, ["no.jsonl", "Check the path"]),
    "records that are none": ("render {desk}/made.jsonl {desk}/clip.mp4 -o {out}.mp4", 3, ["made.jsonl", "posepipe"]),
    "records that are a video": ("render {desk}/clip.mp4 {desk}/clip.mp4 -o {out}.mp4", 3, ["clip.mp4"]),
    "records of another video": (
        "render {desk}/elsewhere.jsonl {desk}/clip.mp4 -o {out}.mp4",
        3,
        ["clip.mp4", "Give the"],
    ),
    "rendering over a file": ("render {desk}/elsewhere.jsonl {desk}/clip.mp4 -o {desk}/other.mp4", 6, ["--overwrite"]),
    "rendering to no mp4": ("render {desk}/elsewhere.jsonl {desk}/clip.mp4 -o {out}.gif", 6, [".gif", ".mp4"]),
    "unknown action": ("models fech", 2, ["'fech'", "list"]),
    "weights by no name": ("models fetch", 2, ["NAME", "posepipe models fetch --help"]),
    "weights by a wrong name": ("models fetch yolox-nan", 2, ["'yolox-nano'", "posepipe models list"]),
    "weights not fetched": ("run {desk}/clip.mp4 -o {out} --pose rtmpose-l", 5, ["posepipe models fetch rtmpose-l"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake(mistake: str, desk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line, code, expected = MISTAKES[mistake]
    places = {"desk": desk, "out": tmp_path / "out"}
    before = {path: path.read_bytes() for path in desk.rglob("*") if path.is_file()}
    assert main([word.format(**places) for word in line.split()]) == code
    error = capsys.readouterr().err
    assert error.startswith("posepipe: error: ")
    assert error.count("\n") == 1
    assert "Traceback" not in error
    for text in expected:
        assert text.format(**places) in error
    assert before == {path: path.read_bytes() for path in desk.rglob("*") if path.is_file()}
    if code != 4:
        assert not list(tmp_path.rglob("*.*"))


def test_one_mistake_among_many_inputs_stops_nothing(
    desk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = [str(desk / name) for name in ("empty.mp4", "clip.mp4", "cut.mp4", "missing.mp4", "other.mp4")]
    assert main(["run", *inputs, "-o", str(tmp_path)]) == 4
    captured = capsys.readouterr()
    assert captured.err.count("posepipe: error: ") == 3
    table = captured.out.splitlines()[-6:]
    assert [row.split()[:3] for row in table[1:]] == [
        ["empty", "failed", "3"],
        ["clip", "ok", "0"],
        ["cut", "truncated", "4"],
        ["missing", "failed", "3"],
        ["other", "ok", "0"],
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip", "cut", "other"]


def test_what_was_decoded_of_a_cut_file_is_written_and_valid(desk: Path, tmp_path: Path) -> None:
    assert main(["run", str(desk / "cut.mp4"), "-o", str(tmp_path), "--quiet"]) == 4
    summary = json.loads((tmp_path / "cut/run.json").read_text())
    assert (summary["finished"], summary["status"], summary["exit_code"]) == (True, "truncated", 4)
    assert 0 < summary["frames"] < 60
    last = json.loads((tmp_path / "cut/records.jsonl").read_text().splitlines()[-1])
    assert (last["type"], last["status"], last["frames"]) == ("summary", "truncated", summary["frames"])
    # It is finished: nothing more can be had from it.
    assert main(["run", str(desk / "cut.mp4"), "-o", str(tmp_path), "--quiet", "--resume"]) == 0


def test_overwriting_spares_an_input_that_is_a_result(desk: Path, tmp_path: Path) -> None:
    (tmp_path / "overlay").mkdir()
    shutil.copy(desk / "clip.mp4", tmp_path / "overlay/overlay.mp4")
    assert main(["run", str(tmp_path / "overlay/overlay.mp4"), "-o", str(tmp_path), "--overwrite"]) == 6
    assert (tmp_path / "overlay/overlay.mp4").read_bytes() == (desk / "clip.mp4").read_bytes()
