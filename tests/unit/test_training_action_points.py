"""Numbers of keypoints: what they are of a walker, and what does not change as the person does."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from posepipe.datasets.action_skeletons import JHMDB15
from posepipe.models.pcan import Pcan
from posepipe.models.rgbpose3d import POINTS_PATHWAY
from posepipe.training.action_points import point_channels, point_features

EDGES = torch.from_numpy(JHMDB15.edge_index.copy())
K, E = 15, 14


def parts(features):
    """The parts of (N,C,T,1,1) in their order."""
    sizes = [2 * K, 2 * K, 2 * K, K, 2 * E, K * (K - 1) // 2, 2]
    names = ("places", "fast", "slow", "score", "limbs", "apart", "middle")
    return dict(zip(names, torch.split(features[..., 0, 0], sizes, 1), strict=True))


def clip(people: int = 1):
    torch.manual_seed(0)
    body = torch.rand(2, people, 1, K, 2) * 20 + 10
    return body.expand(-1, -1, 8, -1, -1).clone(), torch.ones(2, people, 8, K)


def test_who_walks_is_the_same_body_elsewhere() -> None:
    points, score = clip()
    walked = points + torch.arange(8.0).view(1, 1, 8, 1, 1) * torch.tensor([2.0, 0.0])
    still, moving = (parts(point_features(p, score, EDGES, 40)) for p in (points, walked))
    for name in ("places", "limbs", "apart", "score"):
        torch.testing.assert_close(still[name], moving[name], atol=1e-5, rtol=0)
    assert not still["fast"].any()
    # four times (spread) four times (of a frame) two of forty cells
    torch.testing.assert_close(moving["fast"][:, ::2, :-1], torch.full((2, K, 7), 4 * 4 * 2 / 40))
    assert not moving["fast"][..., -1].any()
    torch.testing.assert_close(moving["slow"][:, ::2, 0], torch.full((2, K), 4 * 4 * 2 / 40))


def test_missing_keypoints_say_nothing() -> None:
    points, score = clip()
    score[:, :, :, 3] = 0
    elsewhere = points.clone()
    elsewhere[:, :, :, 3] = 1000
    one, other = (point_features(p, score, EDGES, 40) for p in (points, elsewhere))
    torch.testing.assert_close(one, other)
    assert not parts(one)["places"][:, 6:8].any()


def test_the_network_takes_them_and_nobody() -> None:
    channels = point_channels(K, E)
    network = Pcan(14, channels, rgb=None, pose=POINTS_PATHWAY).eval()
    assert sum(p.numel() for p in network.parameters()) < 1_000_000
    for people in (0, 1, 2):
        features = point_features(*clip(people), EDGES, 40)
        assert features.shape == (2, channels, 8, 1, 1)
        assert network(pose=features)["pose"].fine.shape == (2, 14)
