"""Every pose network by its name.

All take RGB pictures of people in 0..255 as float32 (N,3,H,W), normalise them inside, and give one map a keypoint,
(N,K,H/4,W/4). What the maps mean is a matter of training: location logits, or gaussians of peak 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from torch import nn

from posepipe.errors import UsageError
from posepipe.models.pose_light import PyramidPose
from posepipe.models.pose_resnet import FastPose, SimpleBaseline
from posepipe.models.pose_vit import VitPose
from posepipe.models.sppe import SppeSmall

__all__ = ["POSE_NETWORKS", "PoseName", "pose_network"]

PoseName = Literal[
    "sppe_small",
    "simplebaseline_r18",
    "simplebaseline_r50",
    "fastpose_r50",
    "fastpose_r101",
    "efficientnet_b0",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "vitpose_base",
    "vitpose_base_simple",
]
#: the names that `pose_network` knows
POSE_NETWORKS: tuple[PoseName, ...] = get_args(PoseName)


def pose_network(
    name: str, keypoints: int = 17, input_size: tuple[int, int] = (256, 192), *, backbone_weights: Path | None = None
) -> nn.Module:
    """A pose network, at random or with the backbone that a file holds.

    Parameters
    ----------
    name
        One of `POSE_NETWORKS`.
    keypoints
        Maps to predict.
    input_size
        (height, width) px, multiples of 32 (16 for ViTPose, whose weights are for one size).
    backbone_weights
        A file of torchvision's weights of the backbone; not for ``sppe_small`` and ViTPose.

    Raises
    ------
    UsageError
        The name is unknown, the size does not fit, or the network takes no backbone weights.
    WeightsError
        The file does not hold the backbone's weights.
    """
    step = 16 if name.startswith("vitpose") else 32
    if min(input_size) < step or input_size[0] % step or input_size[1] % step:
        raise UsageError(f"the input of {name} has the wrong size", got=input_size, expected=f"multiples of {step}")
    if backbone_weights is not None and name.startswith(("vitpose", "sppe")):
        raise UsageError(f"{name} has no backbone of torchvision", got=f"backbone weights {backbone_weights}")
    match name:
        case "sppe_small":
            return SppeSmall(keypoints)
        case "simplebaseline_r18" | "simplebaseline_r50":
            return SimpleBaseline(keypoints, int(name.rpartition("r")[2]), backbone_weights=backbone_weights)
        case "fastpose_r50" | "fastpose_r101":
            return FastPose(keypoints, int(name.rpartition("r")[2]), backbone_weights=backbone_weights)
        case "efficientnet_b0" | "mobilenet_v3_large" | "mobilenet_v3_small":
            return PyramidPose(keypoints, name, backbone_weights=backbone_weights)
        case "vitpose_base" | "vitpose_base_simple":
            return VitPose(keypoints, input_size, simple=name.endswith("simple"))
    raise UsageError(f"unknown pose network {name!r}", expected=f"one of {', '.join(POSE_NETWORKS)}")
