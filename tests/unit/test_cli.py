from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from posepipe import __version__, cli
from posepipe.cli import parser
from posepipe.config import Config
from posepipe.errors import StageError


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=60)


def test_version() -> None:
    done = python("-m", "posepipe", "--version")
    assert (done.returncode, done.stdout) == (0, f"posepipe {__version__}\n")


@pytest.mark.parametrize("command", [[], ["run"], ["render"], ["models"], ["doctor"]])
def test_help_is_quick_and_loads_nothing_heavy(command: list[str]) -> None:
    code = f"""
import sys, time
start = time.process_time()
from posepipe.cli import main
from posepipe.cli.parser import settings
try:
    main({[*command, "--help"]})
except SystemExit as stop:
    assert stop.code == 0
print("took", time.process_time() - start)
heavy = {{"cv2", "av", "numpy", "onnxruntime", "torch", "lap", "tqdm", "ultralytics"}}
assert not heavy & {{name.split(".")[0] for name in sys.modules}}
"""
    took = []
    for _ in range(3):
        done = python("-c", code)
        assert done.returncode == 0, done.stderr
        took.append(float(done.stdout.rsplit("took", 1)[1]))
    assert min(took) < 0.3


def test_every_setting_is_a_flag_with_its_help_and_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["run", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for field in dataclasses.fields(Config):
        assert f"--{field.name.replace('_', '-')}" in text
        assert f"{field.metadata['help']} (default {field.default})" in text


def test_flags_go_before_the_file_and_the_file_before_defaults(tmp_path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("batch = 3\nstride = 5\ntracker = 'none'\n")
    parse = cli.command_line().parse_args
    arguments = parse(["run", "x", "-o", "y", "--config", str(file), "--stride", "2", "--detector-score", "0.25"])
    assert parser.settings(arguments) == Config(batch=3, stride=2, tracker="none", detector_score=0.25)
    assert parser.settings(parse(["run", "x", "-o", "y"])) == Config()


def failing(error: BaseException):
    def command(arguments: object) -> int:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (StageError("pose", 7, ValueError("two\nlines")), 1, "the pose stage failed at frame 7: ValueError: two lines"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 1, "out of memory; try --batch 1"),
        (ZeroDivisionError("oh"), 1, "unexpected ZeroDivisionError: oh; set POSEPIPE_DEBUG=1"),
        (ImportError("no libGL.so.1"), 1, "a package is missing or broken (no libGL.so.1); `posepipe doctor` says"),
        (ImportError("no such name", name="posepipe.io"), 1, "unexpected ImportError: no such name; set POSEPIPE"),
    ],
)
def test_whatever_is_raised_ends_in_one_line(
    error: BaseException, code: int, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli.doctor, "_doctor", failing(error))
    assert cli.main(["doctor"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"posepipe: error: {text}")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("package", ["lap", "cv2", "numpy"])
def test_a_run_without_a_package_points_to_the_doctor(package: str) -> None:
    text = f"""
import sys

sys.modules[{package!r}] = None
from posepipe.cli import main

sys.exit(main(["run", "no.mp4", "-o", "out"]))
"""
    done = python("-c", text)
    assert done.returncode == 1
    assert f"is missing or broken (import of {package} halted" in done.stderr
    assert "`posepipe doctor` says" in done.stderr


def test_debugging_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cli.doctor, "_doctor", failing(ZeroDivisionError("oh")))
    monkeypatch.setenv("POSEPIPE_DEBUG", "1")
    assert cli.main(["doctor"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = f"{sys.executable} -m posepipe run --help | head -c 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["/bin/bash", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "error" not in done.stderr


def test_starting_the_command_imports_little() -> None:
    done = python("-X", "importtime", "-m", "posepipe", "--version")
    modules = {line.rsplit("|", 1)[1].strip() for line in done.stderr.splitlines() if "|" in line}
    ours = {m for m in modules if m.startswith("posepipe") and not m.startswith("posepipe.cli")}
    assert ours == {"posepipe", "posepipe.config", "posepipe.errors"}
    assert not modules & {"numpy", "cv2", "av", "onnxruntime", "torch"}
