"""The package as its users meet it."""

import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import posepipe

ROOT = Path(__file__).parents[2]


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_every_public_name_is_there() -> None:
    for name in posepipe.__all__:
        assert getattr(posepipe, name) is not None
    assert dir(posepipe) == posepipe.__all__
    with pytest.raises(AttributeError, match="nonsense"):
        posepipe.nonsense  # noqa: B018


def test_importing_brings_nothing_heavy_along() -> None:
    code = "import sys, posepipe, json; print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    loaded = set(json.loads(python(code)))
    assert not loaded & {"torch", "cv2", "av", "onnxruntime", "lap", "numpy", "ultralytics"}


def test_importing_is_quick() -> None:
    code = "import time; t = time.perf_counter(); import posepipe; print(time.perf_counter() - t)"
    assert min(float(python(code)) for _ in range(3)) < 0.3


def test_importing_changes_nothing() -> None:
    # What numpy and OpenCV do to the process when they are imported is theirs; posepipe must add nothing.
    code = """
import os, logging, random, signal, warnings
import av, cv2, lap, numpy as np, onnxruntime, tqdm
def state():
    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    return (dict(os.environ), os.getcwd(), list(logging.root.handlers), logging.root.level, random.getstate(),
            list(warnings.filters), handlers, cv2.getNumThreads(), np.random.get_state()[1].tolist(),
            np.get_printoptions())
before = state()
import posepipe
[getattr(posepipe, name) for name in posepipe.__all__]
import posepipe.cli, posepipe.doctor, posepipe.pipeline, posepipe.run, posepipe.stages.build, posepipe.render
assert state() == before
print("same")
"""
    assert python(code) == "same\n"


def test_one_top_level_name_is_installed() -> None:
    files = importlib.metadata.files("posepipe") or []
    names = {f.parts[0] for f in files if not f.parts[0].startswith(("..", "__editable__"))}
    names = {n for n in names if not n.endswith(".dist-info")}
    if not names:
        pytest.skip("posepipe is installed in editable mode, which lists no files")
    assert names == {"posepipe"}


def test_the_version_is_one() -> None:
    assert importlib.metadata.version("posepipe") == posepipe.__version__
    assert f"## {posepipe.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_readme_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import numpy as np

    from posepipe.io.video import VideoWriter

    monkeypatch.chdir(tmp_path)
    with VideoWriter(Path("video.mp4"), width=64, height=48) as video:
        for i in range(5):
            video.write(np.full((48, 64, 3), 50 * i, np.uint8), i / 10)
    code = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(code) == 1
    exec(code[0], {})  # noqa: S102 - the README is our own
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["0.000", "0.100", "0.200", "0.300", "0.400"]


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/formats.md"])
def test_links_in_the_documentation_lead_somewhere(page: str) -> None:
    path = ROOT / page
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{page} links to {target}"
