"""From a checkpoint to what is shipped: safetensors for fine-tuning, ONNX for inference."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from safetensors.torch import save
from torch import Tensor, nn

from posepipe.heatmaps import oks_kernel_sigmas
from posepipe.io.atomic import atomic_path
from posepipe.models.pose_checkpoints import load_pose_checkpoint
from posepipe.models.sppe import PosteriorExport
from posepipe.skeleton import COCO17
from posepipe.training.engine import averaged_weights

__all__ = ["OPSET", "export_network", "export_pose", "onnx_bytes", "write_onnx", "write_safetensors", "write_weights"]

#: 18 is the least that torch's exporter writes (an older one needs a converter that knows no padding)
OPSET = 18


def write_safetensors(checkpoint: Path, path: Path, card: Mapping[str, Any] | None = None) -> None:
    """Write a training's averaged weights, as its checkpoint has them; see `write_weights`."""
    write_weights(averaged_weights(checkpoint), path, card)


def write_weights(weights: Mapping[str, Tensor], path: Path, card: Mapping[str, Any] | None = None) -> None:
    """Write weights as safetensors; the file appears whole or not at all.

    Parameters
    ----------
    weights
        By name.
    path
        The .safetensors file.
    card
        Goes into the metadata ``posepipe`` as JSON: what `posepipe.models.pose_checkpoints.pose_card` gives, for a pose
        network whose maps are not read as its kind's usually are.
    """
    whole = {name: value.detach().contiguous() for name, value in weights.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as unfinished:
        unfinished.write_bytes(save(whole, None if card is None else {"posepipe": json.dumps(dict(card))}))


def onnx_bytes(
    module: nn.Module,
    image: Tensor,
    outputs: Sequence[str],
    metadata: dict[str, Any] | None = None,
    *,
    input_name: str = "image",
) -> bytes:
    """Export a network with one input whose first axis is free.

    Parameters
    ----------
    module
        Set to evaluation already.
    image
        An example, at least 2 along the first axis.
    outputs
        Names of the outputs.
    metadata
        Goes into the metadata property ``posepipe`` as JSON.
    input_name
        Name of the input.
    """
    # A network that is exported amid a training with mixed precision keeps its own: casts would end up in the graph.
    with warnings.catch_warnings(), torch.autocast(image.device.type, enabled=False):
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        program = torch.onnx.export(
            module, (image,), dynamo=True, opset_version=OPSET, verbose=False,
            input_names=[input_name], output_names=list(outputs), dynamic_shapes=({0: "N"},),
        )  # fmt: skip
    if program is None:
        raise RuntimeError("torch.onnx.export gave no program")
    model = program.model_proto
    for node in model.graph.node:  # names of source files and lines are of no use to a reader
        del node.metadata_props[:]
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    if metadata is not None:
        entry = model.metadata_props.add()
        entry.key, entry.value = "posepipe", json.dumps(metadata)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def write_onnx(path: Path, model: bytes) -> None:
    """Write a model file; it appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as unfinished:
        unfinished.write_bytes(model)


def export_network(network: nn.Module, card: Mapping[str, Any], path: Path) -> None:
    """Export a pose network as ONNX with its normalisation inside and its card in the metadata ``posepipe`` (JSON).

    Input ``image`` float32 (N,3,H,W) RGB 0..255 of the card's ``input_size``, output ``heatmaps`` float32 (N,K,h,w); N
    is free. With ``decode`` posterior the softmax over positions is inside too, and every map sums to 1.

    Parameters
    ----------
    network
        From `posepipe.models.pose_networks`, or any that takes and gives the same.
    card
        From `posepipe.models.pose_checkpoints.pose_card`, with name, version, licence.
    path
        The .onnx file; it appears whole or not at all.
    """
    # What is done inside the network is nobody else's business.
    values = {key: value for key, value in card.items() if key not in ("mean", "deviation")}
    size = (int(card["input_size"][0]), int(card["input_size"][1]))
    if card["decode"] == "posterior":
        network = PosteriorExport(network)
        if card.get("skeleton") == COCO17.name:
            sigmas = oks_kernel_sigmas(np.array(COCO17.sigmas), size, card["stride"], card["padding"])
            values["kernel_sigmas"] = [round(float(s), 4) for s in sigmas]
    write_onnx(path, onnx_bytes(network.eval(), torch.zeros(2, 3, *size), ["heatmaps"], values))


def export_pose(
    weights: Path,
    path: Path,
    *,
    name: str,
    version: str,
    trained_on: Sequence[str],
    licence: str,
    decode: str | None = None,
) -> None:
    """Export the pose network in a checkpoint as ONNX; see `export_network`.

    Parameters
    ----------
    weights
        Any file that `posepipe.models.pose_checkpoints.load_pose_checkpoint` opens.
    path
        The .onnx file.
    name, version, trained_on, licence
        Written into the metadata.
    decode
        How maps are read, where the file does not say or says it wrongly.

    Raises
    ------
    WeightsError
        The file is not a checkpoint of a known pose network.
    """
    network, card = load_pose_checkpoint(weights)
    card |= {
        "name": name,
        "version": version,
        "licence": licence,
        "trained_on": list(trained_on),
        f"{weights.suffix.lstrip('.').lower()}_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
    }
    if decode is not None:
        card["decode"] = decode
    export_network(network, card, path)
