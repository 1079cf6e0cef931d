"""Small anchor-free person detector: LCNet backbone, CSP-PAN neck, distribution-focal head.

The network is PicoDet-S (Yu et al. 2021, arXiv 2111.00902, the LCNet variant) reduced to one class; the slim form
has less of the layers at strides 2 to 8, where most of the time goes. Every batch normalisation is
folded into its convolution: the network starts from converted weights (``picodet_weights``) and is fine-tuned in
batches too small for batch statistics, and a convolution with a bias costs a third less time to train.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["STRIDES", "PersonDetector", "PersonScorer", "anchor_points", "cell_scores", "decode_boxes"]

STRIDES = (8, 16, 32, 64)
"""Pixels per cell of the four output levels."""

MOST_LOGIT = 80.0
"""Side logits are held within this in the exported network, where e^x stays finite."""

BINS = 8
"""A box side is a distribution over the distances 0, 1, .. BINS - 1 strides."""

WIDTH = 96
"""Channels of neck and head."""

SLIM_WIDTH = 48
"""Channels of neck and head at stride 8 in the slim network."""

IMAGE_MEAN = (123.675, 116.28, 103.53)
IMAGE_STD = (58.395, 57.12, 57.375)
"""ImageNet statistics of RGB in 0..255."""

# (kernel, in, out, stride, squeeze-and-excite) of the backbone's depthwise separable blocks, by output stride.
STAGE_4 = ((3, 16, 24, 1, False), (3, 24, 48, 2, False), (3, 48, 48, 1, False))
SLIM_STAGE_4 = ((5, 16, 48, 2, False), (3, 48, 48, 1, False))
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
        gate = self.expand(functional.relu(self.reduce(functional.adaptive_avg_pool2d(x, 1))))
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
    """LCNet (Cui et al. 2021, arXiv 2109.15099) at width 0.75: image -> features at strides 8, 16 and 32.

    The slim one sees the picture as far, but has one block where the published one has two before stride 4.
    """

    def __init__(self, slim: bool = False) -> None:
        super().__init__()
        self.stem = ConvAct(3, 3, 16, 2)
        self.stage4 = nn.Sequential(*(Separable(*block) for block in (SLIM_STAGE_4 if slim else STAGE_4)))
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
    """Two concatenated levels of C channels -> one of C: a pair of 5x5 separable blocks."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__(Separable(5, 2 * width, 2 * width), Separable(5, 2 * width, width))

    def join(self, changed: Tensor, lateral: Tensor) -> Tensor:
        """Merge a resized neighbour (N,C,h,w) with the level's own (N,C,h,w) -> (N,C,h,w)."""
        joined: Tensor = self(torch.cat((changed, lateral), 1))
        return joined


