"""ONNX networks of a few nodes that really look at pixels, for tests of what happens around networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    constants: dict[str, NDArray[Any]],
    input_shape: list[int | str],
    outputs: dict[str, int],
    metadata: dict[str, str] | None = None,
    name: str = "image",
) -> Path:
    """A network of one input and float outputs of the given ranks."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, input_shape)],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None] * rank) for n, rank in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    for key, value in (metadata or {}).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def box_net(path: Path, size: tuple[int, int], batch: int | str = "N", **card: object) -> Path:
    """Finds the box about all pixels brighter than 200, twice: with score .9, and a pixel smaller with score .6."""
    height, width = size
    node = helper.make_node
    nodes = [
        node("ReduceMin", ["image"], ["grey"], axes=[1], keepdims=0),
        node("Greater", ["grey", "bright"], ["mask"]),
        node("Cast", ["mask"], ["lit"], to=TensorProto.FLOAT),
        node("ReduceMax", ["lit"], ["columns"], axes=[1], keepdims=0),
        node("ReduceMax", ["lit"], ["rows"], axes=[2], keepdims=0),
    ]
    for name, lit, index, end in (("x", "columns", "across", "width"), ("y", "rows", "down", "height")):
        nodes += [
            node("Mul", [lit, f"{index}_last"], [f"{name}_high_all"]),
            node("ReduceMax", [f"{name}_high_all"], [f"{name}_high"], axes=[1], keepdims=1),
            node("Mul", [lit, f"{index}_first"], [f"{name}_low_all"]),
            node("ReduceMax", [f"{name}_low_all"], [f"{name}_from_end"], axes=[1], keepdims=1),
            node("Sub", [end, f"{name}_from_end"], [f"{name}_low"]),
        ]
    nodes += [
        node("Concat", ["x_low", "y_low", "x_high", "y_high"], ["box"], axis=1),
        node("Sub", ["box", "less"], ["smaller"]),
        node("Unsqueeze", ["box", "one"], ["box1"]),
        node("Unsqueeze", ["smaller", "one"], ["box2"]),
        node("Concat", ["box1", "box2"], ["boxes"], axis=1),
        node("ReduceMax", ["rows"], ["any"], axes=[1], keepdims=1),
        node("Mul", ["any", "scores"], ["score"]),
    ]
    constants: dict[str, NDArray[Any]] = {
        "bright": np.float32(200),
        "across_last": np.arange(1, width + 1, dtype=np.float32),
        "across_first": np.arange(width, 0, -1, dtype=np.float32),
        "down_last": np.arange(1, height + 1, dtype=np.float32),
        "down_first": np.arange(height, 0, -1, dtype=np.float32),
        "width": np.float32(width),
        "height": np.float32(height),
        "less": np.array([0, 0, 1, 1], np.float32),
        "one": np.array([1]),
        "scores": np.array([[0.9, 0.6]], np.float32),
    }
    metadata = {"posepipe": json.dumps(card)} if card else None
    return save(path, nodes, constants, [batch, 3, height, width], {"boxes": 3, "score": 2}, metadata)


def spot_net(
    path: Path, size: tuple[int, int], stride: int = 4, joints: int = 17, batch: int | str = "N", **card: object
) -> Path:
    """Answers the brightest place for every keypoint: a softmax over cells, or the brightness where decode=peaks."""
    node = helper.make_node
    h, w = size[0] // stride, size[1] // stride
    nodes = [
        node("ReduceMean", ["image"], ["grey"], axes=[1], keepdims=1),
        node("AveragePool", ["grey"], ["cells"], kernel_shape=[stride, stride], strides=[stride, stride]),
    ]
    if card.get("decode") == "posterior":
        nodes += [
            node("Mul", ["cells", "gain"], ["sharp"]),
            node("Reshape", ["sharp", "flat"], ["logits"]),
            node("Softmax", ["logits"], ["posterior"], axis=-1),
            node("Reshape", ["posterior", "map"], ["one_map"]),
        ]
    else:
        nodes.append(node("Mul", ["cells", "unit"], ["one_map"]))
    nodes.append(node("Concat", ["one_map"] * joints, ["heatmaps"], axis=1))
    constants: dict[str, NDArray[Any]] = {
        "gain": np.float32(7 / 255),
        "unit": np.float32(1 / 255),
        "flat": np.array([0, 1, h * w]),
        "map": np.array([0, 1, h, w]),
    }
    metadata = {"posepipe": json.dumps(card)} if card else None
    return save(path, nodes, constants, [batch, 3, *size], {"heatmaps": 4}, metadata)


