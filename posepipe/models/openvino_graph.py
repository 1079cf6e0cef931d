"""OpenVINO models as torch modules, so that a published network can teach on whatever device the student learns on.

The intermediate representation (IR, version 10 and 11) is an XML graph beside a file of constants. Only the operations
of convolutional networks are known. Shapes in the file are those of one picture; the first axis is the batch and free.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from posepipe.errors import WeightsError

__all__ = ["OpenVinoNetwork"]

_DTYPES = {"f32": np.float32, "f16": np.float16, "i64": np.int64, "i32": np.int32}
#: operations whose further inputs only tell shapes, which the file tells too
_SHAPED = ("Reshape", "Interpolate")


class OpenVinoNetwork(nn.Module):
    """The first output of a model with one input.

    Parameters
    ----------
    path
        The .xml file; the constants lie beside it as .bin.

    Attributes
    ----------
    size
        (height, width) of the input, px.

    Raises
    ------
    WeightsError
        A file is missing, damaged, or holds an operation that is not known here.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        path = Path(path)
        try:
            graph = ElementTree.parse(path).getroot()  # noqa: S314  # expat as shipped bounds the expansion of entities
            data = path.with_suffix(".bin").read_bytes()
            self._steps = _read(graph, data, self)
            shape = next(layer for layer in _layers(graph).values() if layer.get("type") == "Parameter")
            self.size: tuple[int, int] = _dims(shape.findall("output/port")[0])[2:]  # type: ignore[assignment]
        except (
            OSError,
            ElementTree.ParseError,
            LookupError,
            ValueError,
            StopIteration,
            AttributeError,
            RecursionError,
        ) as error:
            raise WeightsError(f"cannot read the OpenVINO model {path}: {error!r}") from error

    def forward(self, image: Tensor) -> Tensor:
        """(N,C,H,W) as the model expects it -> its first output, (N, ...)."""
        values: dict[tuple[str, str], Tensor] = {}
        for layer, outputs, inputs, run in self._steps:
            taken = [self.get_buffer(source) if isinstance(source, str) else values[source] for source in inputs]
            found = run(*taken) if taken else run(image)
            for port, value in zip(outputs, found if isinstance(found, tuple) else (found,), strict=True):
                values[layer, port] = value
        return found if isinstance(found, Tensor) else found[0]


#: a layer's id and output ports, where its inputs come from (another layer's port, or a buffer), and what it does
_Step = tuple[str, list[str], list[Any], Callable[..., Any]]


def _layers(graph: ElementTree.Element) -> dict[str, ElementTree.Element]:
    return {layer.attrib["id"]: layer for layer in graph.iterfind("layers/layer")}


def _dims(port: ElementTree.Element) -> tuple[int, ...]:
    return tuple(int(dim.text or "") for dim in port.findall("dim"))


def _read(graph: ElementTree.Element, data: bytes, network: nn.Module) -> list[_Step]:
    """The steps to the first result, in order; constants become buffers of `network`."""
    layers = _layers(graph)
    sources = {
        (edge.attrib["to-layer"], edge.attrib["to-port"]): (edge.attrib["from-layer"], edge.attrib["from-port"])
        for edge in graph.iterfind("edges/edge")
    }
    steps: list[_Step] = []
    opened: set[str] = set()
    done: set[str] = set()
    (first, *_) = (name for name, layer in layers.items() if layer.get("type") == "Result")
    waiting = [sources[first, layers[first].findall("input/port")[0].attrib["id"]][0]]
    while waiting:
        name = waiting[-1]
        layer = layers[name]
        ports = [port.attrib["id"] for port in layer.findall("input/port")]
        ports = ports[:1] if layer.get("type") in _SHAPED else ports
        below = [sources[name, port] for port in ports]
        constants = [_constant(layers, sources, source, data) for source in below]
        open_ = [s[0] for s, value in zip(below, constants, strict=True) if value is None and s[0] not in done]
        if open_ and name not in done:
            if name in opened:
                raise ValueError(f"layer {name} needs its own output")
            opened.add(name)
            waiting += open_
            continue
        waiting.pop()
        if name in done:
            continue
        done.add(name)
        operation, used = _operation(layer, constants)
        inputs: list[Any] = []
        for place, source in enumerate(below[:used]):
            value = constants[place]
            if value is None:
                inputs.append(source)
            else:
                network.register_buffer(f"constant_{name}_{place}", torch.from_numpy(value), persistent=False)
                inputs.append(f"constant_{name}_{place}")
        steps.append((name, [port.attrib["id"] for port in layer.findall("output/port")], inputs, operation))
    return steps


