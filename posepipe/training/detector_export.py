"""The person detector as ONNX: what is shipped, and a fast engine for labelling and validation."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from posepipe.io.atomic import atomic_path
from posepipe.models.detector import ConvAct, LevelHead, PersonDetector, PersonScorer

__all__ = ["detector_graph", "detector_session", "onnx_graph", "write_detector"]

OPSET = 17


def _split(layer: nn.Conv2d) -> nn.Sequential:
    """A 5x5 convolution to one channel as a depthwise one and a sum over channels: the same function.

    ONNX Runtime computes it as for eight output channels, which made it a tenth of the network's time.
    """
    channels = layer.in_channels
    each = nn.Conv2d(channels, channels, 5, padding=2, groups=channels, bias=False)
    total = nn.Conv2d(channels, 1, 1)
    with torch.no_grad():
        each.weight.copy_(layer.weight.transpose(0, 1))
        nn.init.ones_(total.weight)
        if layer.bias is not None and total.bias is not None:
            total.bias.copy_(layer.bias)
    return nn.Sequential(each, total)


class _Folded(PersonDetector):
    """The network with the deviation of its input inside the first convolution.

    The published network's mean cannot go there too: that convolution's padding is zeros after normalisation.
    """

    def early(self, image: Tensor) -> Tensor:
        """As in the network, of fewer operations."""
        return self.backbone.early(image if self.slim else image - self.mean)


def _for_inference(detector: PersonDetector) -> PersonDetector:
    """A copy of the network that computes the same, faster."""
    faster = _Folded(detector.slim)
    faster.load_state_dict(detector.state_dict())
    faster.backbone.stem.conv.weight.data /= faster.std
    for head in faster.heads:
        if isinstance(head, LevelHead):
            wide = cast("ConvAct", head.quality[0])
            head.quality[0] = nn.Sequential(_split(wide.conv), nn.Hardswish())
    return faster.eval()


def onnx_graph(network: nn.Module, size: int, outputs: Sequence[str]) -> bytes:
    """A network of (N,3,size,size) float32 pictures as a serialised ONNX model of the named outputs, N free."""
    stream: Any = io.BytesIO()  # torch writes into streams, its annotation says only paths
    # Never in the precision of a training that it is made in: ONNX Runtime has no bfloat16 convolution.
    with torch.autocast("cpu", enabled=False):
        torch.onnx.export(
            network.eval(), (torch.zeros(2, 3, size, size),), stream, dynamo=False, opset_version=OPSET,
            input_names=["image"], output_names=list(outputs),
            dynamic_axes={name: {0: "N"} for name in ("image", *outputs)},
        )  # fmt: skip
    return bytes(stream.getvalue())


def detector_graph(detector: PersonDetector, size: int) -> bytes:
    """The detector as a serialised ONNX model for (N,3,size,size) pictures, N free; see ``PersonScorer``."""
    return onnx_graph(PersonScorer(_for_inference(detector), (size, size)), size, ("boxes", "score"))


def detector_session(graph: bytes, threads: int) -> onnxruntime.InferenceSession:
    """A CPU session of ``onnx_graph``'s model."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def write_detector(detector: PersonDetector, size: int, metadata: Mapping[str, Any], path: Path) -> None:
    """Write the ONNX file with ``metadata`` as JSON in the property ``posepipe``; it appears whole or not at all.

    Parameters
    ----------
    detector
        The network.
    size
        Side of the square input, px.
    metadata
        What a reader must know: name, version, kind, input_size, resize, score_threshold, nms_iou, licence, trained_on.
    path
        The .onnx file.
    """
    model = onnx.load_from_string(detector_graph(detector, size))
    entry = model.metadata_props.add()
    entry.key, entry.value = "posepipe", json.dumps(dict(metadata))
    onnx.checker.check_model(model, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as unfinished:
        unfinished.write_bytes(model.SerializeToString())
