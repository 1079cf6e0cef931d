"""From views of clips to what an action network takes, on the device that trains: maps, pictures, mixed clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from posepipe.datasets.action_views import PX_PER_CELL, ActionView
from posepipe.training.action_card import card_form, card_skeleton
from posepipe.training.action_maps import keypoint_maps, limb_maps
from posepipe.training.action_points import first_person, point_features
from posepipe.training.action_recipe import MixRecipe

__all__ = ["ClipMaker", "collate", "collate_tests", "mix"]

# ImageNet's mean and standard deviation, of 0..255
_MEAN, _DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)

Batch = dict[str, Tensor]


def collate(views: Sequence[ActionView]) -> Batch:
    """A batch of N views: ``points`` (N,P,T,K,2), ``score`` (N,P,T,K), ``label`` and ``row`` (N,), ``rgb`` (N,T,S,S,3).

    Clips of fewer people than the others get people who are not there; ``rgb`` is there where views have pictures.
    """
    people = max(len(view.score) for view in views)
    shape = views[0].score.shape[1:]
    points = np.zeros((len(views), people, *shape, 2), np.float32)
    score = np.zeros((len(views), people, *shape), np.float32)
    for number, view in enumerate(views):
        points[number, : len(view.points)], score[number, : len(view.score)] = view.points, view.score
    batch = {
        "points": torch.from_numpy(points),
        "score": torch.from_numpy(score),
        "label": torch.tensor([view.label for view in views]),
        "row": torch.tensor([view.row for view in views]),
    }
    pictures = [view.rgb for view in views if view.rgb is not None]
    if pictures:
        batch["rgb"] = torch.from_numpy(np.stack(pictures))
    return batch


def collate_tests(views: Sequence[Sequence[ActionView]]) -> Batch:
    """The same of several views of each clip, which follow one another."""
    return collate([view for clip in views for view in clip])


class ClipMaker(nn.Module):
    """What the streams take of a batch.

    Parameters
    ----------
    card
        Of the network, from `posepipe.training.action_card.action_card`: which streams there are, what they take.
    """

    edges: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(self, card: Mapping[str, Any]) -> None:
        super().__init__()
        form = card_form(card)
        self.pose, self.rgb = form.pose, form.rgb
        self.sigma, self.limbs, self.points = card["sigma"], card["limbs"], card["network"] == "points"
        self.register_buffer("edges", torch.from_numpy(card_skeleton(card).edge_index.copy()), persistent=False)
        for name, value in (("mean", _MEAN), ("deviation", _DEVIATION)):
            self.register_buffer(name, torch.tensor(value), persistent=False)

    def forward(self, batch: Batch, size: int) -> Batch:
        """``pose`` and ``rgb`` (N,3,T,S,S) normalised, of the streams that there are.

        ``pose`` is maps (N,C,T,size,size) in [0,1], or for a network of points (N,C,T,1,1), what
        `posepipe.training.action_points.point_features` makes of the first person.
        """
        clips: Batch = {}
        given = batch["points"], batch["score"]
        if self.pose and self.points:
            clips["pose"] = point_features(first_person(*given), self.edges, size)
        elif self.pose:
            maps = keypoint_maps(*given, size, self.sigma)
            more = [limb_maps(*given, self.edges, size, self.sigma)] if self.limbs else []
            clips["pose"] = torch.cat((maps, *more), 1)
        if self.rgb:
            clips["rgb"] = ((batch["rgb"] - self.mean) / self.deviation).permute(0, 4, 1, 2, 3)
        return clips


def mix(clips: Batch, labels: Tensor, classes: int, recipe: MixRecipe) -> tuple[Batch, Tensor]:
    """Blend the clips of a batch, or put a rectangle of another clip into each, with the chances of a recipe.

    Zhang et al. 2018 (mixup) and Yun et al. 2019 (CutMix), the same for all frames and for pictures and maps.

    Parameters
    ----------
    clips
        ``pose``, ``rgb`` or both, as `ClipMaker` gives them.
    labels
        (N,) int64.
    classes
        Number of classes.
    recipe
        Chances and distributions.

    Returns
    -------
    The clips, and targets (N, classes) that sum to 1.
    """
    targets = functional.one_hot(labels, classes).float()
    draw = float(torch.rand(()))
    if draw >= recipe.mixup + recipe.cutmix:
        return clips, targets
    other = torch.randperm(len(labels), device=labels.device)
    alpha = recipe.mixup_alpha if draw < recipe.mixup else recipe.cutmix_alpha
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    if draw < recipe.mixup:
        mixed = {name: share * clip + (1 - share) * clip[other] for name, clip in clips.items()}
        return mixed, share * targets + (1 - share) * targets[other]
    cells = clips["pose"].shape[-1] if "pose" in clips else clips["rgb"].shape[-1] // PX_PER_CELL
    side = round(cells * (1 - share) ** 0.5)
    y, x = (int(torch.randint(cells - side + 1, ())) for _ in range(2))
    mixed = {name: _patched(clip, other, (y, x, side), clip.shape[-1] // cells) for name, clip in clips.items()}
    kept = 1 - (side / cells) ** 2
    return mixed, kept * targets + (1 - kept) * targets[other]


def _patched(clip: Tensor, other: Tensor, place: tuple[int, int, int], scale: int) -> Tensor:
    """A square of another clip in each; its corner and side are in cells."""
    y, x, side = (v * scale for v in place)
    result = clip.clone()
    result[..., y : y + side, x : x + side] = clip[other][..., y : y + side, x : x + side]
    return result
