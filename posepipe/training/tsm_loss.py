"""Losses for two classes of which one may be rare."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["focal_bce", "forgery_loss", "positive_weight"]


def focal_bce(logits: Tensor, labels: Tensor, gamma: float) -> Tensor:
    """Focal loss of two classes (Lin et al. 2017, equation 4): the mean of (1 - p)^gamma x -log p, p that of the truth.

    Parameters
    ----------
    logits, labels
        (N,) and (N,) of 0.0 and 1.0.
    gamma
        0 gives the cross-entropy.
    """
    cross_entropy = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    return ((1 - torch.exp(-cross_entropy)) ** gamma * cross_entropy).mean()


def positive_weight(labels: Tensor) -> float:
    """Weight of the class 1 that makes both classes count alike: how many 0 there are for each 1; (N,) labels."""
    ones = float(labels.sum())
    return (len(labels) - ones) / ones


def forgery_loss(kind: str, logits: Tensor, labels: Tensor, *, gamma: float, weight: float) -> Tensor:
    """The loss that a recipe names: ``bce``, ``weighted`` (class 1 by `weight`) or ``focal`` (by `gamma`)."""
    match kind:
        case "focal":
            return focal_bce(logits, labels, gamma)
        case "weighted":
            return F.binary_cross_entropy_with_logits(logits, labels, pos_weight=logits.new_tensor(weight))
        case _:
            return F.binary_cross_entropy_with_logits(logits, labels)
