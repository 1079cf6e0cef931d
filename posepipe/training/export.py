"""From a checkpoint to what is shipped: safetensors for fine-tuning, ONNX for inference."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from posepipe.heatmaps import oks_kernel_sigmas
from posepipe.io.atomic import atomic_path
from posepipe.models.sppe import PosteriorExport, SppeSmall
from posepipe.skeleton import COCO17
from posepipe.training.engine import averaged_weights

__all__ = ["OPSET", "export_pose", "onnx_bytes", "write_onnx", "write_safetensors"]

#: 18 is the least that torch's exporter writes (an older one needs a converter that knows no padding)
OPSET = 18


def write_safetensors(checkpoint: Path, path: Path) -> None:
    """Write a checkpoint's averaged weights as safetensors; the file appears whole or not at all."""
    weights = {name: value.contiguous() for name, value in averaged_weights(checkpoint).items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as unfinished:
        unfinished.write_bytes(save(weights))


def onnx_bytes(
    module: nn.Module, image: Tensor, outputs: Sequence[str], metadata: dict[str, Any] | None = None
) -> bytes:
    """Export a network with the one input ``image`` whose first axis is free.

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
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        program = torch.onnx.export(
            module, (image,), dynamo=True, opset_version=OPSET, verbose=False,
            input_names=["image"], output_names=list(outputs), dynamic_shapes=({0: "N"},),
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


def export_pose(weights: Path, path: Path, *, name: str, version: str, trained_on: Sequence[str], licence: str) -> None:
    """Export `SppeSmall` weights as ONNX with the posterior's softmax and the normalisation inside.

    Input ``image`` float32 (N,3,256,192) RGB 0..255, output ``heatmaps`` float32 (N,17,64,48), every map sums to 1;
    N is free. What a reader must know stands in the metadata property ``posepipe`` (JSON).

    Parameters
    ----------
    weights
        The .safetensors file.
    path
        The .onnx file.
    name, version, trained_on, licence
        Written into the metadata.
    """
    network = SppeSmall(len(COCO17))
    network.load_state_dict(load_file(weights))
    size, stride, padding = (256, 192), 4, 1.25
    metadata = {
        "name": name,
        "version": version,
        "kind": "sppe",
        "skeleton": COCO17.name,
        "keypoints": list(COCO17.keypoints),
        "input_size": list(size),
        "stride": stride,
        "padding": padding,
        "decode": "posterior",
        "kernel_sigmas": [
            round(float(s), 4) for s in oks_kernel_sigmas(np.array(COCO17.sigmas), size, stride, padding)
        ],
        "licence": licence,
        "trained_on": list(trained_on),
        "safetensors_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
    }
    write_onnx(path, onnx_bytes(PosteriorExport(network).eval(), torch.zeros(2, 3, *size), ["heatmaps"], metadata))
