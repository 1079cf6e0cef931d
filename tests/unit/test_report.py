from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from posepipe import __version__, report
from posepipe.config import Config
from posepipe.errors import OutputError
from posepipe.io.atomic import sha256_of
from posepipe.io.reader import VideoInfo
from posepipe.io.weights import weights_path
from posepipe.report import (
    Outcome,
    Progress,
    closing_table,
    engines,
    machine,
    records_header,
    speeds,
    versions,
    write_json,
)
from posepipe.skeleton import COCO17

OUT = Path("out")


@pytest.mark.parametrize(
    ("outcome", "line"),
    [
        (Outcome("a", OUT, "ok", 0, 250, 400, 3, 10.0), "a: ok, 250 frames, 3 tracks in 10.0 s, 25.0 fps -> out"),
        (Outcome("a", OUT, "ok", 0, 1, 1, 1, 0.5), "a: ok, 1 frame, 1 track in 0.5 s, 2.0 fps -> out"),
        (
            Outcome("a", OUT, "damaged", 4, 2, 0, 0, 1.0, "hole"),
            "a: damaged, 2 frames, 0 tracks in 1.0 s, 2.0 fps (hole) -> out",
        ),
        (Outcome("a", OUT, "failed", 3, reason="a.mp4 is empty"), "a: a.mp4 is empty"),
        (Outcome("a", OUT, "skipped", 0), "a: finished before, skipped (out)"),
    ],
)
def test_the_line_of_an_outcome(outcome: Outcome, line: str) -> None:
    assert outcome.line() == line


def test_the_closing_table_is_in_columns() -> None:
    outcomes = [Outcome("long name", OUT, "ok", 0, 12, 3, 1, 2.0), Outcome("b", OUT, "failed", 3, reason="gone")]
    rows = closing_table(outcomes).splitlines()
    assert rows[0].split() == ["input", "status", "exit", "frames", "tracks", "seconds", "reason"]
    assert rows[2].split() == ["b", "failed", "3", "0", "0", "0.0", "gone"]
    assert len({row.index(word) for row, word in zip(rows, ("status", "ok", "failed"), strict=True)}) == 1


def test_speeds_leave_out_what_did_not_run() -> None:
    assert speeds({"pose": (2.0, 100), "draw": (0.0, 0)}) == {"pose": {"frames": 100, "ms": 20.0, "fps": 50.0}}


def test_engines_say_what_they_run_on() -> None:
    class Plain:
        pass

    class Described:
        description = "an abacus"

    assert engines({"detector": Plain(), "pose": Described()}) == {"detector": "Plain", "pose": "an abacus"}


def test_versions_and_machine_name_what_figures_depend_on() -> None:
    assert versions()["posepipe"] == __version__
    assert {"python", "numpy", "av", "onnxruntime"} <= versions().keys()
    assert "core" in machine()


class Network:
    def __init__(self, weights: Path) -> None:
        self.weights = weights


def test_the_header_names_files_without_their_folders(tmp_path: Path) -> None:
    weights = tmp_path / "net.onnx"
    weights.write_bytes(b"weights")
    config = Config(detector=f"yolo:{weights}", pose=str(weights), batch=3)
    stages = {"detector": object(), "pose": Network(weights)}
    info = VideoInfo("net.onnx", 64, 48, 25.0, 90, 10, 0.4, "h264")
    header = records_header(info, weights, config, COCO17, stages)
    assert str(tmp_path) not in json.dumps(header)
    assert header["config"]["detector"] == "yolo:net.onnx"
    assert header["config"]["pose"] == "net.onnx"
    assert header["config"]["batch"] == 3
    assert header["weights"] == {"detector": None, "pose": sha256_of(weights)}
    assert header["licences"] == {"detector": None, "pose": None}
    assert header["video"] == {
        "name": "net.onnx",
        "sha256": sha256_of(weights),
        "width": 64,
        "height": 48,
        "fps": 25.0,
        "rotation": 90,
        "frames_declared": 10,
        "duration_s": 0.4,
    }


def test_the_header_gives_the_terms_of_the_weights() -> None:
    stages = {"pose": Network(weights_path("sppe_small"))}
    header = records_header(VideoInfo("v", 1, 1), None, Config(), COCO17, stages)
    assert header["licences"]["pose"].startswith("Apache-2.0")
    assert "LSPET" in header["trained_on"]["pose"]


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("small", "small"),
        ("torchvision:fasterrcnn_resnet50_fpn", "torchvision:fasterrcnn_resnet50_fpn"),
        ("yolo:nets/my.pt", "yolo:my.pt"),
        ("./det.txt", "det.txt"),
    ],
)
def test_settings_that_name_files(value: str, kept: str) -> None:
    header = records_header(VideoInfo("v", 1, 1), None, Config(detector=value), COCO17, {})
    assert header["config"]["detector"] == kept


def test_json_is_whole_or_absent(tmp_path: Path) -> None:
    write_json(tmp_path / "run.json", {"a": [1, None, "é"]})
    assert json.loads((tmp_path / "run.json").read_text("utf-8")) == {"a": [1, None, "é"]}
    with pytest.raises(OutputError, match=r"run\.json"):
        write_json(tmp_path / "none/run.json", {})
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "run.json", {"a": float("nan")})
    assert json.loads((tmp_path / "run.json").read_text("utf-8"))["a"][0] == 1


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("total", [None, 20])
def test_progress_on_a_terminal_is_a_bar(total: int | None) -> None:
    stream = Terminal()
    bar = Progress("clip", total, stream=stream)
    for _ in range(20):
        bar.update(people=2)
    bar._bar.refresh()
    bar.close()
    text = stream.getvalue()
    assert "clip" in text
    assert "people=2" in text
    assert "20" in text


def test_progress_elsewhere_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr(report, "monotonic", lambda: float(next(clock)))
    stream = io.StringIO()
    progress = Progress("clip", 100, stream=stream)
    for _ in range(10):
        progress.update(people=3)
    progress.close()
    lines = stream.getvalue().splitlines()
    assert 1 <= len(lines) <= 5
    assert lines[0].startswith("clip: ")
    assert all(word in lines[0] for word in ("of 100 frames", "fps", "people 3", "s left"))


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_quiet_progress_says_nothing(stream: io.StringIO) -> None:
    progress = Progress("clip", 3, quiet=True, stream=stream)
    for _ in range(3):
        progress.update(people=1)
    progress.close()
    assert stream.getvalue() == ""
