"""VideoMAE's vision transformer with the temporal adapters of AdaTAD (Tong et al. 2022; Liu et al., CVPR 2024).

A window of frames is cut into chunks of 16; each goes through the frozen transformer alone. After every block an
adapter lets the steps of the whole window see their neighbours, across the borders of the chunks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from posepipe.models.blocks import IMAGENET, Normalise

__all__ = ["TemporalAdapter", "VideoMae", "VideoMaeForm", "window_features"]

_EPS = 1e-6


@dataclass(frozen=True)
class VideoMaeForm:
    """Size of a VideoMAE encoder; the defaults are ViT-S.

    Attributes
    ----------
    width, depth, heads
        Channels, blocks and attention heads.
    frames, tubelet, patch
        Frames of a chunk, frames and pixels of a patch.
    image
        Side of the pictures that the positions were made for, px.
    adapter_share
        Width of the adapters over that of the blocks; 0 = no adapters.
    drop_path
        Greatest share of chunks whose branch of a block is left out in training; it rises over the blocks.
    """

    width: int = 384
    depth: int = 12
    heads: int = 6
    frames: int = 16
    tubelet: int = 2
    patch: int = 16
    image: int = 224
    adapter_share: float = 0.25
    drop_path: float = 0.1

    @property
    def grid(self) -> tuple[int, int, int]:
        """Patches of a chunk that the positions were made for: steps, rows, columns."""
        side = self.image // self.patch
        return self.frames // self.tubelet, side, side


class TemporalAdapter(nn.Module):
    """A bottleneck with a convolution over the steps of the window; the identity at the start of training."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.depthwise = nn.Conv1d(hidden, hidden, 3, padding=1, groups=hidden)
        self.pointwise = nn.Conv1d(hidden, hidden, 1)
        self.gamma = nn.Parameter(torch.ones(1))
        nn.init.trunc_normal_(self.down.weight, std=0.02)
        nn.init.normal_(self.depthwise.weight, std=math.sqrt(2 / 3))
        nn.init.normal_(self.pointwise.weight, std=math.sqrt(2 / hidden))
        nn.init.zeros_(self.up.weight)
        for layer in (self.down, self.up, self.depthwise, self.pointwise):
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, chunks: int, grid: tuple[int, int, int]) -> Tensor:
        """Tokens (N*chunks, t*h*w, C) of N windows and the (t,h,w) of a chunk -> the same."""
        steps, rows, columns = grid
        hidden = functional.gelu(self.down(x))
        # (N, all steps of the window, places, C) -> (N * places, C, steps)
        lines = hidden.reshape(-1, chunks * steps, rows * columns, hidden.shape[-1]).permute(0, 2, 3, 1)
        mixed = self.pointwise(self.depthwise(lines.flatten(0, 1)))
        mixed = mixed.unflatten(0, (-1, rows * columns)).permute(0, 3, 1, 2).reshape(hidden.shape)
        result: Tensor = x + self.gamma * self.up(hidden + mixed)
        return result


class Attention(nn.Module):
    """Multi-head self-attention; the keys have no bias."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.query_bias, self.value_bias = (nn.Parameter(torch.zeros(width)) for _ in range(2))
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(N,P,C) -> (N,P,C)."""
        bias = torch.cat([self.query_bias, torch.zeros_like(self.query_bias), self.value_bias])
        mixed = functional.linear(x, self.qkv.weight, bias).reshape(*x.shape[:2], 3, self.heads, -1)
        query, key, value = mixed.permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(query, key, value)
        result: Tensor = self.out(seen.transpose(1, 2).flatten(2))
        return result


class Block(nn.Module):
    """Attention and a two-layer perceptron, then the adapter."""

    def __init__(self, form: VideoMaeForm, drop_path: float) -> None:
        super().__init__()
        width = form.width
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=_EPS), nn.LayerNorm(width, eps=_EPS)
        self.attention = Attention(width, form.heads)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        hidden = int(width * form.adapter_share)
        self.adapter = TemporalAdapter(width, hidden) if hidden else None
        self.drop_path = drop_path

    def _thinned(self, branch: Tensor) -> Tensor:
        """Leave the branch out of some chunks."""
        if not self.training or self.drop_path == 0:
            return branch
        kept = torch.rand(len(branch), 1, 1, device=branch.device) >= self.drop_path
        return branch * kept.to(branch.dtype) / (1 - self.drop_path)

    def forward(self, x: Tensor, chunks: int, grid: tuple[int, int, int]) -> Tensor:
        """(N*chunks, P, C) -> the same."""
        x = x + self._thinned(self.attention(self.norm1(x)))
        x = x + self._thinned(self.fc2(functional.gelu(self.fc1(self.norm2(x)))))
        return x if self.adapter is None else self.adapter(x, chunks, grid)


