"""The cross-attention gate between the streams of PCAN (Li et al. 2024, arXiv 2412.14719).

Frames of one stream ask frames of the other what to strengthen: each channel of each frame is multiplied by one plus a
number from attention over time. The number is unbounded: there is no norm and no sigmoid.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["CrossAttention", "CrossAttentionGate"]

_ATTENTION_DROPOUT = 0.1


class CrossAttention(nn.Module):
    """Multi-head attention of one sequence over another (Vaswani et al. 2017, section 3.2).

    Parameters
    ----------
    channels
        Channels of both sequences; a multiple of `heads`.
    heads
        Attention heads.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, asking: Tensor, asked: Tensor) -> Tensor:
        """(N,T,C) asks (N,S,C) -> (N,T,C)."""
        query, key, value = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, x in ((self.query, asking), (self.key, asked), (self.value, asked))
        )
        dropout = _ATTENTION_DROPOUT if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        result: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return result


class CrossAttentionGate(nn.Module):
    """Gates on both streams, each from attention over the other's frames.

    Every frame becomes one token, the maximum over its cells; the faster pose stream is brought to the frames of the
    RGB stream by a strided convolution and back by a transposed one. The pose tokens ask RGB tokens that have asked
    before.

    Parameters
    ----------
    rgb, pose
        Channels of the streams.
    hidden
        Channels of the tokens; a multiple of `heads`.
    ratio
        Frames of the pose stream for one of the RGB stream.
    heads
        Attention heads.
    """

    def __init__(self, rgb: int, pose: int, hidden: int, *, ratio: int = 4, heads: int = 8) -> None:
        super().__init__()
        step = (ratio, 1, 1)
        self.rgb_in = nn.Conv3d(rgb, hidden, 1)
        self.pose_in = nn.Conv3d(pose, hidden, step, step)
        self.rgb_attention = CrossAttention(hidden, heads)
        self.pose_attention = CrossAttention(hidden, heads)
        self.rgb_out = nn.Conv3d(hidden, rgb, 1)
        self.pose_out = nn.ConvTranspose3d(hidden, pose, step, step)

    def forward(self, rgb: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
        """(N,C,T,h,w) and (N,D,ratio T,h,w) -> the same, gated."""
        rgb_tokens = _tokens(self.rgb_in(rgb))
        pose_tokens = _tokens(self.pose_in(pose))
        rgb_tokens = self.rgb_attention(rgb_tokens, pose_tokens)
        pose_tokens = self.pose_attention(pose_tokens, rgb_tokens)
        rgb_scale = self.rgb_out(rgb_tokens.transpose(1, 2)[..., None, None])
        pose_scale = self.pose_out(pose_tokens.transpose(1, 2)[..., None, None])
        return rgb + rgb * rgb_scale, pose + pose * pose_scale


def _tokens(x: Tensor) -> Tensor:
    """(N,C,T,h,w) -> (N,T,C), the maximum over the cells of each frame."""
    return x.amax((3, 4)).transpose(1, 2)
