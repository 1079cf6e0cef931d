from __future__ import annotations

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
from posepipe.run.overlay import render_records
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
    assert render_records(records, str(done / "shots"), done / "less.mp4", 0.9, quiet=True) == 9
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
    assert render_records(done / "out/a/records.jsonl", str(done / "a.mp4"), done / "c.mp4", 0.3, quiet=True) == 4


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
