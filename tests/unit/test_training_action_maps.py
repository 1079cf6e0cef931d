"""Maps of a batch are the maps of its clips."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from posepipe.datasets.action_skeletons import JHMDB15
from posepipe.training import action_maps
from posepipe.volumes import maps

SIZE, SIGMA = 28, 0.7


def people(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two clips of three people who are partly outside, missing, or on one spot."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(-4, SIZE + 4, (2, 3, 5, 15, 2)).astype(np.float32)
    points[:, 1, :, :4] = points[:, 1, :, :1] + np.float32(0.2)
    score = rng.uniform(0, 1, (2, 3, 5, 15)).astype(np.float32)
    score[rng.random(score.shape) < 0.2] = 0
    score[0, 0, 0, :3] = (5e-5, 2e-4, 1)
    return points, score


@pytest.mark.parametrize("seed", [1, 2])
def test_a_batch_of_keypoint_maps_is_that_of_its_clips(seed: int) -> None:
    points, score = people(seed)
    drawn = action_maps.keypoint_maps(torch.from_numpy(points), torch.from_numpy(score), SIZE, SIGMA).numpy()
    wanted = np.stack([maps.keypoint_maps(*clip, (SIZE, SIZE), SIGMA) for clip in zip(points, score, strict=True)])
    assert drawn.shape == wanted.shape == (2, 15, 5, SIZE, SIZE)
    assert (wanted > 0).mean() > 0.01
    np.testing.assert_allclose(drawn, wanted, atol=2e-5)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_batch_of_limb_maps_is_that_of_its_clips(seed: int) -> None:
    points, score = people(seed)
    edges = JHMDB15.edge_index
    given = torch.from_numpy(points), torch.from_numpy(score), torch.from_numpy(edges)
    drawn = action_maps.limb_maps(*given, SIZE, SIGMA).numpy()
    clips = zip(points, score, strict=True)
    wanted = np.stack([maps.limb_maps(*clip, edges, (SIZE, SIZE), SIGMA) for clip in clips])
    assert drawn.shape == wanted.shape
    np.testing.assert_allclose(drawn, wanted, atol=2e-5)


def test_nobody_draws_nothing() -> None:
    points, score = torch.zeros(2, 0, 4, 15, 2), torch.zeros(2, 0, 4, 15)
    assert not action_maps.keypoint_maps(points, score, SIZE, SIGMA).any()
    assert not action_maps.limb_maps(points, score, torch.from_numpy(JHMDB15.edge_index), SIZE, SIGMA).any()
