"""ActionFormer: actions and their ends in a sequence of features (Zhang et al., ECCV 2022), as AdaTAD configures it.

A pyramid of transformer blocks halves time from level to level; at every step of every level one head scores the
classes and another tells how far back the action began and how far ahead it ends. Features are (N,C,T), masks (N,T)
bool that are True where a step is real.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ActionFormer", "ActionFormerForm", "Found", "Points", "points_of"]

#: layer norms of blocks have torch's epsilon, all others this one
_EPS = 1e-6
_PRIOR = 0.01
_FIRST_RANGE, _NO_END = 4.0, 10000.0


@dataclass(frozen=True)
class ActionFormerForm:
    """Size of an ActionFormer.

    Attributes
    ----------
    inputs
        Channels of the features.
    classes
        Actions to tell apart.
    width, heads
        Channels inside, and attention heads.
    levels
        Levels of the pyramid; level l has a step of 2^l input steps.
    stem
        Transformer blocks before the first halving.
    window
        Steps that a step attends to, itself in the middle; 0 = all.
    drop_path
        Share of samples whose branch of a block is left out in training.
    """

    inputs: int = 384
    classes: int = 20
    width: int = 512
    heads: int = 4
    levels: int = 6
    stem: int = 2
    window: int = 0
    drop_path: float = 0.1


class Points(NamedTuple):
    """Where actions are looked for: (P,) ``position`` and ``stride`` in input steps, (P,2) ``reach`` of their ends."""

    position: Tensor
    stride: Tensor
    reach: Tensor


class Found(NamedTuple):
    """Class scores before the sigmoid (N,P,A), distances back and ahead in strides (N,P,2), and (N,P) real points."""

    logits: Tensor
    offsets: Tensor
    valid: Tensor

    def spans(self, points: Points) -> Tensor:
        """(N,P,2) start and end in input steps."""
        reach = self.offsets * points.stride[:, None]
        return torch.stack([points.position - reach[..., 0], points.position + reach[..., 1]], dim=-1)


def points_of(steps: int, levels: int, device: torch.device | None = None) -> Points:
    """Points of a pyramid over `steps` input steps, finest level first.

    A level answers for actions whose farther end lies in its reach: 0 to 4 steps, 4 to 8, 8 to 16 ..., the last beyond.
    """
    position, stride, reach = [], [], []
    for level in range(levels):
        step = 2**level
        count = -(-steps // step)
        low = _FIRST_RANGE * step / 2 if level else 0.0
        high = _FIRST_RANGE * step if level < levels - 1 else _NO_END
        position.append(torch.arange(count, device=device, dtype=torch.float32) * step)
        stride.append(torch.full((count,), float(step), device=device))
        reach.append(torch.tensor([[low, high]], device=device).expand(count, 2))
    return Points(torch.cat(position), torch.cat(stride), torch.cat(reach))


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of (N,C,T)."""

    def forward(self, x: Tensor) -> Tensor:
        """(N,C,T) -> the same."""
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class ConvNorm(nn.Module):
    """Convolution over three steps, layer norm and ReLU; steps that are not real are zeros before and after."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, width, 3, padding=1, bias=False)
        self.norm = ChannelNorm(width, eps=_EPS)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(N,C,T) and (N,T) -> (N,width,T)."""
        real = mask[:, None].to(x.dtype)
        result: Tensor = functional.relu(self.norm(self.conv(x) * real)) * real
        return result


