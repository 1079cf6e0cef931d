"""Two-stream networks: a ResNet on RGB frames, or on stacks of optical flow.

Simonyan and Zisserman 2014, "Two-stream convolutional networks for action recognition in videos", arXiv 1406.2199.

Layers are torchvision's, under torchvision's names; only the first convolution takes another number of channels. Opened
are checkpoints of this project, of torchvision, and of jeffreyyihuang/two-stream-action-recognition, which calls the
first convolution ``conv1_custom`` and the classifier ``fc_custom``. That source lays the first field of a stack behind
the others; its kernels are turned so that they fit stacks in order of time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torchvision
from torch import Tensor, nn

from posepipe.errors import WeightsError
from posepipe.models.blocks import IMAGENET, Normalise
from posepipe.models.pose_files import fill, read_tensors

__all__ = ["DEPTHS", "StreamResNet", "across_modality", "load_imagenet", "load_two_stream"]

#: layers of the ResNets, by the blocks of their third stage and whether these are bottlenecks
DEPTHS = {(2, False): 18, (6, False): 34, (6, True): 50, (23, True): 101, (36, True): 152}
_RGB = 3


class StreamResNet(nn.Module):
    """One stream: a ResNet of torchvision's layout and names.

    Parameters
    ----------
    classes
        Number of classes, A.
    channels
        Of the input: 3 (RGB, normalised with ImageNet's mean and deviation) or 2 a flow field (scaled to 0..1).
    layers
        18, 34, 50, 101 or 152.
    centred
        Flow: no motion is 0 and a deviation of 16 grey levels is 1 to the network, which is what norms expect of a
        training from scratch; in the published networks flow is plainly 0..1.
    """

    def __init__(self, classes: int, channels: int = _RGB, layers: int = 18, *, centred: bool = False) -> None:
        super().__init__()
        self.flow_range = (127.5, 16.0) if centred else (0.0, 255.0)
        self.normalise = Normalise(IMAGENET) if channels == _RGB else None
        network = torchvision.models.get_model(f"resnet{layers}", weights=None, num_classes=classes)
        if channels != _RGB:
            network.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
            nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
        for name, part in network.named_children():
            self.add_module(name, part)

    def features(self, image: Tensor) -> Tensor:
        """(N,channels,H,W) float32, 0..255 -> (N,C) float32, pooled over the picture."""
        offset, scale = self.flow_range
        x = self.normalise(image) if self.normalise is not None else (image - offset) / scale
        for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool"):
            x = self.get_submodule(name)(x)
        return x.flatten(1)

    def forward(self, image: Tensor) -> Tensor:
        """(N,channels,H,W) float32, 0..255 -> logits (N,A)."""
        logits: Tensor = self.get_submodule("fc")(self.features(image))
        return logits


def across_modality(kernel: Tensor, channels: int) -> Tensor:
    """A first convolution for other channels out of one for RGB: its mean over RGB, `channels` times.

    Cross-modality initialisation of Wang et al. 2016 (Temporal Segment Networks, arXiv 1608.00859, section 3.2).

    Parameters
    ----------
    kernel
        (O,3,k,k).
    channels
        Of the other input.

    Returns
    -------
    (O,channels,k,k).
    """
    return kernel.mean(1, keepdim=True).repeat(1, channels, 1, 1)


def load_imagenet(network: StreamResNet, path: Path) -> None:
    """Fill a stream from torchvision's ImageNet weights, all but the classifier; flow gets a mean first convolution.

    Raises
    ------
    WeightsError
        The file cannot be read or is of another ResNet.
    """
    own = network.state_dict()
    tensors = {name: value for name, value in read_tensors(path)[0].items() if not name.startswith("fc.")}
    kernel, channels = tensors.get("conv1.weight"), own["conv1.weight"].shape[1]
    if kernel is not None and kernel.ndim == 4 and kernel.shape[1] == _RGB != channels:
        tensors["conv1.weight"] = across_modality(kernel, channels)
    fill(network, {**tensors, **{name: own[name] for name in ("fc.weight", "fc.bias")}}, path)


def load_two_stream(path: str | Path) -> tuple[StreamResNet, dict[str, Any]]:
    """Open a checkpoint of a stream.

    Parameters
    ----------
    path
        A .ckpt, .pth, .pt or .safetensors file of this project or of the source named above.

    Returns
    -------
    network
        In evaluation mode.
    card
        What the file says of itself (classes, input); empty for others than this project's.

    Raises
    ------
    WeightsError
        The file cannot be read, or is of no such network.
    MissingExtraError
        The package that reads it is not installed.
    """
    path = Path(path)
    tensors, card = read_tensors(path)
    tensors = {_renamed(name): _in_order(name, value) for name, value in tensors.items()}
    centred = dict(card.get("settings", {})).get("centred", False)
    network = StreamResNet(*_form(tensors, path), centred=bool(centred))
    fill(network, tensors, path)
    return network.eval(), card


def _renamed(name: str) -> str:
    name = re.sub(r"^(module|network)\.", "", name)
    return re.sub(r"^(conv1|fc)_custom\.", r"\1.", name)


def _in_order(name: str, value: Tensor) -> Tensor:
    """The source's first convolution of flow with its input in order of time; every other tensor as it is."""
    turned = name.endswith("conv1_custom.weight") and value.ndim == 4 and value.shape[1] != _RGB
    return value.roll(2, 1) if turned else value


def _form(tensors: Mapping[str, Tensor], path: Path) -> tuple[int, int, int]:
    """Classes, channels and layers that tensors tell."""
    blocks = {int(m[1]) for name in tensors if (m := re.match(r"layer3\.(\d+)\.conv1\.weight", name))}
    layers = DEPTHS.get((len(blocks), "layer1.0.conv3.weight" in tensors))
    first, last = tensors.get("conv1.weight"), tensors.get("fc.weight")
    if layers is None or first is None or last is None or first.ndim != 4 or last.ndim != 2:
        raise WeightsError(
            f"{path} is of no two-stream network",
            got=f"tensors {', '.join(sorted(tensors)[:4])} ...",
            expected="a ResNet of torchvision's layout with conv1 (or conv1_custom) and fc (or fc_custom)",
        )
    return int(last.shape[0]), int(first.shape[1]), layers
