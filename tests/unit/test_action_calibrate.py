"""Temperature and threshold of an action network, found on clips that it did not learn from."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

import calibrate
from tiny_actions import tiny_set

from posepipe.datasets.actions_npz import write_action_npz
from posepipe.training.action_card import action_card, build_action
from posepipe.training.action_export import export_action
from posepipe.training.action_recipe import ActionRecipe

NAMES = ("walk", "sit", "unknown")


def honest(count: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, and labels that are drawn by them."""
    rng = np.random.default_rng(0)
    probs = rng.dirichlet((0.6, 0.6, 0.6), count)
    return probs, (rng.random(count)[:, None] > probs.cumsum(1)).sum(1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_temperature_makes_probabilities_honest_again(temperature: float) -> None:
    probs, labels = honest()
    told = calibrate.heated(probs, 1 / temperature)
    assert calibrate.fitted_temperature(told, labels) == pytest.approx(temperature, rel=0.08)


def test_the_threshold_keeps_what_is_told_right() -> None:
    probs, labels = honest()
    threshold = calibrate.fitted_threshold(probs, labels, NAMES)
    right = (probs.argmax(1) == labels) & (labels != NAMES.index("unknown"))
    still = calibrate.answered(probs, NAMES, threshold)
    assert still[right].mean() >= calibrate.KEPT
    assert calibrate.answered(probs, NAMES, threshold + 0.02)[right].mean() < calibrate.KEPT
    assert not still[probs.argmax(1) == NAMES.index("unknown")].any()


def test_an_exported_file_is_measured_by_its_own_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = tiny_set(2, 4)
    write_action_npz(tmp_path / "set.npz", clips)
    recipe = ActionRecipe(network="points", frames=8, size=16, sampling="even")
    card = {**action_card(recipe, clips), "temperature": 1.5, "abstain": 0.2}
    export_action(build_action(card).eval(), card, tmp_path / "net.onnx")
    monkeypatch.setattr("sys.argv", ["calibrate.py", *map(str, (tmp_path / "net.onnx", tmp_path / "set.npz", "test"))])
    assert calibrate.main() == 0
    out = capsys.readouterr().out
    assert "test: temperature 1.500, abstain 0.20" in out
    assert re.search(r"^all +12 ", out, re.MULTILINE)
