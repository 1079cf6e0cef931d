"""The linear model that the forgery network is measured beside: its features and its regression."""

from __future__ import annotations

import numpy as np
from video_tsm import logistic_regression, markdown, pooled_features


def test_the_regression_finds_the_border_and_weighs_classes_alike() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(-1, 0.5, (200, 1)), rng.normal(1, 0.5, (20, 1))])
    y = np.repeat([0, 1], [200, 20])
    slope, offset = logistic_regression(x, y)
    assert slope > 1
    assert abs(offset / slope) < 0.3  # the border lies amid the classes, not near the rare one
    p = 1 / (1 + np.exp(-(x[:, 0] * slope + offset)))
    share = np.where(y == 1, 0.5 / (y == 1).mean(), 0.5 / (y == 0).mean())
    np.testing.assert_allclose((share * (p - y) * x[:, 0]).sum() + slope, 0, atol=1e-6)  # the gradient is nought


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
