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
from posepipe.training.action_card import card_channels, load_action
from posepipe.training.export import onnx_bytes, write_onnx, write_safetensors
from posepipe.training.recipe import ExportRecipe

__all__ = ["export_action", "write_action"]


class _Probabilities(nn.Module):
    """Maps to probabilities of classes, and of coarse ones where there are any."""

    def __init__(self, network: Pcan) -> None:
        super().__init__()
        self.network = network

    def forward(self, pose: Tensor) -> tuple[Tensor, ...]:
        fine, coarse = fuse(self.network(pose=pose))
        return (fine,) if coarse is None else (fine, coarse)


def export_action(network: Pcan, card: Mapping[str, Any], path: Path) -> None:
    """Export a network of poses alone as ONNX with its card in the metadata ``posepipe`` (JSON).

    Input ``pose`` float32 (N,K,T,h,w) maps in [0,1]; outputs ``fine`` (N,F) and, where there are coarse classes,
    ``coarse`` (N,C): probabilities. N is free.

    Parameters
    ----------
    network
        In evaluation mode.
    card
        From `posepipe.training.action_card.action_card`, with name, version, licence and what else readers need.
    path
        The .onnx file; it appears whole or not at all.
    """
    maps = torch.zeros(2, card_channels(card), int(card["frames"]), int(card["size"]), int(card["size"]))
    outputs = ["fine", "coarse"] if card["coarse_labels"] else ["fine"]
    module = _Probabilities(network).eval()
    write_onnx(path, onnx_bytes(module, maps, outputs, dict(card), input_name="pose"))


def write_action(checkpoint: Path, stem: Path, about: ExportRecipe, **more: Any) -> None:
    """Write ``STEM.safetensors`` of a checkpoint, and ``STEM.onnx`` where the network looks at maps of poses alone.

    Parameters
    ----------
    checkpoint
        Of a training.
    stem
        Path without its ending.
    about
        Name, version, licence, training sets.
    more
        Further fields of the card: ``temperature``, ``abstain``, ``window_s``.
    """
    network, card = load_action(checkpoint)
    card |= {**dataclasses.asdict(about), **more}
    weights = stem.with_name(f"{stem.name}.safetensors")
    write_safetensors(checkpoint, weights, card)
    if card["form"] == "pose" and card["network"] != "points":
        card["safetensors_sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
        export_action(network, card, stem.with_name(f"{stem.name}.onnx"))