class Neck(nn.Module):
    """Path-aggregation neck (top-down, then bottom-up) over three levels, and a fourth one at stride 64.

    Parameters
    ----------
    fine
        Channels at stride 8; fewer than ``WIDTH`` add a layer that narrows what comes from stride 16.
    """

    def __init__(self, fine: int = WIDTH) -> None:
        super().__init__()
        widths = (fine, WIDTH, WIDTH)
        self.lateral = nn.ModuleList(ConvAct(1, *pair) for pair in zip((96, 192, 384), widths, strict=True))
        self.narrow = nn.Conv2d(WIDTH, fine, 1) if fine < WIDTH else nn.Identity()
        self.top_in = Separable(5, WIDTH, WIDTH, 2)
        self.top_out = Separable(5, WIDTH, WIDTH, 2)
        self.up16, self.up8 = Merge(), Merge(fine)
        self.down16, self.down32 = Separable(5, fine, WIDTH, 2), Separable(5, WIDTH, WIDTH, 2)
        self.merge16, self.merge32 = Merge(), Merge()

    def top_down(self, features: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Backbone features -> what goes down to stride 8 (N,96,H/16,W/16), and the lateral map at stride 32."""
        c16, c32 = self.lateral[1](features[1]), self.lateral[2](features[2])
        return self.up16.join(functional.interpolate(c32, scale_factor=2.0, mode="nearest"), c16), c32

    def finest(self, feature: Tensor, u16: Tensor) -> Tensor:
        """Backbone feature at stride 8 and what comes down to it -> the map (N,fine,H/8,W/8)."""
        above = functional.interpolate(self.narrow(u16), scale_factor=2.0, mode="nearest")
        return self.up8.join(above, self.lateral[0](feature))

    def forward(self, features: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Backbone features -> four maps at strides 8 (N,fine,h,w), 16, 32 and 64 (N,96,h,w)."""
        u16, c32 = self.top_down(features)
        return self.bottom_up(self.finest(features[0], u16), u16, c32)

    def bottom_up(self, p8: Tensor, u16: Tensor, c32: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The finest map and ``top_down``'s -> all four maps."""
        p16 = self.merge16.join(self.down16(p8), u16)
        p32 = self.merge32.join(self.down32(p16), c32)
        return p8, p16, p32, self.top_in(c32) + self.top_out(p32)


class LevelHead(nn.Module):
    """Head of one level of C channels: class logit, box-quality logit and the four side distributions of every cell."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.trunk = nn.Sequential(Separable(5, width, width), Separable(5, width, width))
        self.gate = nn.Conv2d(width, width, 1)
        self.gated = ConvAct(1, width, width)
        self.person = nn.Conv2d(width, 1, 1)
        self.sides = nn.Conv2d(width, 4 * BINS, 1)
        self.quality = nn.Sequential(ConvAct(5, width, 1), nn.Conv2d(1, 1, 1))

    def maps(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N,C,h,w) -> person logit (N,1,h,w), quality logit (N,1,h,w), side logits (N,4*BINS,h,w), side by side."""
        trunk = self.trunk(x)
        gated = self.gated(trunk * torch.sigmoid(self.gate(functional.adaptive_avg_pool2d(trunk, 1))))
        return self.person(gated), self.quality(trunk), self.sides(gated)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N,C,h,w) -> person logit (N,h*w), quality logit (N,h*w), side logits (N,h*w,4,BINS)."""
        person, quality, sides = self.maps(x)
        return person.flatten(1), quality.flatten(1), torch.unflatten(sides.flatten(2).transpose(1, 2), -1, (4, BINS))


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
    """RGB pictures in 0..255 -> logits of every cell; ``PersonScorer`` turns them into boxes and scores.

    Parameters
    ----------
    slim
        Fewer channels and layers at strides 2 to 8; else as published and shipped.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, slim: bool = False) -> None:
        super().__init__()
        self.slim = slim
        fine = SLIM_WIDTH if slim else WIDTH
        self.backbone = Backbone(slim)
        self.neck = Neck(fine)
        self.heads = nn.ModuleList(LevelHead(width) for width in (fine, WIDTH, WIDTH, WIDTH))
        # The slim network has the mean in the bias of its first convolution, so around the picture it sees black.
        mean = torch.zeros(3) if slim else torch.tensor(IMAGE_MEAN)
        self.register_buffer("mean", mean.reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGE_STD).reshape(1, 3, 1, 1), persistent=False)

    def early(self, image: Tensor) -> Tensor:
        """Features (N,96,H/8,W/8) of (N,3,H,W) float32 RGB pictures in 0..255; H and W are multiples of 32."""
        return self.backbone.early((image - self.mean) / self.std)

    def finish(self, p8: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Person logits (N,A), quality logits (N,A) and side logits (N,A,4,BINS) from ``early``'s features."""
        return self.answers(self.neck(self.backbone.late(p8)))

    def answers(self, maps: tuple[Tensor, Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """The neck's four maps -> logits as in ``finish``."""
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

    centres: Tensor
    strides: Tensor
    sums: Tensor

    def __init__(self, detector: PersonDetector, size: tuple[int, int]) -> None:
        super().__init__()
        self.detector = detector
        points, strides = anchor_points(*size)
        self.cells = tuple(math.prod(-(-side // stride) for side in size) for stride in STRIDES)
        self.register_buffer("centres", points.repeat(1, 2).T.contiguous(), persistent=False)
        self.register_buffer("strides", strides, persistent=False)
        # Rows 0-3: the sum of exponentials by distance, towards the left and the top negative; rows 4-7: their sum.
        signs = torch.diag(torch.tensor([-1.0, -1.0, 1.0, 1.0]))
        means = torch.kron(signs, torch.arange(BINS, dtype=torch.float32)[None])
        sums = torch.cat((means, torch.kron(torch.eye(4), torch.ones(1, BINS))))
        self.register_buffer("sums", sums, persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(N,3,H,W) float32 RGB 0..255 -> boxes (N,A,4) xyxy px and score (N,A).

        The same as ``decode_boxes`` and ``cell_scores`` in the order of operations that ONNX Runtime runs fastest: the
        softmax over eight bins and its mean are one matrix product of exponentials.
        """
        detector = self.detector
        levels = detector.neck(detector.backbone.late(detector.early(image)))
        maps = [cast("LevelHead", head).maps(x) for head, x in zip(detector.heads, levels, strict=True)]
        person, quality, sides = (
            # Sizes as numbers, not as questions to the graph.
            torch.cat([part.reshape(-1, wide, cells) for part, cells in zip(parts, self.cells, strict=True)], 2)
            for parts, wide in zip(zip(*maps, strict=True), (1, 1, 4 * BINS), strict=True)
        )
        sums = torch.matmul(self.sums, sides.clamp(-MOST_LOGIT, MOST_LOGIT).exp())
        edges = self.centres + sums[:, :4] / sums[:, 4:] * self.strides
        return edges.transpose(1, 2), cell_scores(person[:, 0], quality[:, 0])
