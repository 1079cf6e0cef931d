"""Building blocks shared by the networks: convolutions with "same" padding and without batch norm.

The networks start from weights whose batch norms are already folded into the convolutions, so every block here
is convolution + bias + activation. Maps are (N, C, h, w) float32; use ``channels_last`` memory for speed on a CPU.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ConvAct", "InvertedResidual", "SeparableConv", "upsample2"]


class ConvAct(nn.Module):
    """Convolution with bias and TensorFlow's "SAME" padding, then an optional activation.

    For an even input and stride 2 "SAME" pads one row below and one column to the right, not both sides.

    Parameters
    ----------
    inputs, outputs : int
        Channels in and out.
    kernel : int
        1 or 3.
    stride : int
        1 or 2; with stride 2 the input's height and width must be even.
    depthwise : bool
        One filter a channel (``inputs`` must equal ``outputs``).
    activation : torch.nn.Module or None
        Applied after the convolution.
    bias : bool
        Whether the convolution has a bias.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        *,
        depthwise: bool = False,
        activation: nn.Module | None = None,
        bias: bool = True,
    ) -> None:
        super().__init__()
        groups = inputs if depthwise else 1
        padding = kernel // 2 if stride == 1 else 0
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=bias)
        self.act = activation if activation is not None else nn.Identity()
        self.pad_end = stride == 2 and kernel == 3

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, h, w) -> (N, outputs, h / stride, w / stride)."""
        if self.pad_end:
            x = functional.pad(x, (0, 1, 0, 1))
        result: Tensor = self.act(self.conv(x))
        return result


class InvertedResidual(nn.Module):
    """MobileNetV2's block: expand 1x1, depthwise 3x3, project 1x1 (Sandler et al. 2018).

    The sum with the input is there when the block keeps the shape.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = inputs * expand
        layers: list[nn.Module] = []
        if expand != 1:
            layers.append(ConvAct(inputs, hidden, activation=nn.ReLU6(inplace=True)))
        layers.append(ConvAct(hidden, hidden, 3, stride, depthwise=True, activation=nn.ReLU6(inplace=True)))
        layers.append(ConvAct(hidden, outputs))
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, h, w) -> (N, outputs, h / stride, w / stride)."""
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


class SeparableConv(nn.Module):
    """Depthwise 3x3 without bias, then 1x1 with bias and ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.depthwise = ConvAct(inputs, inputs, 3, depthwise=True, bias=False)
        self.pointwise = ConvAct(inputs, outputs, activation=nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, h, w) -> (N, outputs, h, w)."""
        y: Tensor = self.pointwise(self.depthwise(x))
        return y


def upsample2(x: Tensor) -> Tensor:
    """Bilinear enlargement by 2, half-pixel centres: (N, C, h, w) -> (N, C, 2h, 2w)."""
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