def _constant(
    layers: Mapping[str, ElementTree.Element],
    sources: Mapping[tuple[str, str], tuple[str, str]],
    source: tuple[str, str],
    data: bytes,
) -> np.ndarray[Any, Any] | None:
    """The constant that a source is, converted to float32 where the model does that; None for what is computed."""
    layer = layers[source[0]]
    if layer.get("type") == "Convert":
        inner = _constant(layers, sources, sources[source[0], layer.findall("input/port")[0].attrib["id"]], data)
        return None if inner is None else inner.astype(np.float32)
    if layer.get("type") != "Const":
        return None
    about = layer.find("data").attrib  # type: ignore[union-attr]
    shape = tuple(int(n) for n in about["shape"].split(",") if n.strip())
    dtype = np.dtype(_DTYPES[about["element_type"]])
    values = np.frombuffer(data, dtype, math.prod(shape), int(about["offset"])).reshape(shape)
    return values.astype(np.float32) if dtype.kind == "f" else values.copy()


def _operation(
    layer: ElementTree.Element, constants: list[np.ndarray[Any, Any] | None]
) -> tuple[Callable[..., Any], int]:
    """What a layer does with its first n inputs, and n."""
    about = {key: value for data in layer.findall("data") for key, value in data.attrib.items()}
    ports = layer.findall("output/port")
    match layer.get("type"):
        case "Parameter":
            return lambda image: image, 0
        case "Convolution" | "GroupConvolution":
            return _convolution(about, grouped=layer.get("type") == "GroupConvolution"), 2
        case "Add":
            return torch.add, 2
        case "Multiply":
            return torch.mul, 2
        case "ReLU":
            return torch.relu, 1
        case "Sigmoid":
            return torch.sigmoid, 1
        case "Concat":
            axis = int(about["axis"])
            return lambda *parts: torch.cat(parts, axis), len(constants)
        case "Split":
            count, axis = int(about["num_splits"]), _number(constants[1])
            return lambda x: tuple(x.chunk(count, axis)), 1
        case "Transpose":
            order = tuple(int(n) for n in np.ravel(_known(constants[1])))
            return lambda x: x.permute(order), 1
        case "Reshape":
            shape = _dims(ports[0])[1:]
            return lambda x: x.reshape(len(x), *shape), 1
        case "Interpolate":
            return _resize(about["mode"], about["coordinate_transformation_mode"], _dims(ports[0])[2:]), 1
    raise ValueError(f"operation {layer.get('type')} is not known")


def _resize(mode: str, coordinates: str, size: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    match mode, coordinates:
        case "nearest", "asymmetric":
            return lambda x: functional.interpolate(x, size, mode="nearest")
        case "linear_onnx", "align_corners":
            return lambda x: functional.interpolate(x, size, mode="bilinear", align_corners=True)
    raise ValueError(f"resizing {mode} {coordinates} is not known")


def _convolution(about: Mapping[str, str], *, grouped: bool) -> Callable[[Tensor, Tensor], Tensor]:
    stride, dilation, begin, end = (
        [int(n) for n in about[key].split(",")] for key in ("strides", "dilations", "pads_begin", "pads_end")
    )
    if begin != end or about.get("auto_pad", "explicit") != "explicit":
        raise ValueError(f"padding {begin} before and {end} behind is not known")

    def run(x: Tensor, weight: Tensor) -> Tensor:
        groups = weight.shape[0] if grouped else 1
        return functional.conv2d(x, weight.flatten(0, 1) if grouped else weight, None, stride, begin, dilation, groups)

    return run


def _known(value: np.ndarray[Any, Any] | None) -> np.ndarray[Any, Any]:
    if value is None:
        raise ValueError("an axis or a shape that is computed is not known")
    return value


def _number(value: np.ndarray[Any, Any] | None) -> int:
    return int(np.ravel(_known(value))[0])
