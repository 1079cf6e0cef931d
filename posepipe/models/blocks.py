"""Building blocks shared by the networks.

``ConvAct``, ``InvertedResidual`` and ``SeparableConv`` are convolution + bias + activation: the small networks start
from weights whose batch norms are folded into the convolutions. Maps are (N, C, h, w) float32; use ``channels_last``
memory for speed on a CPU.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = [
    "ALPHAPOSE",
    "IMAGENET",
    "ConvAct",
    "InvertedResidual",
    "Normalise",
    "SeparableConv",
    "Statistics",
    "deconvolutions",
    "upsample2",
]

#: mean and deviation of RGB in 0..255 that a network was trained with
Statistics = tuple[tuple[float, float, float], tuple[float, float, float]]
#: torchvision, mmpose, ViTPose
IMAGENET: Statistics = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
#: AlphaPose subtracts 0.406, 0.457, 0.480 from RGB in 0..1, in this order, and divides by nothing
ALPHAPOSE: Statistics = ((255 * 0.406, 255 * 0.457, 255 * 0.480), (255.0, 255.0, 255.0))


class Normalise(nn.Module):
    """(image - mean) / deviation a channel; the constants are no part of the state dictionary."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, statistics: Statistics) -> None:
        super().__init__()
        mean, deviation = (torch.tensor(values, dtype=torch.float32).reshape(1, 3, 1, 1) for values in statistics)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("deviation", deviation, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """(N,3,H,W) RGB 0..255 -> the same, normalised."""
        return (image - self.mean) / self.deviation


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


def deconvolutions(inputs: int, count: int, channels: int = 256) -> nn.Sequential:
    """The head of SimpleBaseline (Xiao et al. 2018, section 2): transposed convolutions, each doubling the map.

    Kernel 4, stride 2, padding 1, no bias, weights from N(0, 0.001), batch norm and ReLU after each; the layers are
    numbered 0 (convolution), 1 (norm), 2 (ReLU), 3 and so on, as in the published checkpoints.
    """
    layers: list[nn.Module] = []
    for index in range(count):
        layer = nn.ConvTranspose2d(channels if index else inputs, channels, 4, 2, 1, bias=False)
        nn.init.normal_(layer.weight, std=0.001)
        layers += [layer, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
