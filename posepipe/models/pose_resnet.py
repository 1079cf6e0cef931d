"""Pose networks on ResNet: SimpleBaseline (transposed convolutions) and FastPose (sub-pixel convolutions).

The trunks are torchvision's, under torchvision's own layer names, so its ImageNet weights and the public pose
checkpoints fit with few renamings.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import cast

import torchvision
from torch import Tensor, nn

from posepipe.models.blocks import ALPHAPOSE, IMAGENET, Normalise, Statistics, deconvolutions
from posepipe.models.pose_files import load_backbone

__all__ = ["FastPose", "SimpleBaseline"]

_NARROW = (18, 34)


def _trunk(layers: int) -> nn.Sequential:
    """ResNet up to stride 32, without pooling and classifier: (N,3,H,W) -> (N,C,H/32,W/32)."""
    network = torchvision.models.get_model(f"resnet{layers}", weights=None)
    parts = OrderedDict((name, part) for name, part in network.named_children() if name not in ("avgpool", "fc"))
    return nn.Sequential(parts)


def _final(inputs: int, keypoints: int, kernel: int) -> nn.Conv2d:
    """The last convolution, to one map a keypoint: weights from N(0, 0.001), bias 0."""
    layer = nn.Conv2d(inputs, keypoints, kernel, padding=kernel // 2)
    nn.init.normal_(layer.weight, std=0.001)
    nn.init.zeros_(cast("Tensor", layer.bias))
    return layer


class SimpleBaseline(nn.Module):
    """ResNet, three transposed convolutions, a 1x1 convolution (Xiao, Wu and Wei 2018, arXiv 1804.06208).

    Parameters
    ----------
    keypoints
        Maps to predict.
    layers
        Of the ResNet: 18, 34, 50, 101 or 152.
    statistics
        Mean and deviation of the pixels that the weights expect.
    backbone_weights
        A file of torchvision's ResNet weights; random where None.

    Raises
    ------
    WeightsError
        The file does not hold such weights.
    """

    def __init__(
        self,
        keypoints: int = 17,
        layers: int = 50,
        *,
        statistics: Statistics = IMAGENET,
        backbone_weights: Path | None = None,
    ) -> None:
        super().__init__()
        self.normalise = Normalise(statistics)
        self.trunk = _trunk(layers)
        self.deconv = deconvolutions(512 if layers in _NARROW else 2048, 3)
        self.final = _final(256, keypoints, 1)
        if backbone_weights is not None:
            load_backbone(self.trunk, backbone_weights)

    def forward(self, image: Tensor) -> Tensor:
        """(N,3,H,W) float32 RGB 0..255, H and W multiples of 32 -> maps (N,K,H/4,W/4)."""
        maps: Tensor = self.final(self.deconv(self.trunk(self.normalise(image))))
        return maps


class ExcitedNorm(nn.BatchNorm2d):
    """Batch norm, then squeeze and excitation (Hu et al. 2018) without reduction: C -> C -> C, biases, sigmoid."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.gate = nn.Sequential(
            nn.Linear(channels, channels), nn.ReLU(inplace=True), nn.Linear(channels, channels), nn.Sigmoid()
        )

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the base class calls it so
        """(N,C,h,w) -> (N,C,h,w)."""
        y = super().forward(input)
        scale: Tensor = self.gate(y.mean((2, 3)))
        return y * scale[:, :, None, None]


class SubPixel(nn.Sequential):
    """Dense upsampling convolution: 3x3 without bias, batch norm, ReLU, then channels into a map twice as large."""

    def __init__(self, inputs: int, outputs: int) -> None:
        parts = OrderedDict(
            conv=nn.Conv2d(inputs, 4 * outputs, 3, padding=1, bias=False),
            bn=nn.BatchNorm2d(4 * outputs),
            relu=nn.ReLU(inplace=True),
            shuffle=nn.PixelShuffle(2),
        )
        super().__init__(parts)


class FastPose(nn.Module):
    """AlphaPose's network: SE-ResNet, pixel shuffle, two sub-pixel convolutions, a 3x3 convolution.

    The squeeze and excitation stands in the first block of each stage, after its last norm and before the sum.

    Parameters
    ----------
    keypoints
        Maps to predict.
    layers
        Of the ResNet: 50, 101 or 152.
    channels
        Of the finest map: 128, or 256 in AlphaPose's larger variant.
    statistics, backbone_weights
        As for `SimpleBaseline`; the gates of the SE-ResNet always start at random.
    """

    def __init__(
        self,
        keypoints: int = 17,
        layers: int = 50,
        *,
        channels: int = 128,
        statistics: Statistics = ALPHAPOSE,
        backbone_weights: Path | None = None,
    ) -> None:
        super().__init__()
        self.normalise = Normalise(statistics)
        self.trunk = _trunk(layers)
        for stage in (self.trunk.layer1, self.trunk.layer2, self.trunk.layer3, self.trunk.layer4):
            first = cast("nn.Sequential", stage)[0]
            first.bn3 = ExcitedNorm(cast("nn.BatchNorm2d", first.bn3).num_features)
        self.shuffle = nn.PixelShuffle(2)
        self.duc1 = SubPixel(512, 256)
        self.duc2 = SubPixel(256, channels)
        self.final = _final(channels, keypoints, 3)
        if backbone_weights is not None:
            load_backbone(self.trunk, backbone_weights, absent=".gate.")

    def forward(self, image: Tensor) -> Tensor:
        """(N,3,H,W) float32 RGB 0..255, H and W multiples of 32 -> maps (N,K,H/4,W/4)."""
        features = self.shuffle(self.trunk(self.normalise(image)))
        maps: Tensor = self.final(self.duc2(self.duc1(features)))
        return maps
