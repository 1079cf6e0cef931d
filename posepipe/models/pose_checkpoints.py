"""Opening checkpoints of pose networks, this project's and the public ones, by what their tensors are called.

==============================  ============================================================
AlphaPose FastPose              ``preact.*``, ``duc1.*``, ``duc2.*``, ``conv_out.*``
AlphaPose SimplePose            ``preact.*``, ``deconv_layers.*``, ``final_layer.*``
mmpose SimpleBaseline           ``backbone.*``, ``head.*`` (0.x: ``keypoint_head.*``)
transformers' ViTPose           ``backbone.embeddings.*``, ``backbone.encoder.*``, ``head.*``
this project                    ``network.*`` in checkpoints of a training and in ONNX files; plain in .safetensors
==============================  ============================================================

Files are read by :mod:`posepipe.models.pose_files`: nothing in them is run.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from posepipe.errors import WeightsError
from posepipe.models.blocks import ALPHAPOSE, IMAGENET, Normalise, Statistics
from posepipe.models.pose_files import fill, read_tensors
from posepipe.models.pose_light import TAPS, PyramidPose
from posepipe.models.pose_resnet import FastPose, SimpleBaseline
from posepipe.models.pose_vit import PATCH, VitPose
from posepipe.models.sppe import MOBILENET_V2, SppeSmall
from posepipe.skeleton import COCO17

__all__ = ["load_pose_checkpoint", "pose_card"]

# (blocks of the third stage, whether its blocks are bottlenecks) -> layers of the ResNet
_RESNETS = {(2, False): 18, (6, False): 34, (6, True): 50, (23, True): 101, (36, True): 152}
# channels -> name and attention heads of the published ViTPose sizes
_VITS = {384: "small", 768: "base", 1024: "large", 1280: "huge"}
_HEADS = {384: 12, 768: 12, 1024: 16, 1280: 16}
# height and width that convolutional networks are taken to be for
_SIZE = (256, 192)

_ALPHAPOSE = (
    (r"^preact\.(.*)\.se\.fc\.", r"trunk.\1.bn3.gate."),
    (r"^preact\.", "trunk."),
    (r"^conv_out\.", "final."),
    (r"^deconv_layers\.", "deconv."),
    (r"^final_layer\.", "final."),
)
_MMPOSE = (
    (r"^(keypoint_)?head\.deconv_layers\.", "deconv."),
    (r"^(keypoint_)?head\.final_layer\.", "final."),
    (r"^backbone\.", "trunk."),
)
_TRANSFORMERS = (
    (r"^backbone\.embeddings\.patch_embeddings\.projection\.", "patches."),
    (r"^backbone\.layernorm\.", "norm."),
    (r"^backbone\.encoder\.layer\.(\d+)\.", r"blocks.\1."),
    (r"\.attention\.attention\.(query|key|value)\.", r".attention.\1."),
    (r"\.attention\.output\.dense\.", ".attention.out."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.mlp\.(fc[12])\.", r".\1."),
    (r"^head\.deconv1\.", "deconv.0."),
    (r"^head\.batchnorm1\.", "deconv.1."),
    (r"^head\.deconv2\.", "deconv.3."),
    (r"^head\.batchnorm2\.", "deconv.4."),
    (r"^head\.conv\.", "final."),
)
_POSITIONS = "backbone.embeddings.position_embeddings"


def load_pose_checkpoint(path: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """Open a checkpoint of a pose network, whichever of the known forms it has.

    Parameters
    ----------
    path
        A .pth, .pt, .ckpt or .safetensors file, or an .onnx file that this project exported.

    Returns
    -------
    network
        In evaluation mode; takes RGB in 0..255 and gives maps, as every network of
        :mod:`posepipe.models.pose_networks`.
    card
        How crops are cut and maps are read; see `pose_card`. A card in the file goes before what its form implies.

    Raises
    ------
    WeightsError
        The file cannot be read, asks for code to be run, is of no known form, or tensors are missing, left over or of
        the wrong shape.
    MissingExtraError
        The package that reads it is not installed.
    """
    path = Path(path)
    tensors, written = read_tensors(path)
    for prefix in ("module.", "network."):
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name[len(prefix) :]: value for name, value in tensors.items()}
    tensors, statistics, reading = _renamed(path, tensors)
    statistics = statistics or _statistics(path, written)
    name, network, size = _network(path, tensors, statistics)
    fill(network, tensors, path)
    if reading is None:
        reading = {"decode": "posterior" if name == "sppe_small" else "dark", "cells": "centre"}
    keypoints = _last(tensors).shape[0]
    card = pose_card(name, keypoints, size, **reading) | {"name": path.stem, "version": ""}
    normalise = getattr(network, "normalise", None)
    if isinstance(normalise, Normalise):
        card |= {"mean": normalise.mean.flatten().tolist(), "deviation": normalise.deviation.flatten().tolist()}
    return network.eval(), card | written


def _statistics(path: Path, card: Mapping[str, Any]) -> Statistics | None:
    """Mean and deviation of the pixels on a card, or None; raises `WeightsError` for what is not three numbers."""
    if "mean" not in card:
        return None
    mean, deviation = (_three(path, card, key) for key in ("mean", "deviation"))
    if min(deviation) <= 0:
        raise WeightsError(f"the card of {path} has a deviation of 0")
    return mean, deviation


def _three(path: Path, card: Mapping[str, Any], key: str) -> tuple[float, float, float]:
    values = card.get(key)
    if not isinstance(values, list) or len(values) != 3 or not all(type(v) in (int, float) for v in values):
        raise WeightsError(f"the card of {path} has a bad {key}", got=repr(values)[:60], expected="three numbers")
    if not all(0 <= v < 1e4 for v in values):
        raise WeightsError(f"the card of {path} has a bad {key}", got=values, expected="0 to 10000")
    return float(values[0]), float(values[1]), float(values[2])


def pose_card(
    network: str,
    keypoints: int,
    input_size: tuple[int, int],
    *,
    decode: str,
    cells: str = "centre",
    sigma: float | None = None,
    padding: float = 1.25,
) -> dict[str, Any]:
    """What a reader of a pose network's maps must know.

    Parameters
    ----------
    network
        Name of the network.
    keypoints
        Number of maps; the skeleton is named where they are the 17 of COCO.
    input_size
        (height, width) of the crop, px.
    decode
        ``posterior``, ``peaks``, ``dark`` or ``quarter``: the function of :mod:`posepipe.heatmaps` that reads the maps.
    cells
        ``centre``, ``corner`` or ``aligned``: where cells lie in the crop (:class:`posepipe.heatmaps.CellGrid`).
    sigma
        Deviation of the gaussians that the network was trained on, in cells; used by ``dark`` (None: 2) and
        ``posterior`` (None: not known).
    padding
        Factor on the person's box, once it has the crop's shape (:func:`posepipe.geometry.crop_affine`).
    """
    card: dict[str, Any] = {
        "kind": "sppe",
        "network": network,
        "input_size": list(input_size),
        "stride": 4,
        "padding": padding,
        "decode": decode,
        "cells": cells,
    }
    if decode == "dark" or sigma is not None:
        card["sigma"] = 2.0 if sigma is None else sigma
    if keypoints == len(COCO17):
        card |= {"skeleton": COCO17.name, "keypoints": list(COCO17.keypoints)}
    return card


def _renamed(
    path: Path, tensors: dict[str, Tensor]
) -> tuple[dict[str, Tensor], Statistics | None, dict[str, Any] | None]:
    """The tensors by this project's names, the pixels they expect, and how the maps are read, where the form tells."""
    starts = {name.partition(".")[0] for name in tensors}
    quarter = {"decode": "quarter", "cells": "corner"}
    if "preact" in starts:
        return _rename(tensors, _ALPHAPOSE), ALPHAPOSE, quarter
    if _POSITIONS in tensors:
        if any(".experts." in name for name in tensors):
            raise WeightsError(f"{path} is a ViTPose+ with experts, which is not supported", expected="a plain ViTPose")
        positions = tensors.pop(_POSITIONS)
        renamed = _rename(tensors, _TRANSFORMERS)
        # The place of a class token, which there is none of, is added to all others.
        renamed["positions"] = positions[:, 1:] + positions[:, :1]
        return renamed, IMAGENET, {"decode": "dark", "cells": "aligned"}
    if "backbone" in starts and starts & {"head", "keypoint_head"}:
        return _rename(tensors, _MMPOSE), IMAGENET, quarter
    return tensors, None, None