class ScaledDropPath(nn.Module):
    """A learnt factor a channel, which starts near nothing, and in training the branch left out of some samples."""

    def __init__(self, width: int, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.scale = nn.Parameter(torch.full((1, width, 1), 1e-4))

    def forward(self, x: Tensor) -> Tensor:
        """(N,C,T) -> the same."""
        x = x * self.scale
        if not self.training or self.rate == 0:
            return x
        kept = torch.rand(len(x), 1, 1, device=x.device) >= self.rate
        return x * kept.to(x.dtype) / (1 - self.rate)


class ConvAttention(nn.Module):
    """Attention whose queries, keys and values pass a depthwise convolution first, which may halve time."""

    def __init__(self, width: int, heads: int, stride: int, window: int) -> None:
        super().__init__()
        self.heads, self.stride, self.window = heads, stride, window
        for name in ("query", "key", "value"):
            conv = nn.Conv1d(width, width, 3, stride=stride, padding=1, groups=width, bias=False)
            setattr(self, f"{name}_conv", conv)
            setattr(self, f"{name}_norm", ChannelNorm(width))
            setattr(self, name, nn.Conv1d(width, width, 1))
        self.out = nn.Conv1d(width, width, 1)

    def _part(self, name: str, x: Tensor, real: Tensor) -> Tensor:
        """Queries, keys or values: (N,heads,T,C/heads)."""
        mixed = getattr(self, f"{name}_norm")(getattr(self, f"{name}_conv")(x) * real)
        part: Tensor = getattr(self, name)(mixed)
        return part.reshape(len(x), self.heads, -1, part.shape[2]).transpose(2, 3)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(N,C,T) and the (N,T') mask of the result -> (N,C,T')."""
        real = mask[:, None].to(x.dtype)
        query, key, value = (self._part(name, x, real) for name in ("query", "key", "value"))
        steps = mask.shape[1]
        # A step always sees itself: one without any real step in reach would otherwise be 0 / 0.
        seen = mask[:, None, None] | torch.eye(steps, dtype=torch.bool, device=mask.device)
        if self.window:
            place = torch.arange(steps, device=mask.device)
            seen = seen & ((place[:, None] - place).abs() <= self.window // 2)
        mixed = functional.scaled_dot_product_attention(query, key, value * mask[:, None, :, None], attn_mask=seen)
        result: Tensor = self.out(mixed.transpose(2, 3).flatten(1, 2)) * real
        return result


class Block(nn.Module):
    """Attention and a two-layer perceptron, each after a layer norm and added to its input; may halve time."""

    def __init__(self, form: ActionFormerForm, stride: int) -> None:
        super().__init__()
        width = form.width
        self.norm1, self.norm2 = ChannelNorm(width), ChannelNorm(width)
        self.attention = ConvAttention(width, form.heads, stride, form.window)
        self.fc1, self.fc2 = nn.Conv1d(width, 4 * width, 1), nn.Conv1d(4 * width, width, 1)
        self.path1, self.path2 = (ScaledDropPath(width, form.drop_path) for _ in range(2))
        self.skip = nn.MaxPool1d(3, 2, 1) if stride > 1 else nn.Identity()
        self.stride = stride

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(N,C,T), (N,T) -> the same, of half the length where the stride is 2."""
        after = mask[:, :: self.stride]
        real = after[:, None].to(x.dtype)
        mixed = self.attention(self.norm1(x), after)
        x = self.skip(x) * real + self.path1(mixed)
        dense = self.fc2(functional.gelu(self.fc1(self.norm2(x))))
        return x + self.path2(dense * real), after


class Head(nn.Module):
    """Two convolutions and a last one that predicts; shared by the levels."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.tower = nn.ModuleList(ConvNorm(width, width) for _ in range(2))
        self.last = nn.Conv1d(width, outputs, 3, padding=1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(N,C,T), (N,T) -> (N,T,outputs)."""
        for layer in self.tower:
            x = layer(x, mask)
        result: Tensor = self.last(x).transpose(1, 2)
        return result


class ActionFormer(nn.Module):
    """Projection, pyramid and heads.

    Parameters
    ----------
    form
        Its size.
    """

    def __init__(self, form: ActionFormerForm) -> None:
        super().__init__()
        self.form = form
        self.embed = nn.ModuleList([ConvNorm(form.inputs, form.width), ConvNorm(form.width, form.width)])
        self.stem = nn.ModuleList(Block(form, 1) for _ in range(form.stem))
        self.branch = nn.ModuleList(Block(form, 2) for _ in range(form.levels - 1))
        self.neck = nn.ModuleList(ChannelNorm(form.width, eps=_EPS) for _ in range(form.levels))
        self.classify, self.regress = Head(form.width, form.classes), Head(form.width, 2)
        self.scale = nn.Parameter(torch.ones(form.levels))
        self.apply(_initialise)
        nn.init.constant_(self.classify.last.bias, -math.log((1 - _PRIOR) / _PRIOR))  # type: ignore[arg-type]

    def forward(self, features: Tensor, mask: Tensor) -> Found:
        """Look for actions.

        Parameters
        ----------
        features
            (N,C,T).
        mask
            (N,T) bool, True where a step is real.
        """
        x = features
        for layer in self.embed:
            x = layer(x, mask)
        for block in self.stem:
            x, mask = block(x, mask)
        levels = [(x, mask)]
        for block in self.branch:
            levels.append(block(*levels[-1]))
        logits, offsets = [], []
        for number, (level, real) in enumerate(levels):
            level = self.neck[number](level)
            logits.append(self.classify(level, real))
            offsets.append(functional.relu(self.regress(level, real) * self.scale[number]))
        return Found(torch.cat(logits, 1), torch.cat(offsets, 1), torch.cat([real for _, real in levels], 1))


def _initialise(layer: nn.Module) -> None:
    """Biases start at zero, as in the published code; weights as torch starts them."""
    if isinstance(layer, nn.Conv1d) and layer.bias is not None:
        nn.init.zeros_(layer.bias)
