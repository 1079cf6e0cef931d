"""What an action network says of itself, and the network that such a card and its weights make."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from posepipe.datasets.action_views import ViewForm
from posepipe.datasets.actions import ActionClasses, ActionSet
from posepipe.errors import WeightsError
from posepipe.io.schema import skeleton_from_json, skeleton_to_json
from posepipe.models.pcan import Pcan, PcanParts
from posepipe.models.pose_files import read_tensors
from posepipe.models.rgbpose3d import (
    LIGHT_POSE_PATHWAY,
    LIGHT_RGB_PATHWAY,
    POINTS_PATHWAY,
    POSE_PATHWAY,
    RGB_PATHWAY,
)
from posepipe.skeleton import Skeleton
from posepipe.training.action_points import point_channels
from posepipe.training.action_recipe import ActionRecipe

__all__ = ["action_card", "build_action", "card_classes", "card_form", "card_skeleton", "load_action", "onnx_card"]

_SIZES = {
    "light": (LIGHT_RGB_PATHWAY, LIGHT_POSE_PATHWAY),
    "full": (RGB_PATHWAY, POSE_PATHWAY),
    "points": (None, POINTS_PATHWAY),
}


def action_card(recipe: ActionRecipe, clips: ActionSet) -> dict[str, Any]:
    """What a reader of a network of this recipe must know.

    Parameters
    ----------
    recipe
        How it is trained.
    clips
        What it is trained on: classes and skeleton are taken from it.
    """
    classes = clips.classes
    parts = asdict(recipe.parts)
    coarse = parts.pop("coarse")
    return {
        "kind": "action",
        "form": recipe.form,
        "network": recipe.network,
        "parts": parts,
        "labels": list(classes.names),
        "coarse_labels": list(classes.coarse) if coarse else [],
        "coarse_of": list(classes.coarse_of) if coarse else [],
        "skeleton": clips.skeleton.name,
        "keypoints": list(clips.skeleton.keypoints),
        "skeleton_full": skeleton_to_json(clips.skeleton),
        "limbs": recipe.limbs,
        "frames": recipe.frames,
        "rgb_frames": recipe.rgb_frames,
        "size": recipe.size,
        "sigma": recipe.sigma,
        "cells": recipe.cells,
        "keypoint_score": recipe.keypoint_score,
        "sampling": recipe.sampling,
    }


def card_skeleton(card: Mapping[str, Any]) -> Skeleton:
    """The skeleton that a network is for."""
    return skeleton_from_json(card["skeleton_full"])


def card_classes(card: Mapping[str, Any]) -> ActionClasses:
    """The classes that a network names."""
    return ActionClasses(tuple(card["labels"]), tuple(card["coarse_labels"]), tuple(card["coarse_of"]))


def card_form(card: Mapping[str, Any], scale: float = 1.0) -> ViewForm:
    """The views that a network takes; `scale` makes their sides larger or smaller, by whole eights of cells."""
    form = card["form"]
    return ViewForm(
        pose="pose" in form,
        rgb="rgb" in form,
        frames=card["frames"],
        rgb_frames=card["rgb_frames"],
        size=card["size"] if scale == 1 else max(8, round(card["size"] * scale / 8) * 8),
        cells=card["cells"],
        keypoint_score=card["keypoint_score"],
        even=card["sampling"] == "even",
    )


def build_action(card: Mapping[str, Any], dropout: float = 0.5) -> Pcan:
    """The network of a card, with fresh weights."""
    rgb, pose = _SIZES[card["network"]]
    return Pcan(
        len(card["labels"]),
        card_channels(card),
        coarse_of=card["coarse_of"] or None,
        parts=PcanParts(**card["parts"]),
        rgb=rgb if "rgb" in card["form"] else None,
        pose=pose if "pose" in card["form"] else None,
        dropout=dropout,
    )


def card_channels(card: Mapping[str, Any]) -> int:
    """Channels of the pose stream: maps of keypoints and limbs, or what `action_points` makes of keypoints."""
    skeleton = card_skeleton(card)
    if card["network"] == "points":
        return point_channels(len(skeleton), len(skeleton.edges))
    return len(skeleton) + (len(skeleton.edges) if card["limbs"] else 0)


def load_action(path: Path) -> tuple[Pcan, dict[str, Any]]:
    """The network in a checkpoint of a training or in a .safetensors of one, in evaluation mode, and its card.

    Raises
    ------
    WeightsError
        The file is missing, damaged, or of another kind of network.
    """
    weights, card = read_tensors(path)
    prefix = "network."
    weights = {n.removeprefix(prefix): v for n, v in weights.items() if path.suffix != ".ckpt" or n.startswith(prefix)}
    try:
        if card.get("kind") != "action":
            raise ValueError(f"its card is of kind {card.get('kind')!r}")
        network = build_action(card)
        network.load_state_dict(weights)
    except KeyError as error:
        raise WeightsError(f"{path} holds no action network: its card has no {error}") from error
    except (ValueError, TypeError, RuntimeError) as error:
        raise WeightsError(f"{path} holds no action network: {error}"[:300]) from error
    return network.eval(), card


def onnx_card(path: Path) -> dict[str, Any]:
    """The card in an exported action network. Raises `WeightsError` for any other file."""
    import onnxruntime

    if not path.is_file():
        raise WeightsError(f"there is no network {path}", hint="Check the path")
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        card: dict[str, Any] = json.loads(session.get_modelmeta().custom_metadata_map.get("posepipe", "{}"))
        kind = card.get("kind")
    except Exception as error:  # the runtime has no class of its own for files that it cannot read
        raise WeightsError(f"{path} holds no action network: {error}"[:300]) from error
    if kind != "action" or "skeleton_full" not in card:
        raise WeightsError(
            f"{path} is no action network",
            got=f"kind {kind!r}",
            expected="a card of kind 'action'",
            hint="Export it with `posepipe train`, or see docs/formats.md, Weights",
        )
    return card
