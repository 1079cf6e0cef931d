"""Runs that are killed, stopped and repeated, as processes of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from reliability import (
    ENVIRONMENT,
    FRAMES_IN_ENCODER,
    Case,
    batch_difference,
    kill_and_resume,
    lines_of,
    make_case,
    memory_slope,
    repeat,
    same_results,
    stop_and_resume,
)

FRAMES = 40


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("case"), FRAMES, people=2)


@pytest.fixture(scope="module")
def whole(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return case.run(tmp_path_factory.mktemp("whole"))


def test_a_record_for_every_frame_with_people_in_it(whole: Path) -> None:
    assert lines_of(whole / "records.jsonl") == FRAMES + 2
    assert (whole / "poses.csv").read_text().count("\n") > FRAMES


@pytest.mark.parametrize("line", [2, 27])
def test_a_killed_run_is_resumed_to_the_same_bytes(line: int, case: Case, whole: Path, tmp_path: Path) -> None:
    killed = kill_and_resume(case, whole, tmp_path, line)
    assert killed.lost == 0
    assert killed.video_lacks <= FRAMES_IN_ENCODER
    assert killed.equal


@pytest.mark.parametrize("flags", [("--detector-stride", "0"), ("--detector-stride", "4"), ("--single-person",)])
def test_a_killed_run_with_fewer_detections_is_resumed_to_the_same_bytes(
    flags: tuple[str, ...], case: Case, tmp_path: Path
) -> None:
    fewer = Case(case.clip, (*case.flags, "--no-video", *flags))
    killed = kill_and_resume(fewer, fewer.run(tmp_path / "whole"), tmp_path / "killed", 19)
    assert killed.lost == 0
    assert killed.equal


@pytest.mark.slow
def test_a_hundred_kills(case: Case, whole: Path, tmp_path: Path) -> None:
    lines = np.random.default_rng(0).integers(1, FRAMES + 2, 100).tolist()
    killed = [kill_and_resume(case, whole, tmp_path / str(i), line) for i, line in enumerate(lines)]
    assert sum(k.lost for k in killed) == 0
    assert sum(k.equal for k in killed) == 100
    assert max(k.video_lacks for k in killed) <= FRAMES_IN_ENCODER


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_is_valid_and_resumed(
    signum: signal.Signals, code: int, case: Case, whole: Path, tmp_path: Path
) -> None:
    stopped = stop_and_resume(case, whole, tmp_path, 10, signum)
    assert stopped.exit_code == code
    assert stopped.seconds < 5
    assert stopped.valid
    assert stopped.equal


def test_a_second_signal_ends_the_process_at_once(tmp_path: Path) -> None:
    code = """
import os, signal, time
from posepipe.run.feed import Stop
with Stop().on_signals():
    os.kill(os.getpid(), signal.SIGINT)
    print("still here", flush=True)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False, env=ENVIRONMENT
    )
    assert (done.returncode, done.stdout) == (130, "still here\n")


def test_the_same_input_gives_the_same_records(case: Case, whole: Path, tmp_path: Path) -> None:
    assert all(same_results(whole, case.run(tmp_path / str(i))) for i in range(2))


def test_crops_one_by_one_and_eight_at_a_time(case: Case, whole: Path, tmp_path: Path) -> None:
    gap, same_ids = batch_difference(case.run(tmp_path, "--batch", "1"), whole)
    assert gap <= 0.011  # 0.01 px in float32
    assert same_ids


@pytest.mark.slow
def test_memory_is_flat_over_a_long_video(case: Case, tmp_path: Path) -> None:
    repeat(case.clip, tmp_path / "long.mp4", 20_000)
    slope, _, frames = memory_slope(Case(tmp_path / "long.mp4", ("--stride", "10")), tmp_path / "out")
    assert frames >= 20_000
    assert slope < 1
