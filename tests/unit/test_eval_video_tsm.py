"""The linear model that the forgery network is measured beside: its features, and the rows of the table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("lightning")

from video_tsm import markdown, pooled_features, rows_of

from posepipe.datasets.video_lists import LabelledVideo, VideoList


def test_features_tell_detail_from_blur_and_flicker_from_stillness() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    sharp, smooth = np.repeat(noise[None], 4, 0), np.full((4, 64, 64, 3), 127, np.uint8)
    flicker = smooth * np.array([1, 0, 1, 0], np.uint8)[:, None, None, None]
    means, spreads = {}, {}
    for name, clip in (("sharp", sharp), ("smooth", smooth), ("flicker", flicker)):
        features = pooled_features(clip)
        assert features.shape == (2 * (48 + 4),)
        means[name], spreads[name] = features[:52], features[52:]
    assert (means["sharp"][48:] > means["smooth"][48:] + 3).all()
    assert np.allclose(means["smooth"][:48], 127 / 255)
    assert spreads["sharp"].max() < 1e-6 < 0.2 < spreads["flicker"][:48].min()


def test_a_table_in_markdown() -> None:
    assert markdown(["a", "b"], [[1, "x"]]) == ["| a | b |", "| --- | --- |", "| 1 | x |"]


def test_thresholds_come_from_val() -> None:
    clips = {"a": [0.1, 0.2], "b": [0.8, 0.9], "c": [0.3, 0.4], "d": [0.6, 0.7], "e": [0.55, 0.1], "f": [0.45, 0.9]}
    parts = {
        part: (LabelledVideo(Path(real), 0, real), LabelledVideo(Path(fake), 1, fake))
        for part, (real, fake) in {"train": "ab", "val": "cd", "test": "ef"}.items()
    }
    rows = rows_of("x", VideoList("s", ("real", "fake"), parts), lambda video: np.array(clips[video.path.name]))
    assert rows[0] == ["x", "train", "2", "4", "1.000", "1.000", "0.000", "1.000", "1.000"]
    # By 0.5, amid val's scores: 0.55 is a false alarm and 0.45 missed; of four pairs three are right.
    assert rows[2] == ["x", "test", "2", "4", "0.750", "1.000", "0.500", "0.500", "0.500"]