def _rename(tensors: Mapping[str, Tensor], rules: tuple[tuple[str, str], ...]) -> dict[str, Tensor]:
    renamed = {}
    for name, value in tensors.items():
        for pattern, by in rules:
            name = re.sub(pattern, by, name)
        renamed[name] = value
    return renamed


def _last(tensors: Mapping[str, Tensor]) -> Tensor:
    """Weights of the convolution that gives the maps."""
    return next(tensors[n] for n in ("final.weight", "final.conv.weight", "logits.conv.weight") if n in tensors)


def _network(
    path: Path, tensors: Mapping[str, Tensor], statistics: Statistics | None
) -> tuple[str, nn.Module, tuple[int, int]]:
    """An empty network that the tensors look to be of, its name and its input size; raises `WeightsError`."""
    try:
        keypoints, inputs = _last(tensors).shape[:2]
        with torch.random.fork_rng(devices=[]):
            if "patches.weight" in tensors:
                return _vit(path, tensors, keypoints)
            if "trunk.layer3.0.conv1.weight" in tensors:
                return *_resnet(tensors, keypoints, inputs, statistics), _SIZE
            return *_pyramid(tensors, keypoints, inputs), _SIZE
    # What a foreign file lacks, or holds in an unheard-of shape, shows in one of these ways.
    except (KeyError, IndexError, ValueError, StopIteration) as error:
        raise WeightsError(
            f"{path} is of no known pose network",
            got=f"tensors {', '.join(sorted(tensors)[:4])} ...",
            expected="FastPose or SimplePose of AlphaPose, SimpleBaseline of mmpose, ViTPose of transformers, or a "
            "network of posepipe",
        ) from error


