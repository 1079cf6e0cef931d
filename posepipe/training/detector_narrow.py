"""First weights of the slim detector: channels of the published one, chosen and refitted.

Of the channels that a layer may keep, those are kept that together tell most of the others (a pivoted Cholesky
factorisation of their covariance, weighted by what the next layer makes of them). Each pointwise convolution that has
lost inputs is fitted anew, by least squares, to what the published one gives (He et al. 2017, arXiv 1707.06168).
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from posepipe.models.detector import IMAGE_MEAN, ConvAct, LevelHead, PersonDetector, Separable

__all__ = ["kept_channels", "refit", "slimmed"]

RIDGE = 1e-3
"""Of the least squares, as a share of the inputs' mean variance."""


def _rows(x: Tensor) -> Tensor:
    """(N,C,h,w) -> (N*h*w,C) float64."""
    return x.movedim(1, -1).flatten(0, -2).double()


def kept_channels(x: Tensor, weight: Tensor, count: int) -> Tensor:
    """Which ``count`` channels of x (N,C,h,w) tell most of all of them, each counting by ``weight`` (C,): sorted."""
    rest = torch.cov(_rows(x).T) * torch.outer(weight.double(), weight.double())
    kept: list[int] = []
    for _ in range(count):
        left = rest.diagonal().clone()
        left[kept] = -1.0
        best = int(left.argmax())
        kept.append(best)
        column = rest[:, best] / rest[best, best].clamp_min(1e-30).sqrt()
        rest = rest - torch.outer(column, column)
    return torch.tensor(sorted(kept))


def refit(layer: nn.Conv2d, x: Tensor, y: Tensor) -> None:
    """Set a 1x1 convolution to the least-squares map of x (N,C,h,w) to y (N,D,h,w), its bias included."""
    a, b = _rows(x), _rows(y)
    mean_a, mean_b = a.mean(0), b.mean(0)
    a, b = a - mean_a, b - mean_b
    gram = a.T @ a
    gram += torch.eye(len(gram)) * RIDGE * gram.diagonal().mean()
    weight = torch.linalg.solve(gram, a.T @ b).T
    layer.weight.copy_(weight[..., None, None])
    cast("Tensor", layer.bias).copy_(mean_b - weight @ mean_a)


def _conv(layer: nn.Module) -> nn.Conv2d:
    return cast("ConvAct", layer).conv


def _copy(new: nn.Conv2d, old: nn.Conv2d, rows: Tensor) -> None:
    """The chosen output channels of a convolution that keeps its inputs."""
    new.weight.copy_(old.weight[rows])
    cast("Tensor", new.bias).copy_(cast("Tensor", old.bias)[rows])


def _reach(block: Separable) -> Tensor:
    """(C,) how much a separable block makes of each of its input channels."""
    depthwise, pointwise = _conv(block[0]).weight.flatten(1), _conv(block[-1]).weight.flatten(1)
    reach: Tensor = torch.linalg.vector_norm(depthwise, dim=1) * torch.linalg.vector_norm(pointwise, dim=0)
    return reach


class _Pair:
    """What a published layer and its slim form make of the same views, and the channels that the slim one keeps."""

    def __init__(self, published: Tensor, slim: Tensor, kept: Tensor) -> None:
        self.published, self.slim, self.kept = published, slim, kept

    def through(self, old: nn.Module, new: nn.Module, reach: Tensor | None) -> _Pair:
        """Set a slim separable block; ``reach`` weighs its outputs where only some are kept (else None)."""
        old, new = cast("Separable", old), cast("Separable", new)
        _copy(_conv(new[0]), _conv(old[0]), self.kept)
        raw = _conv(old[-1])(old[0](self.published))
        wanted = functional.hardswish(raw)
        width = raw.shape[1]
        kept = torch.arange(width) if reach is None else kept_channels(wanted, reach, _conv(new[-1]).out_channels)
        refit(_conv(new[-1]), new[0](self.slim), raw[:, kept])
        return _Pair(wanted, new(self.slim), kept)


