"""Small anchor-free person detector: LCNet backbone, CSP-PAN neck, distribution-focal head.

The network is PicoDet-S (Yu et al. 2021, arXiv 2111.00902, the LCNet variant) reduced to one class. Every batch
normalisation is folded into its convolution: the network starts from converted weights (``picodet_weights``) and is
fine-tuned in batches too small for batch statistics, and a convolution with a bias costs a third less time to train.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["STRIDES", "PersonDetector", "PersonScorer", "anchor_points", "cell_scores", "decode_boxes"]

STRIDES = (8, 16, 32, 64)
"""Pixels per cell of the four output levels."""

BINS = 8
"""A box side is a distribution over the distances 0, 1, .. BINS - 1 strides."""

WIDTH = 96
"""Channels of neck and head."""

IMAGE_MEAN = (123.675, 116.28, 103.53)
IMAGE_STD = (58.395, 57.12, 57.375)
"""ImageNet statistics of RGB in 0..255."""

# (kernel, in, out, stride, squeeze-and-excite) of the backbone's depthwise separable blocks, by output stride.
STAGE_4 = ((3, 16, 24, 1, False), (3, 24, 48, 2, False), (3, 48, 48, 1, False))
STAGE_8 = ((3, 48, 96, 2, False), (3, 96, 96, 1, False))
STAGE_16 = ((3, 96, 192, 2, False),) + 5 * ((5, 192, 192, 1, False),)
STAGE_32 = ((5, 192, 384, 2, True), (5, 384, 384, 1, True))


class ConvAct(nn.Sequential):
    """Convolution with bias, padded to keep size / ``stride`` (rounded up), then hard-swish."""

    def __init__(self, kernel: int, inputs: int, outputs: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups),
            nn.Hardswish(inplace=True),
        )

    @property
    def conv(self) -> nn.Conv2d:
        """The convolution."""
        return cast("nn.Conv2d", self[0])


class SqueezeExcite(nn.Module):
    """Scale the channels by a gate that looks at their means (hard sigmoid, a quarter of the channels between)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, channels // 4, 1)
        self.expand = nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N,C,h,w) -> (N,C,h,w)."""
        gate = self.expand(functional.relu(self.reduce(x.mean((2, 3), keepdim=True))))
        return x * functional.hardsigmoid(gate)


class Separable(nn.Sequential):
    """Depthwise convolution, optional squeeze-and-excite, pointwise convolution; hard-swish after both."""

    def __init__(self, kernel: int, inputs: int, outputs: int, stride: int = 1, excite: bool = False) -> None:
        layers: list[nn.Module] = [ConvAct(kernel, inputs, inputs, stride, groups=inputs)]
        if excite:
            layers.append(SqueezeExcite(inputs))
        layers.append(ConvAct(1, inputs, outputs))
        super().__init__(*layers)


class Backbone(nn.Module):
    """LCNet (Cui et al. 2021, arXiv 2109.15099) at width 0.75: image -> features at strides 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvAct(3, 3, 16, 2)
        self.stage4 = nn.Sequential(*(Separable(*block) for block in STAGE_4))
        self.stage8 = nn.Sequential(*(Separable(*block) for block in STAGE_8))
        self.stage16 = nn.Sequential(*(Separable(*block) for block in STAGE_16))
        self.stage32 = nn.Sequential(*(Separable(*block) for block in STAGE_32))

    def early(self, image: Tensor) -> Tensor:
        """(N,3,H,W) normalised -> (N,96,H/8,W/8): edges and textures, which fine-tuning leaves alone."""
        p8: Tensor = self.stage8(self.stage4(self.stem(image)))
        return p8

    def late(self, p8: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N,96,H/8,W/8) -> itself, (N,192,H/16,W/16), (N,384,H/32,W/32)."""
        p16 = self.stage16(p8)
        return p8, p16, self.stage32(p16)


class Merge(nn.Sequential):
    """Two concatenated levels -> one: a pair of 5x5 separable blocks that narrows to ``WIDTH`` channels."""

    def __init__(self) -> None:
        super().__init__(Separable(5, 2 * WIDTH, 2 * WIDTH), Separable(5, 2 * WIDTH, WIDTH))

    def join(self, changed: Tensor, lateral: Tensor) -> Tensor:
        """Merge a resized neighbour (N,96,h,w) with the level's own (N,96,h,w) -> (N,96,h,w)."""
        joined: Tensor = self(torch.cat((changed, lateral), 1))
        return joined