def sine_positions(count: int, width: int) -> Tensor:
    """(count, width) sines and cosines of a position's number, as in VideoMAE."""
    place, channel = np.arange(count)[:, None], np.arange(width)[None]
    angle = place / np.power(10000, 2 * (channel // 2) / width)
    angle[:, 0::2], angle[:, 1::2] = np.sin(angle[:, 0::2]), np.cos(angle[:, 1::2])
    return torch.from_numpy(angle).float()


class VideoMae(nn.Module):
    """The encoder with adapters; everything else in it is frozen, whatever mode the module is in.

    Parameters
    ----------
    form
        Its size.
    checkpointing
        Compute the insides of blocks again on the way back instead of keeping them: less memory, more time.
    """

    positions: Tensor

    def __init__(self, form: VideoMaeForm | None = None, *, checkpointing: bool = False) -> None:
        super().__init__()
        self.form = form = form or VideoMaeForm()
        self.checkpointing = checkpointing
        self.normalise = Normalise(IMAGENET)
        size = (form.tubelet, form.patch, form.patch)
        self.patches = nn.Conv3d(3, form.width, size, stride=size)
        rates = np.linspace(0, form.drop_path, form.depth).tolist()
        self.blocks = nn.ModuleList(Block(form, rate) for rate in rates)
        # Normalises the mean over a chunk before VideoMAE's own classifier; kept because its checkpoints hold it.
        self.pooled_norm = nn.LayerNorm(form.width, eps=_EPS)
        self.register_buffer("positions", sine_positions(math.prod(form.grid), form.width), persistent=False)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(".adapter." in name)

    def adapters(self) -> Iterator[nn.Parameter]:
        """What is trained."""
        return (parameter for name, parameter in self.named_parameters() if ".adapter." in name)

    def _positions(self, grid: tuple[int, int, int]) -> Tensor:
        """Positions for patches of another number of rows and columns, bicubic."""
        if grid == self.form.grid:
            return self.positions
        steps, rows, columns = self.form.grid
        maps = self.positions.reshape(steps, rows, columns, -1).permute(0, 3, 1, 2)
        maps = functional.interpolate(maps, size=grid[1:], mode="bicubic", align_corners=False)
        return maps.permute(0, 2, 3, 1).reshape(-1, self.form.width)

    def forward(self, chunks: Tensor, per_window: int) -> Tensor:
        """Encode.

        Parameters
        ----------
        chunks
            (N*per_window, 3, frames, H, W), normalised, the chunks of a window one after another.
        per_window
            Chunks of a window.

        Returns
        -------
        (N*per_window, C, t, h, w).
        """
        x = self.patches(chunks)
        grid = (x.shape[2], x.shape[3], x.shape[4])
        x = x.flatten(2).transpose(1, 2) + self._positions(grid)
        for block in self.blocks:
            if self.checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, per_window, grid, use_reentrant=False)
            else:
                x = block(x, per_window, grid)
        maps: Tensor = x.transpose(1, 2).reshape(len(x), -1, *grid)
        return maps


def window_features(network: VideoMae, windows: Tensor) -> Tensor:
    """Features of windows of frames, one a frame.

    Parameters
    ----------
    network
        The encoder.
    windows
        (N,T,H,W,3) uint8 RGB, T a multiple of the chunk's frames.

    Returns
    -------
    (N,C,T): the maps' means over the picture, interpolated to the frames.
    """
    count, frames = windows.shape[:2]
    per_window = frames // network.form.frames
    images = network.normalise(windows.flatten(0, 1).permute(0, 3, 1, 2).float())
    chunks = images.unflatten(0, (count * per_window, network.form.frames)).transpose(1, 2)
    maps = network(chunks, per_window).mean((3, 4))
    steps = maps.unflatten(0, (count, per_window)).transpose(1, 2).flatten(2)
    return functional.interpolate(steps, size=frames, mode="linear", align_corners=False)