def _set_early(old: PersonDetector, new: PersonDetector, image: Tensor) -> None:
    """The layers before stride 4: the published first filters, blurred over the block that is left out."""
    stem, published = new.backbone.stem.conv, old.backbone.stem.conv
    stem.weight.copy_(published.weight)
    mean = torch.tensor(IMAGE_MEAN)[:, None, None] / old.std[0]
    cast("Tensor", stem.bias).copy_(cast("Tensor", published.bias) - (published.weight * mean).sum((1, 2, 3)))
    first, second = cast("Separable", new.backbone.stage4[0]), cast("Separable", old.backbone.stage4[1])
    blur = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0])
    spread = torch.outer(blur, blur) / blur.sum() ** 2
    depthwise = _conv(first[0])
    depthwise.weight.mul_(0.3).add_(spread)
    x = old.backbone.stem((image - old.mean) / old.std)
    wanted = _conv(second[1])(second[0](old.backbone.stage4[0](x)))
    refit(_conv(first[1]), first[0](new.backbone.stem(image / new.std)), wanted)
    new.backbone.stage4[1].load_state_dict(old.backbone.stage4[2].state_dict())


def _set_head(old: LevelHead, new: LevelHead, maps: _Pair) -> None:
    """The head at stride 8."""
    first, second = (cast("Separable", block) for block in old.trunk)
    pair = maps.through(first, new.trunk[0], _reach(second))
    pair = pair.through(second, new.trunk[1], _conv(old.gated).weight.flatten(1).norm(dim=0))
    new.gate.weight.copy_(old.gate.weight[pair.kept][:, pair.kept])
    cast("Tensor", new.gate.bias).copy_(cast("Tensor", old.gate.bias)[pair.kept])

    def gate(head: LevelHead, trunk: Tensor) -> Tensor:
        return trunk * torch.sigmoid(head.gate(functional.adaptive_avg_pool2d(trunk, 1)))

    raw = _conv(old.gated)(gate(old, pair.published))
    wanted = functional.hardswish(raw)
    reach = torch.cat((old.person.weight, old.sides.weight)).flatten(1).norm(dim=0)
    kept = kept_channels(wanted, reach, _conv(new.gated).out_channels)
    refit(_conv(new.gated), gate(new, pair.slim), raw[:, kept])
    gated = new.gated(gate(new, pair.slim))
    refit(new.person, gated, old.person(wanted))
    refit(new.sides, gated, old.sides(wanted))
    _conv(new.quality[0]).weight.copy_(_conv(old.quality[0]).weight[:, pair.kept])
    cast("Tensor", _conv(new.quality[0]).bias).copy_(cast("Tensor", _conv(old.quality[0]).bias))
    new.quality[1].load_state_dict(old.quality[1].state_dict())


def _set_fine(old: PersonDetector, new: PersonDetector, p8: Tensor, u16: Tensor) -> None:
    """Neck and head at stride 8."""
    a, b = old.neck, new.neck
    narrow = cast("nn.Conv2d", b.narrow)
    count = narrow.out_channels
    first, second = (cast("Separable", block) for block in a.up8)
    reach = _reach(first)
    lateral = a.lateral[0](p8)
    side, above = kept_channels(lateral, reach[u16.shape[1] :], count), kept_channels(u16, reach[: u16.shape[1]], count)
    _copy(_conv(b.lateral[0]), _conv(a.lateral[0]), side)
    narrow.weight.copy_(torch.eye(u16.shape[1])[above][..., None, None])
    nn.init.zeros_(cast("Tensor", narrow.bias))

    def joined(raised: Tensor, own: Tensor) -> Tensor:
        return torch.cat((functional.interpolate(raised, scale_factor=2.0, mode="nearest"), own), 1)

    inputs = _Pair(joined(u16, lateral), joined(narrow(u16), b.lateral[0](p8)), torch.cat((above, u16.shape[1] + side)))
    maps = inputs.through(first, b.up8[0], _reach(second))
    maps = maps.through(second, b.up8[1], _reach(a.down16))
    maps.through(a.down16, b.down16, None)
    _set_head(cast("LevelHead", old.heads[0]), cast("LevelHead", new.heads[0]), maps)


@torch.no_grad()
def slimmed(published: PersonDetector, image: Tensor) -> PersonDetector:
    """A slim network that starts near a published one.

    Parameters
    ----------
    published
        The network to imitate.
    image
        (N,3,H,W) float32 RGB in 0..255: a few dozen views to fit on.

    Returns
    -------
    The slim network; layers that both have alike are copied.
    """
    network = PersonDetector(slim=True)
    own = network.state_dict()
    published_state = published.state_dict().items()
    network.load_state_dict(own | {n: v for n, v in published_state if n in own and own[n].shape == v.shape})
    _set_early(published, network, image)
    features = published.backbone.late(published.early(image))
    u16, _ = published.neck.top_down(features)
    _set_fine(published, network, features[0], u16)
    return network
