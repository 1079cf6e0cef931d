from __future__ import annotations

import json
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import CountingTracker, GridPose, SquareDetector, picture

from posepipe.cli import main
from posepipe.errors import InputError
from posepipe.io.video import VideoWriter, open_video
from posepipe.pipeline import Pipeline
from posepipe.run.batch import run_batch
from posepipe.run.inputs import plan
from posepipe.run.overlay import Drawn, render_records
from posepipe.run.video import Options


def frames_of(path: Path) -> list[np.ndarray]:
    with open_video(path) as reader:
        return [frame.image for frame in reader]


@pytest.fixture
def done(tmp_path: Path) -> Path:
    """Pictures of people, and the results of a run over them."""
    (tmp_path / "shots").mkdir()
    for number in range(9):
        cv2.imwrite(str(tmp_path / f"shots/{number}.png"), picture(number, people=2)[..., ::-1])
    pipeline = Pipeline(SquareDetector(), GridPose(), CountingTracker())
    run_batch(plan([str(tmp_path / "shots")]), pipeline, Options(tmp_path / "out", quiet=True))
    return tmp_path


def test_the_overlay_is_drawn_again_to_the_same_pictures(done: Path) -> None:
    line = [
        "render",
        str(done / "out/shots/records.jsonl"),
        str(done / "shots"),
        "-o",
        str(done / "again.mp4"),
        "--quiet",
    ]
    assert main(line) == 0
    again, first = frames_of(done / "again.mp4"), frames_of(done / "out/shots/overlay.mp4")
    assert len(again) == len(first) == 9
    assert all(map(np.array_equal, again, first))
    assert main(line) == 6
    assert main([*line, "--overwrite"]) == 0
    assert not (done / "again.part.mp4").exists()


def test_a_higher_least_score_draws_less(done: Path) -> None:
    records = done / "out/shots/records.jsonl"
    assert render_records(records, str(done / "shots"), done / "less.mp4", 0.9, quiet=True) == Drawn(9)
    less, all_of_it = frames_of(done / "less.mp4"), frames_of(done / "out/shots/overlay.mp4")
    assert not np.array_equal(less[4], all_of_it[4])


def test_another_video_is_refused(done: Path) -> None:
    for name, seed in (("a.mp4", 0), ("b.mp4", 1)):
        with VideoWriter(done / name, 64, 48) as writer:
            for index in range(4):
                writer.write(np.random.default_rng(seed).integers(0, 256, (48, 64, 3), np.uint8), index / 25)
    pipeline = Pipeline(SquareDetector(), GridPose(), CountingTracker())
    run_batch(plan([str(done / "a.mp4")]), pipeline, Options(done / "out", quiet=True, video=False))
    with pytest.raises(InputError, match=r"was not made from .*b\.mp4.*Give the video"):
        render_records(done / "out/a/records.jsonl", str(done / "b.mp4"), done / "c.mp4", 0.3, quiet=True)
    assert not (done / "c.mp4").exists()
    assert render_records(done / "out/a/records.jsonl", str(done / "a.mp4"), done / "c.mp4", 0.3, quiet=True) == Drawn(
        4
    )


def test_a_signal_leaves_a_video_of_what_was_drawn(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    def draw_and_press(image: np.ndarray, *rest: object) -> np.ndarray:
        drawn.append(image)
        if len(drawn) == 4:
            signal.raise_signal(signal.SIGTERM)
        return image

    monkeypatch.setattr("posepipe.run.overlay.draw", draw_and_press)
    line = [
        "render",
        str(done / "out/shots/records.jsonl"),
        str(done / "shots"),
        "-o",
        str(done / "part.mp4"),
        "--quiet",
    ]
    assert main(line) == 143
    assert len(frames_of(done / "part.mp4")) == 4


def _shortened(records: Path, frames: int, end: bool) -> Path:
    """The first frames of records, with or without their last line, as of a run that ended there."""
    *lines, summary = records.read_text("utf-8").splitlines()
    last = json.dumps(json.loads(summary) | {"frames": frames})
    short = records.with_name(f"{frames}{'' if end else '-open'}.jsonl")
    short.write_text("".join(f"{line}\n" for line in [*lines[: frames + 1], *[last][: int(end)]]), "utf-8")
    return short


def test_records_without_frames_are_no_video(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = _shortened(done / "out/shots/records.jsonl", 0, end=True)
    assert main(["render", str(records), str(done / "shots"), "-o", str(done / "none.mp4")]) == 3
    assert "holds no frames" in capsys.readouterr().err
    assert not (done / "none.mp4").exists()


@pytest.mark.parametrize("end", [True, False])
def test_records_that_end_before_the_video_are_told(done: Path, capsys: pytest.CaptureFixture[str], end: bool) -> None:
    records = _shortened(done / "out/shots/records.jsonl", 5, end)
    line = ["render", str(records), str(done / "shots"), "-o", str(done / "part.mp4")]
    assert main(line) == 0
    told = capsys.readouterr()
    assert "5 frames" in told.out
    assert "warning: the records end before their video: after 5 frames" in told.err
    assert ("has no end: its run broke off" in told.err) != end
    assert main([*line, "--overwrite", "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_a_video_that_ends_before_its_records_is_told(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in (7, 8):
        (done / f"shots/{number}.png").unlink()
    records = done / "out/shots/records.jsonl"
    assert main(["render", str(records), str(done / "shots"), "-o", str(done / "part.mp4")]) == 0
    assert "warning: the video ends before its records: after 7 frames" in capsys.readouterr().err


def test_a_video_without_a_checksum_is_known_by_its_times(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The records are of pictures, 25 a second; the first of another video has the same time still."""
    for name, times in (("same.mp4", [n / 25 for n in range(9)]), ("other.mp4", [0, 1 / 30, *range(1, 8)])):
        with VideoWriter(done / name, 64, 48) as writer:
            for time in times:
                writer.write(np.zeros((48, 64, 3), np.uint8), time)
    records = done / "out/shots/records.jsonl"
    assert main(["render", str(records), str(done / "same.mp4"), "-o", str(done / "a.mp4"), "--quiet"]) == 0
    assert main(["render", str(records), str(done / "other.mp4"), "-o", str(done / "b.mp4"), "--quiet"]) == 3
    assert "its frames have other times; got 0.040 s; expected 0.033 s" in capsys.readouterr().err
    assert not (done / "b.mp4").exists()
    assert not (done / "b.part.mp4").exists()


@pytest.mark.parametrize(
    ("command", "out"), [("streams", "s.npz"), ("heatmaps", "h.npz"), ("actions", "a.csv"), ("refine", "refined")]
)
def test_other_commands_tell_of_records_that_are_not_whole(
    done: Path, capsys: pytest.CaptureFixture[str], command: str, out: str
) -> None:
    records = done / "out/shots/records.jsonl"
    named = ["--no-actions"] if command == "refine" else []
    line = [command, str(records), "-o", str(done / out), *named]
    assert main(line) == 0
    assert "warning" not in capsys.readouterr().err
    text = records.read_text().replace('"status":"ok"', '"status":"truncated"').replace('"reason":null', '"reason":"x"')
    records.write_text(text)
    assert main([*line, "--overwrite"]) == 0
    assert f"warning: the run of {records} ended with truncated: x" in capsys.readouterr().err
    if command != "refine":
        assert main([command, str(_shortened(records, 5, end=False)), "-o", str(done / out), "--overwrite"]) == 0
        assert "has no end: its run broke off" in capsys.readouterr().err