def fixed_net(
    path: Path,
    outputs: dict[str, NDArray[Any]],
    input_shape: list[int | str],
    metadata: dict[str, str] | None = None,
) -> Path:
    """Gives the same outputs whatever it sees, for one picture a call or for each of a batch."""
    node = helper.make_node
    nodes = [
        node("ReduceMax", ["image"], ["top"], keepdims=1),
        node("Mul", ["top", "zero"], ["nothing"]),
        node("Reshape", ["nothing", "scalar"], ["nil"]),
        node("Shape", ["image"], ["all"]),
        node("Slice", ["all", "begin", "end"], ["count"]),
    ]
    constants: dict[str, NDArray[Any]] = {
        "zero": np.float32(0),
        "scalar": np.zeros(0, np.int64),
        "begin": np.array([0]),
        "end": np.array([1]),
    }
    for name, value in outputs.items():
        constants[f"{name}_value"] = value[None].astype(np.float32)
        constants[f"{name}_ones"] = np.ones(value.ndim, np.int64)
        nodes += [
            node("Add", [f"{name}_value", "nil"], [f"{name}_same"]),
            node("Concat", ["count", f"{name}_ones"], [f"{name}_times"], axis=0),
            node("Tile", [f"{name}_same", f"{name}_times"], [name]),
        ]
    return save(path, nodes, constants, input_shape, {n: v.ndim + 1 for n, v in outputs.items()}, metadata)


#: What `raised_net` and `raised_points_net` say.
RAISED = ("arms up", "arms down", "neither")


def raised_net(
    path: Path, keypoints: tuple[str, ...], wrist: int, frames: int = 8, size: int = 16, /, **card: object
) -> Path:
    """Says whether one keypoint is drawn in the upper or the lower half of the maps, or not at all."""
    node = helper.make_node
    rows = np.zeros((3, len(keypoints), 1, size, 1), np.float32)
    rows[0, wrist, :, : size // 2] = rows[1, wrist, :, size // 2 :] = 1
    nodes = []
    for number in range(2):
        nodes += [
            node("Mul", ["pose", f"rows{number}"], [f"picked{number}"]),
            node("ReduceSum", [f"picked{number}", "axes"], [f"sum{number}"], keepdims=0),
        ]
    constants = {**{f"rows{n}": rows[n : n + 1] for n in range(2)}, "axes": np.array([1, 2, 3, 4])}
    shape: list[int | str] = ["N", len(keypoints), frames, size, size]
    return _raised(path, nodes, constants, shape, "pose", _raised_card(keypoints, frames, size) | card)


def raised_points_net(
    path: Path, keypoints: tuple[str, ...], wrist: int, frames: int = 8, size: int = 16, /, **card: object
) -> Path:
    """The same of keypoints (N,T,K,3) in place of maps."""
    node = helper.make_node
    nodes = [
        node("Gather", ["keypoints", "wrist"], ["there"], axis=2),
        node("Gather", ["there", "down"], ["y"], axis=2),
        node("Gather", ["there", "sure"], ["score"], axis=2),
        node("Less", ["y", "half"], ["above"]),
        node("Cast", ["above"], ["up0"], to=TensorProto.FLOAT),
        node("Sub", ["one", "up0"], ["up1"]),
    ]
    for number in range(2):
        nodes += [
            node("Mul", ["score", f"up{number}"], [f"picked{number}"]),
            node("ReduceSum", [f"picked{number}", "axes"], [f"sum{number}"], keepdims=0),
        ]
    constants = {"wrist": np.array(wrist), "down": np.array(1), "sure": np.array(2), "axes": np.array([1])}
    constants |= {"half": np.float32((size - 1) / 2), "one": np.float32(1)}
    shape: list[int | str] = ["N", frames, len(keypoints), 3]
    return _raised(path, nodes, constants, shape, "keypoints", _raised_card(keypoints, frames, size) | card)


def _raised_card(keypoints: tuple[str, ...], frames: int, size: int) -> dict[str, object]:
    return {
        "name": "raised", "version": "1", "kind": "action", "labels": list(RAISED), "skeleton": "coco17",
        "keypoints": list(keypoints), "frames": frames, "size": size, "sigma": 0.6, "cells": "centre",
        "keypoint_score": 0.1, "window_s": 1.0, "temperature": 1.0, "abstain": 0.5, "licence": "Apache-2.0",
        "trained_on": ["nothing"],
    }  # fmt: skip


def _raised(
    path: Path,
    nodes: list[onnx.NodeProto],
    constants: dict[str, Any],
    shape: list[int | str],
    name: str,
    card: dict[str, object],
) -> Path:
    """What `sum0` and `sum1`, one a row of the batch, say: the softmax of both and of 1."""
    node = helper.make_node
    nodes += [
        node("Mul", ["sum0", "nought"], ["nothing"]),
        node("Add", ["nothing", "bias"], ["sum2"]),
        *(node("Unsqueeze", [f"sum{n}", "last"], [f"column{n}"]) for n in range(3)),
        node("Concat", ["column0", "column1", "column2"], ["logits"], axis=1),
        node("Softmax", ["logits"], ["fine"], axis=1),
    ]
    constants |= {"nought": np.float32(0), "bias": np.float32(1), "last": np.array([1])}
    return save(path, nodes, constants, shape, {"fine": 2}, {"posepipe": json.dumps(card)}, name)
