"""What a temporal detector learns: which points answer for which actions, and the losses (ActionFormer)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from posepipe.models.actionformer import Points

__all__ = ["Targets", "assign", "diou_loss", "focal_loss", "updated_normaliser"]

Targets = tuple[Tensor, Tensor]
#: points this many strides around the middle of an action answer for it
_RADIUS = 1.5
_ALPHA, _GAMMA = 0.25, 2.0
#: actions whose lengths differ by less are equally near
_SAME = 1e-3


def assign(points: Points, spans: Tensor, labels: Tensor, classes: int) -> Targets:
    """What every point is to say.

    A point answers for an action if it is inside it, near its middle, and the farther end is in the reach of its level.
    Of several it takes the shortest; the classes of all that are as short, too.

    Parameters
    ----------
    points
        P of them.
    spans
        (M,2) start and end of the actions, input steps.
    labels
        (M,) classes.
    classes
        A, number of classes.

    Returns
    -------
    classification
        (P,A), 1 where a point answers for an action of the class.
    ends
        (P,2) start and end of the action it answers for, input steps; of no meaning where it answers for none.
    """
    count = len(points.position)
    if len(spans) == 0:
        return spans.new_zeros((count, classes)), spans.new_zeros((count, 2))
    place, stride = points.position[:, None], points.stride[:, None]
    start, end = spans[:, 0], spans[:, 1]
    left, right = place - start, end - place
    middle, radius = (start + end) / 2, _RADIUS * stride
    inside = place > torch.maximum(middle - radius, start)
    inside &= place < torch.minimum(middle + radius, end)
    farther = torch.maximum(left, right)
    answers = inside & (farther >= points.reach[:, :1]) & (farther <= points.reach[:, 1:])
    length = torch.where(answers, (end - start).expand(count, -1), torch.inf)
    shortest, which = length.min(dim=1)
    equal = answers & (length <= shortest[:, None] + _SAME)
    target = equal.to(spans.dtype) @ functional.one_hot(labels, classes).to(spans.dtype)
    return target.clamp(max=1.0), spans[which]


def focal_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Sum of the sigmoid focal loss (Lin et al. 2017) with alpha 0.25 and gamma 2."""
    chance = logits.sigmoid()
    cross = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    right = chance * target + (1 - chance) * (1 - target)
    weight = _ALPHA * target + (1 - _ALPHA) * (1 - target)
    return (weight * (1 - right) ** _GAMMA * cross).sum()


def diou_loss(guess: Tensor, truth: Tensor) -> Tensor:
    """Sum over (M,2) spans of 1 - IoU + the squared distance of their middles over that of their outer ends."""
    shared = (torch.minimum(guess[:, 1], truth[:, 1]) - torch.maximum(guess[:, 0], truth[:, 0])).clamp(min=0)
    covered = (guess[:, 1] - guess[:, 0]) + (truth[:, 1] - truth[:, 0]) - shared
    outer = torch.maximum(guess[:, 1], truth[:, 1]) - torch.minimum(guess[:, 0], truth[:, 0])
    apart = (guess.sum(1) - truth.sum(1)) / 2
    return (1 - shared / covered.clamp(min=1e-7) + (apart / outer.clamp(min=1e-7)) ** 2).sum()


def updated_normaliser(normaliser: Tensor, positives: int) -> Tensor:
    """The running number of positive points that losses are divided by."""
    return 0.9 * normaliser + 0.1 * max(positives, 1)
