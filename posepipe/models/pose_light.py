"""Light pose networks: EfficientNet-B0 and MobileNetV3 (torchvision's) under a thin feature pyramid."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import cast

import torchvision
from torch import Tensor, nn

from posepipe.models.blocks import IMAGENET, ConvAct, Normalise, SeparableConv, Statistics, upsample2
from posepipe.models.pose_files import load_backbone

__all__ = ["TAPS", "PyramidPose"]

#: torchvision's name of a trunk -> (layer, channels) of its outputs at stride 4, 8, 16 and 32
TAPS: Mapping[str, tuple[tuple[int, int], ...]] = MappingProxyType(
    {
        "efficientnet_b0": ((2, 24), (3, 40), (5, 112), (8, 1280)),
        "mobilenet_v3_large": ((3, 24), (6, 40), (12, 112), (16, 960)),
        "mobilenet_v3_small": ((1, 16), (3, 24), (8, 48), (12, 576)),
    }
)


class PyramidPose(nn.Module):
    """A trunk of torchvision and the feature pyramid of the project's small network.

    From stride 32 up to 4 each level is enlarged by two, added to the trunk's output of that stride through a 1x1
    convolution, and smoothed by a separable convolution; three separable layers cost a tenth of transposed ones.

    Parameters
    ----------
    keypoints
        Maps to predict.
    backbone
        A key of `TAPS`.
    widths
        Channels of the pyramid at stride 16, 8 and 4.
    head
        Hidden channels of the head.
    statistics, backbone_weights
        As for `posepipe.models.pose_resnet.SimpleBaseline`.
    """

    def __init__(
        self,
        keypoints: int = 17,
        backbone: str = "mobilenet_v3_large",
        *,
        widths: tuple[int, int, int] = (96, 64, 48),
        head: int = 128,
        statistics: Statistics = IMAGENET,
        backbone_weights: Path | None = None,
    ) -> None:
        super().__init__()
        taps = TAPS[backbone]
        self.normalise = Normalise(statistics)
        self.trunk = cast("nn.Sequential", torchvision.models.get_model(backbone, weights=None).features)
        self._taps = tuple(layer for layer, _ in taps)
        self.top = ConvAct(taps[-1][1], widths[0])
        self.laterals = nn.ModuleList(
            ConvAct(channels, width) for (_, channels), width in zip(taps[-2::-1], widths, strict=True)
        )
        steps = zip(widths, (*widths[1:], widths[-1]), strict=True)
        self.smooth = nn.ModuleList(SeparableConv(inputs, outputs) for inputs, outputs in steps)
        self.hidden = SeparableConv(widths[-1], head)
        self.final = ConvAct(head, keypoints)
        if backbone_weights is not None:
            load_backbone(self.trunk, backbone_weights, prefix="features.")

    def forward(self, image: Tensor) -> Tensor:
        """(N,3,H,W) float32 RGB 0..255, H and W multiples of 32 -> maps (N,K,H/4,W/4)."""
        x = self.normalise(image)
        taps: list[Tensor] = []
        for index, layer in enumerate(self.trunk):
            x = layer(x)
            if index in self._taps:
                taps.append(x)
        y: Tensor = self.top(taps.pop())
        for lateral, smooth in zip(self.laterals, self.smooth, strict=True):
            y = smooth(upsample2(y) + lateral(taps.pop()))
        maps: Tensor = self.final(self.hidden(y))
        return maps
