"""The script of the video systems: sections are replaced, not piled up; the linear model is the one that it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("lightning")

import video_systems
from video_two_stream import linear_scores, ridge

from posepipe.datasets.video_lists import LabelledVideo


def test_sections_are_replaced_where_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "R.md"
    path.write_text("# Head\n\nTop.\n")
    for name, told in (("a", "one"), ("b", "two \\1"), ("a", "three")):
        video_systems.write_section(path, name, told)
    text = path.read_text()
    assert text.startswith("# Head\n\nTop.\n\n<!-- a -->\nthree\n")
    assert "one" not in text
    assert text.count("<!-- b -->\ntwo \\1\n") == 1
    assert text.index("three") < text.index("two")
    assert "Made with posepipe" in text


def test_ridge_is_the_plain_solution() -> None:
    rng = np.random.default_rng(0)
    x, other = rng.normal(size=(30, 5)) * (1, 2, 3, 4, 5), rng.normal(size=(7, 5))
    label = rng.integers(0, 3, 30)
    mean, spread = x.mean(0), x.std(0)
    z, target = (x - mean) / spread, np.eye(3)[label]
    weights = np.linalg.solve(z.T @ z + 2.0 * np.eye(5), z.T @ (target - target.mean(0)))
    expected = (other - mean) / spread @ weights + target.mean(0)
    np.testing.assert_allclose(ridge(x, label, other, 3, 2.0), expected, atol=1e-4)


def test_a_linear_model_learns_what_is_linear() -> None:
    rng = np.random.default_rng(1)
    label = np.arange(40) % 4
    x = rng.normal(size=(40, 4)) * 0.1 + np.eye(4)[label]
    videos = [LabelledVideo(Path(f"{i}"), int(k), f"activity {k} trial {i // 4 % 2}") for i, k in enumerate(label)]
    scores = linear_scores(x, videos, np.eye(4), 4)
    assert scores.argmax(1).tolist() == [0, 1, 2, 3]
