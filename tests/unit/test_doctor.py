from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from posepipe import doctor
from posepipe.cli import main
from posepipe.config import read_toml
from posepipe.doctor import Finding, examine
from posepipe.io import weights


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSEPIPE_CACHE", str(tmp_path / "cache"))


def of(findings: list[Finding], subject: str) -> Finding:
    return next(f for f in findings if f.subject == subject)


def test_a_sound_installation(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    for subject in ("posepipe", "python", "cpu cores", "onnxruntime", "H.264 encoder", "video decoders", "main job"):
        assert f"{subject}: " in text
    assert "weights detector_small: verified" in text
    assert "weights sppe_small: verified" in text
    assert "public weights: 0 of " in text
    assert "main job: runs" in text
    assert "FAIL" not in text


@pytest.fixture
def changed_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for entry in weights.list_weights():
        (tmp_path / entry.path.name).write_bytes(entry.path.read_bytes())
    (tmp_path / "sppe_small.onnx").write_bytes(b"changed")
    monkeypatch.setattr(weights, "_FOLDER", tmp_path)
    weights.weights_path.cache_clear()
    yield
    weights.weights_path.cache_clear()


@pytest.mark.usefixtures("changed_weights")
def test_changed_weights_are_fatal_and_can_be_mended(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 1
    text = capsys.readouterr().out
    (line,) = [row for row in text.splitlines() if "weights sppe_small" in row]
    assert line.startswith("FAIL")
    assert "-> pip install --force-reinstall posepipe" in line
    assert "FAIL  main job" in text
    assert main(["models", "verify"]) == 5
    assert "differs from what was published" in capsys.readouterr().out
    assert main(["models", "list"]) == 5
    assert "is not a whole ONNX file" in capsys.readouterr().out


def test_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "verify"]) == 0
    rows = [row.split() for row in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["name", "kind", "version", "size", "licence", "state"]
    own = {row[0] for row in rows[1:]}
    assert {"detector_small", "sppe_small", "action_small"} <= own
    assert all(row[-1] == "verified" for row in rows[1:])
    assert main(["models", "list"]) == 0
    rows = [row.split() for row in capsys.readouterr().out.splitlines()]
    assert {"detector_small", "yolox-nano", "rtmpose-m", "vitpose-base"} <= {row[0] for row in rows}
    assert {row[-1] for row in rows[1:] if row[0] in own} == {"present"}
    assert {" ".join(row[-2:]) for row in rows[1:] if row[0] not in own} == {"not fetched"}


def test_a_missing_package_is_named_and_does_not_end_the_examination(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lap", None)
    findings = examine()
    lap = of(findings, "lap")
    assert lap.fatal
    assert lap.mend == "pip install --force-reinstall lap"
    assert of(findings, "weights sppe_small").mend is None


def test_every_package_that_is_required_is_looked_at() -> None:
    project = read_toml(Path(__file__).parents[2] / "pyproject.toml")["project"]
    required = {re.split("[>=;]", text)[0] for text in project["dependencies"]}
    assert set(doctor._REQUIRED.values()) | {"tomli"} == required


def test_a_cache_that_cannot_be_written_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    finding = of(list(doctor._folders()), "cache folder")
    assert not finding.fatal
    assert "POSEPIPE_CACHE" in finding.line()


def test_what_cannot_be_examined_is_a_finding() -> None:
    def broken():
        raise RuntimeError("symbol not found")
        yield

    (finding,) = doctor._safely(broken)
    assert "RuntimeError: symbol not found" in finding.line()
