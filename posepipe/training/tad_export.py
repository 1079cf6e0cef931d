"""A temporal detector on poses as ONNX, with the card that says how its input is made."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from posepipe.datasets.utkinect_recordings import RATE
from posepipe.models.actionformer import ActionFormer, points_of
from posepipe.models.adatad import TemporalDetector, load_temporal_detector
from posepipe.streams.motion import MOTION_KEYPOINTS
from posepipe.training.export import onnx_bytes, write_onnx, write_safetensors
from posepipe.training.tad_recipe import TadRecipe

__all__ = ["SpanExport", "export_tad"]

#: least score of a keypoint of a pose network that counts as seen
_KEYPOINT_SCORE = 0.3


class SpanExport(nn.Module):
    """(N,C+1,T) features, then 1 for each real step -> scores (N,P,A) in [0,1] and spans (N,P,2) in steps.

    What no real step answers for has score 0.
    """

    position: Tensor
    stride: Tensor

    def __init__(self, detector: ActionFormer, steps: int) -> None:
        super().__init__()
        self.detector = detector
        points = points_of(steps, detector.form.levels)
        self.register_buffer("position", points.position)
        self.register_buffer("stride", points.stride)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and spans."""
        found = self.detector(features[:, :-1], features[:, -1] > 0.5)
        reach = found.offsets * self.stride[:, None]
        spans = torch.stack([self.position - reach[..., 0], self.position + reach[..., 1]], dim=-1)
        return found.logits.sigmoid() * found.valid[..., None], spans


def export_tad(checkpoint: Path, recipe: TadRecipe, labels: Sequence[str], path: Path) -> None:
    """Write the averaged weights of a training on poses as .safetensors and .onnx; they appear whole or not at all.

    Parameters
    ----------
    checkpoint
        Of the training.
    recipe
        Its recipe.
    labels
        Names of the actions.
    path
        The .onnx file; the .safetensors file lies beside it.
    """
    network: TemporalDetector = load_temporal_detector(checkpoint, heads=recipe.heads, window=recipe.attention)
    weights = path.with_suffix(".safetensors")
    write_safetensors(checkpoint, weights)
    card = {
        "name": recipe.export.name,
        "version": recipe.export.version,
        "kind": "tad",
        "labels": list(labels),
        "keypoints": list(MOTION_KEYPOINTS),
        "keypoint_score": _KEYPOINT_SCORE,
        "rate": RATE,
        "window": recipe.window,
        "overlap": recipe.overlap,
        "strides": [2**level for level in range(recipe.levels)],
        "least_score": recipe.least_score,
        "sigma": recipe.sigma,
        "score_threshold": recipe.told_score,
        "licence": recipe.export.licence,
        "trained_on": list(recipe.export.trained_on),
        "safetensors_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
    }
    example = torch.zeros(2, network.detector.form.inputs + 1, recipe.window)
    example[:, -1] = 1
    module = SpanExport(network.detector, recipe.window).eval()
    model = onnx_bytes(module, example, ["scores", "spans"], card, input_name="features")
    write_onnx(path, model)
    print(f"written: {weights} and {path.name}", flush=True)
