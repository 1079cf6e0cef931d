"""Single-person pose estimation: an image crop in, one location posterior a keypoint out.

`SppeSmall` is MobileNetV2 with a thin feature pyramid up to stride 4 (the layout of MoveNet Lightning's keypoint
branch, so its published weights are a start), with more blocks at low resolution and wider pyramid levels.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from posepipe.models.blocks import ConvAct, InvertedResidual, SeparableConv, upsample2

__all__ = ["BLOCKS", "MOBILENET_V2", "PosteriorExport", "SppeSmall", "multiply_adds"]

#: (expansion, channels, blocks, stride of the first block) of MobileNetV2, width 1.0
MOBILENET_V2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
#: blocks of each stage of MobileNetV2 here: more where a block costs least, at stride 16
BLOCKS = (1, 2, 3, 6, 6, 4, 1)
# Stages of the trunk whose outputs feed the pyramid, with the top: stride 4, 8, 16.
_TAP_STAGES = (1, 2, 3)
_TAP_CHANNELS = (24, 32, 64)


class SppeSmall(nn.Module):
    """MobileNetV2 + feature pyramid + keypoint head.

    Parameters
    ----------
    keypoints : int
        Maps to predict.
    widths : tuple of int
        Channels of the pyramid at stride 16, 8 and 4.
    head : int
        Hidden channels of the head.
    blocks : tuple of int
        Blocks of each of the trunk's seven stages.

    Attributes
    ----------
    blocks : tuple of int
        As given.
    taps : tuple of int
        Layers of the trunk whose outputs feed the pyramid, beside the last.
    """

    def __init__(
        self,
        keypoints: int = 17,
        widths: tuple[int, int, int] = (128, 128, 96),
        head: int = 128,
        blocks: tuple[int, ...] = BLOCKS,
    ) -> None:
        super().__init__()
        trunk: list[nn.Module] = [ConvAct(3, 32, 3, 2, activation=nn.ReLU6(inplace=True))]
        channels = 32
        taps = []
        for (stage, (expand, outputs, _, stride)), count in zip(enumerate(MOBILENET_V2), blocks, strict=True):
            for index in range(count):
                trunk.append(InvertedResidual(channels, outputs, stride if index == 0 else 1, expand))
                channels = outputs
            if stage in _TAP_STAGES:
                taps.append(len(trunk) - 1)
        self.blocks, self.taps = blocks, tuple(taps)
        trunk.append(ConvAct(channels, 1280, activation=nn.ReLU6(inplace=True)))
        self.trunk = nn.ModuleList(trunk)
        self.top = ConvAct(1280, widths[0])
        # Coarse to fine: the lateral of stride 16, 8, 4, and the convolution after each sum.
        self.laterals = nn.ModuleList(ConvAct(c, w) for c, w in zip(reversed(_TAP_CHANNELS), widths, strict=True))
        steps = zip(widths, (*widths[1:], widths[-1]), strict=True)
        self.smooth = nn.ModuleList(SeparableConv(inputs, outputs) for inputs, outputs in steps)
        self.hidden = SeparableConv(widths[-1], head)
        self.logits = ConvAct(head, keypoints)
        self.frozen_layers = 0

    def freeze(self, layers: int) -> None:
        """Keep the first `layers` of the trunk as they are: no gradients, no memory for them."""
        self.frozen_layers = layers
        for index, module in enumerate(self.trunk):
            module.requires_grad_(index >= layers)

    def forward(self, image: Tensor) -> Tensor:
        """Predict logits.

        Parameters
        ----------
        image : Tensor, float32, (N, 3, H, W)
            RGB in 0..255; H and W multiples of 32.

        Returns
        -------
        Tensor, float32, (N, K, H/4, W/4)
            Logits; a softmax over the positions of a map is the posterior of that keypoint's location.
        """
        if self.frozen_layers:
            with torch.no_grad():
                taps = self.encode(image / 127.5 - 1.0, 0, self.frozen_layers)
        else:
            taps = self.encode(image / 127.5 - 1.0, 0, 1)
        return self.finish(taps)

    def encode(self, x: Tensor, first: int, last: int) -> list[Tensor]:
        """Run the trunk's layers ``first..last - 1``: the outputs that the pyramid needs, then the last output."""
        taps: list[Tensor] = []
        for index in range(first, last):
            x = self.trunk[index](x)
            if index in self.taps and index != last - 1:
                taps.append(x)
        return [*taps, x]

    def finish(self, begun: list[Tensor]) -> Tensor:
        """Logits from what `encode` gave for the first `frozen_layers` (at least 1) layers."""
        first = max(1, self.frozen_layers)
        kept = begun if first - 1 in self.taps else begun[:-1]
        *taps, top = [*kept, *self.encode(begun[-1], first, len(self.trunk))]
        y: Tensor = self.top(top)
        for lateral, smooth, tap in zip(self.laterals, self.smooth, reversed(taps), strict=True):
            y = smooth(upsample2(y) + lateral(tap))
        logits: Tensor = self.logits(self.hidden(y))
        return logits


class PosteriorExport(nn.Module):
    """A pose network with the softmax over positions: what is exported for inference."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """Posteriors, float32 (N, K, h, w); every map sums to 1."""
        logits: Tensor = self.network(image)
        return logits.flatten(2).softmax(-1).view_as(logits)


def multiply_adds(network: nn.Module, height: int, width: int) -> int:
    """Multiply-adds of convolutions, matrix products and attention for one (3, height, width) image.

    Half of what torch calls floating point operations, counted on a copy on the device ``meta``, where nothing is
    computed: on a CPU torch leaves attention out.
    """
    shadow = copy.deepcopy(network).to("meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        shadow(torch.zeros(1, 3, height, width, device="meta"))
    return int(counter.get_total_flops()) // 2
