"""From a trained action network to files: safetensors, and ONNX for networks that look at poses alone."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from posepipe.models.pcan import Pcan, fuse
from posepipe.training.action_card import card_channels, card_skeleton, load_action
from posepipe.training.action_points import point_features
from posepipe.training.action_recipe import ActionExport
from posepipe.training.export import onnx_bytes, write_onnx, write_safetensors

__all__ = ["export_action", "write_action"]


class _Probabilities(nn.Module):
    """Maps to probabilities of classes, and of coarse ones where there are any."""

    def __init__(self, network: Pcan) -> None:
        super().__init__()
        self.network = network

    def forward(self, pose: Tensor) -> tuple[Tensor, ...]:
        fine, coarse = fuse(self.network(pose=pose))
        return (fine,) if coarse is None else (fine, coarse)


class _PointProbabilities(_Probabilities):
    """The same of keypoints (N,T,K,3), in cells of a window of `size`."""

    edges: Tensor

    def __init__(self, network: Pcan, edges: Tensor, size: int) -> None:
        super().__init__(network)
        self.size = size
        self.register_buffer("edges", edges)

    def forward(self, keypoints: Tensor) -> tuple[Tensor, ...]:
        return super().forward(point_features(keypoints, self.edges, self.size))


def export_action(network: Pcan, card: Mapping[str, Any], path: Path) -> None:
    """Export a network of poses alone as ONNX with its card in the metadata ``posepipe`` (JSON).

    Input ``pose`` float32 (N,K,T,h,w) maps in [0,1], or of a network of points ``keypoints`` float32 (N,T,K,3): x and
    y in cells, and the score, 0 = missing. Outputs ``fine`` (N,F) and, where there are coarse classes, ``coarse``
    (N,C): probabilities. N is free.

    Parameters
    ----------
    network
        In evaluation mode.
    card
        From `posepipe.training.action_card.action_card`, with name, version, licence and what else readers need.
    path
        The .onnx file; it appears whole or not at all.
    """
    frames, size = int(card["frames"]), int(card["size"])
    module: nn.Module = _Probabilities(network)
    name, example = "pose", torch.zeros(2, card_channels(card), frames, size, size)
    if card["network"] == "points":
        edges = torch.from_numpy(card_skeleton(card).edge_index.copy())
        module = _PointProbabilities(network, edges, size)
        name, example = "keypoints", torch.ones(2, frames, len(card["keypoints"]), 3)
    outputs = ["fine", "coarse"] if card["coarse_labels"] else ["fine"]
    write_onnx(path, onnx_bytes(module.eval(), example, outputs, dict(card), input_name=name))


def write_action(checkpoint: Path, stem: Path, about: ActionExport) -> None:
    """Write ``STEM.safetensors`` of a checkpoint, and ``STEM.onnx`` where the network looks at poses alone.

    Parameters
    ----------
    checkpoint
        Of a training.
    stem
        Path without its ending.
    about
        Name, version, licence, training sets, and how `posepipe run` uses the network.
    """
    network, card = load_action(checkpoint)
    card |= dataclasses.asdict(about)
    weights = stem.with_name(f"{stem.name}.safetensors")
    write_safetensors(checkpoint, weights, card)
    if card["form"] == "pose":
        card["safetensors_sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
        export_action(network, card, stem.with_name(f"{stem.name}.onnx"))