def _resnet(
    tensors: Mapping[str, Tensor], keypoints: int, inputs: int, statistics: Statistics | None
) -> tuple[str, nn.Module]:
    blocks = {name.split(".")[2] for name in tensors if name.startswith("trunk.layer3.")}
    layers = _RESNETS[len(blocks), "trunk.layer3.0.conv3.weight" in tensors]
    if "duc1.conv.weight" in tensors:
        network = FastPose(keypoints, layers, channels=inputs, statistics=statistics or ALPHAPOSE)
        return f"fastpose_r{layers}", network
    return f"simplebaseline_r{layers}", SimpleBaseline(keypoints, layers, statistics=statistics or IMAGENET)


def _pyramid(tensors: Mapping[str, Tensor], keypoints: int, inputs: int) -> tuple[str, nn.Module]:
    first, second, third = (tensors[f"laterals.{i}.conv.weight"].shape[0] for i in range(3))
    widths = (first, second, third)
    if "logits.conv.weight" in tensors:
        return "sppe_small", SppeSmall(keypoints, widths, inputs, _trunk_blocks(tensors))
    top = tensors["top.conv.weight"].shape[1]
    backbone = next(name for name, taps in TAPS.items() if taps[-1][1] == top)
    return backbone, PyramidPose(keypoints, backbone, widths=widths, head=inputs)


def _trunk_blocks(tensors: Mapping[str, Tensor]) -> tuple[int, ...]:
    """Blocks of each stage of a MobileNetV2 trunk, told by the channels that they put out."""
    layers = max(int(name.split(".")[1]) for name in tensors if name.startswith("trunk."))
    outputs = []
    for layer in range(1, layers):
        last = max(name for name in tensors if name.startswith(f"trunk.{layer}.layers.") and name.endswith(".weight"))
        outputs.append(tensors[last].shape[0])
    return tuple(outputs.count(channels) for _, channels, _, _ in MOBILENET_V2)


def _vit(path: Path, tensors: Mapping[str, Tensor], keypoints: int) -> tuple[str, nn.Module, tuple[int, int]]:
    places, width = tensors["positions"].shape[1:]
    side = math.isqrt(places // 12)
    size = (4 * side * PATCH, 3 * side * PATCH)
    if 12 * side * side != places or side < 1 or width not in _HEADS:
        raise WeightsError(
            f"{path} is a ViTPose of an unknown size",
            got=f"{places} patches, {width} channels",
            expected=f"an input of 4:3 and channels out of {sorted(_HEADS)}",
        )
    depth = len({name.split(".")[1] for name in tensors if name.startswith("blocks.")})
    simple = "deconv.0.weight" not in tensors
    network = VitPose(keypoints, size, width=width, depth=depth, heads=_HEADS[width], simple=simple)
    return f"vitpose_{_VITS[width]}{'_simple' if simple else ''}", network, size
