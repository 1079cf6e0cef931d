"""The training command under SIGKILL and in several processes."""

from __future__ import annotations

import csv
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("lightning", reason="needs the train extra")

from tiny_people import make_coco

from posepipe.cli import main

pytestmark = pytest.mark.slow

RECIPE = """
kind = "pose"
network = "mobilenet_v3_small"
height = 64
width = 64
samples = 16
[[sources]]
path = "train.json"
images = "images"
[[validation]]
path = "val.json"
images = "val"
[engine]
epochs = 5
batch = 4
workers = 0
threads = 1
warmup_steps = 2
device = "cpu"
keep_best = 2
"""


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    make_coco(tmp_path / "train.json", tmp_path / "images", 16)
    make_coco(tmp_path / "val.json", tmp_path / "val", 6, first=100)
    (tmp_path / "r.toml").write_text(RECIPE)
    monkeypatch.setenv("POSEPIPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return ["train", str(tmp_path / "r.toml"), "--data", str(tmp_path)]


def weights(path: Path) -> dict[str, torch.Tensor]:
    kept = torch.load(path, weights_only=True)
    return {**kept["state_dict"], **{f"now.{k}": v for k, v in kept["current_model_state"].items()}}


def epochs_of(folder: Path) -> int:
    path = folder / "metrics.csv"
    if not path.is_file():
        return 0
    with path.open(newline="") as stream:
        return len(list(csv.DictReader(stream)))


def test_a_killed_training_resumes_to_the_same_weights(arguments: list[str], tmp_path: Path) -> None:
    # Processes are forked from one that has imported everything already: that takes longer than to train.
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["posepipe.training.pose"])
    whole, parts = tmp_path / "whole", tmp_path / "parts"

    def start(folder: Path) -> multiprocessing.process.BaseProcess:
        process = processes.Process(target=main, args=([*arguments, "--run-dir", str(folder)],))
        process.start()
        return process

    start(whole).join()
    assert epochs_of(whole) == 5
    for kill_at, wait in ((1, 0.0), (2, 0.15), (4, 0.4)):  # after so many epochs, and some seconds into the next
        process = start(parts)
        while epochs_of(parts) < kill_at and process.is_alive():
            time.sleep(0.002)
        time.sleep(wait)
        os.kill(int(process.pid or 0), signal.SIGKILL)
        process.join()
    start(parts).join()
    assert epochs_of(parts) == 5
    for name in ("last.ckpt", "best.ckpt"):
        expected, got = weights(whole / name), weights(parts / name)
        assert all(torch.equal(got[key], value) for key, value in expected.items()), name
    tops = [sorted(p.name for p in (folder / "top").glob("*.ckpt")) for folder in (whole, parts)]
    assert tops[0] == tops[1]


def test_two_processes_learn_as_one_with_twice_the_batch(arguments: list[str], tmp_path: Path) -> None:
    """DDP over gloo on the CPU: the same samples in the same steps, so nearly the same weights."""
    command = [sys.executable, "-m", "posepipe", *arguments, "--network", "sppe_small", "--target", "gaussian"]
    command += ["--engine.epochs", "2", "--engine.clip_norm", "0", "--engine.optimizer", "sgd"]
    for name, batch, devices in (("one", "4", "1"), ("two", "2", "2")):
        extra = ["--run-dir", str(tmp_path / name), "--engine.batch", batch, "--engine.devices", devices]
        done = subprocess.run([*command, *extra], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
    one, two = (weights(tmp_path / name / "last.ckpt") for name in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-5)
    assert epochs_of(tmp_path / "two") == 2
