"""ViTPose: a plain vision transformer over patches, and a light decoder to maps (Xu et al. 2022, arXiv 2204.12484)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from posepipe.models.blocks import IMAGENET, Normalise, Statistics, deconvolutions

__all__ = ["PATCH", "VitPose"]

PATCH = 16


class Attention(nn.Module):
    """Multi-head self-attention: (N,T,C) -> (N,T,C)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Attend from every token to every token."""
        query, key, value = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value)
        result: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return result


class Block(nn.Module):
    """Attention and a two-layer perceptron, each after a layer norm and added to its input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        # transformers' configuration of ViTPose has this tiny epsilon
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-12), nn.LayerNorm(width, eps=1e-12)
        self.attention = Attention(width, heads)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(N,T,C) -> (N,T,C)."""
        x = x + self.attention(self.norm1(x))
        result: Tensor = x + self.fc2(functional.gelu(self.fc1(self.norm2(x))))
        return result


class VitPose(nn.Module):
    """Patches of 16x16 (padding 2), learnt positions, transformer blocks, a decoder to a quarter of the input's size.

    Parameters
    ----------
    keypoints
        Maps to predict.
    input_size
        (height, width) px, multiples of 16; the positions are learnt for it alone.
    width, depth, heads
        Channels, blocks and attention heads: 768, 12, 12 in ViTPose-base.
    simple
        Decoder: ReLU, bilinear enlargement by 4 and a 3x3 convolution, instead of two transposed convolutions
        and a 1x1 convolution ("classic").
    statistics
        Mean and deviation of the pixels that the weights expect.
    """

    def __init__(
        self,
        keypoints: int = 17,
        input_size: tuple[int, int] = (256, 192),
        *,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        simple: bool = False,
        statistics: Statistics = IMAGENET,
    ) -> None:
        super().__init__()
        self.grid = (input_size[0] // PATCH, input_size[1] // PATCH)
        self.normalise = Normalise(statistics)
        self.patches = nn.Conv2d(3, width, PATCH, PATCH, padding=2)
        self.positions = nn.Parameter(torch.zeros(1, self.grid[0] * self.grid[1], width))
        nn.init.trunc_normal_(self.positions, std=0.02)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.simple = simple
        if simple:
            self.final = nn.Conv2d(width, keypoints, 3, padding=1)
        else:
            self.deconv = deconvolutions(width, 2)
            self.final = nn.Conv2d(256, keypoints, 1)
        nn.init.normal_(self.final.weight, std=0.001)
        nn.init.zeros_(cast("Tensor", self.final.bias))

    def forward(self, image: Tensor) -> Tensor:
        """(N,3,H,W) float32 RGB 0..255 of the constructor's size -> maps (N,K,H/4,W/4)."""
        x = self.patches(self.normalise(image)).flatten(2).transpose(1, 2) + self.positions
        for block in self.blocks:
            x = block(x)
        features = self.norm(x).transpose(1, 2).unflatten(2, self.grid)
        if self.simple:
            enlarged = functional.interpolate(features.relu(), scale_factor=4.0, mode="bilinear", align_corners=False)
            maps: Tensor = self.final(enlarged)
        else:
            maps = self.final(self.deconv(features))
        return maps