class Neck(nn.Module):
    """Path-aggregation neck (top-down, then bottom-up) over three levels, and a fourth one at stride 64."""

    def __init__(self) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(ConvAct(1, channels, WIDTH) for channels in (96, 192, 384))
        self.top_in = Separable(5, WIDTH, WIDTH, 2)
        self.top_out = Separable(5, WIDTH, WIDTH, 2)
        self.up16, self.up8 = Merge(), Merge()
        self.down16, self.down32 = Separable(5, WIDTH, WIDTH, 2), Separable(5, WIDTH, WIDTH, 2)
        self.merge16, self.merge32 = Merge(), Merge()

    def forward(self, features: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Backbone features -> four maps (N,96,h,w) at strides 8, 16, 32, 64."""
        c8, c16, c32 = (layer(x) for layer, x in zip(self.lateral, features, strict=True))
        u16 = self.up16.join(functional.interpolate(c32, scale_factor=2.0, mode="nearest"), c16)
        p8 = self.up8.join(functional.interpolate(u16, scale_factor=2.0, mode="nearest"), c8)
        p16 = self.merge16.join(self.down16(p8), u16)
        p32 = self.merge32.join(self.down32(p16), c32)
        return p8, p16, p32, self.top_in(c32) + self.top_out(p32)


class LevelHead(nn.Module):
    """Head of one level: class logit, box-quality logit and the four side distributions of every cell."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(Separable(5, WIDTH, WIDTH), Separable(5, WIDTH, WIDTH))
        self.gate = nn.Conv2d(WIDTH, WIDTH, 1)
        self.gated = ConvAct(1, WIDTH, WIDTH)
        self.person = nn.Conv2d(WIDTH, 1, 1)
        self.sides = nn.Conv2d(WIDTH, 4 * BINS, 1)
        self.quality = nn.Sequential(ConvAct(5, WIDTH, 1), nn.Conv2d(1, 1, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N,96,h,w) -> person logit (N,h*w), quality logit (N,h*w), side logits (N,h*w,4,BINS)."""
        trunk = self.trunk(x)
        gated = self.gated(trunk * torch.sigmoid(self.gate(trunk.mean((2, 3), keepdim=True))))
        sides = self.sides(gated).flatten(2).transpose(1, 2).unflatten(-1, (4, BINS))
        return self.person(gated).flatten(1), self.quality(trunk).flatten(1), sides


def anchor_points(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Cell centres (A,2) in px and strides (A,) of all levels for an input of ``height`` x ``width`` px.

    Cells run row by row, level by level, as in the network's outputs; a level has ceil(size / stride) cells a side.
    """
    points, strides = [], []
    for stride in STRIDES:
        rows = torch.arange(-(-height // stride), dtype=torch.float32)
        columns = torch.arange(-(-width // stride), dtype=torch.float32)
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        points.append((torch.stack((x, y), -1).reshape(-1, 2) + 0.5) * stride)
        strides.append(torch.full((len(points[-1]),), float(stride)))
    return torch.cat(points), torch.cat(strides)


def decode_boxes(sides: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """Side distributions -> boxes: the expected distance from the cell's centre, in strides.

    Parameters
    ----------
    sides
        (...,A,4,BINS) logits for left, top, right and bottom.
    points, strides
        (A,2) px and (A,), from ``anchor_points``.

    Returns
    -------
    (...,A,4) boxes xyxy in px.
    """
    bins = torch.arange(BINS, dtype=sides.dtype, device=sides.device)
    distance = (sides.softmax(-1) * bins).sum(-1) * strides[:, None]
    return torch.cat((points - distance[..., :2], points + distance[..., 2:]), -1)


def cell_scores(person: Tensor, quality: Tensor) -> Tensor:
    """Scores in [0,1] of logits of the same shape: the root of person x quality."""
    return torch.sqrt(torch.sigmoid(person) * torch.sigmoid(quality))


class PersonDetector(nn.Module):
    """RGB pictures in 0..255 -> logits of every cell; ``PersonScorer`` turns them into boxes and scores."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.neck = Neck()
        self.heads = nn.ModuleList(LevelHead() for _ in STRIDES)
        self.register_buffer("mean", torch.tensor(IMAGE_MEAN).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGE_STD).reshape(1, 3, 1, 1), persistent=False)

    def early(self, image: Tensor) -> Tensor:
        """Features (N,96,H/8,W/8) of (N,3,H,W) float32 RGB pictures in 0..255; H and W are multiples of 32."""
        return self.backbone.early((image - self.mean) / self.std)

    def finish(self, p8: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Person logits (N,A), quality logits (N,A) and side logits (N,A,4,BINS) from ``early``'s features."""
        maps = self.neck(self.backbone.late(p8))
        person, quality, sides = zip(*(head(x) for head, x in zip(self.heads, maps, strict=True)), strict=True)
        return torch.cat(person, 1), torch.cat(quality, 1), torch.cat(sides, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of all cells: ``finish`` of ``early``."""
        return self.finish(self.early(image))


class PersonScorer(nn.Module):
    """The detector as it is exported: boxes and scores of every cell, at one input size, before suppression.

    Parameters
    ----------
    detector
        The network.
    size
        (height, width) of the input in px, multiples of 32.
    """

    points: Tensor
    strides: Tensor

    def __init__(self, detector: PersonDetector, size: tuple[int, int]) -> None:
        super().__init__()
        self.detector = detector
        points, strides = anchor_points(*size)
        self.register_buffer("points", points, persistent=False)
        self.register_buffer("strides", strides, persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(N,3,H,W) float32 RGB 0..255 -> boxes (N,A,4) xyxy px and score (N,A)."""
        person, quality, sides = self.detector(image)
        return decode_boxes(sides, self.points, self.strides), cell_scores(person, quality)
