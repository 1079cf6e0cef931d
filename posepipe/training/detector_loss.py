"""Which cells of the detector answer for which person, and what their answers cost.

Task-aligned assignment (Feng et al. 2021, TOOD, arXiv 2108.07755) with PicoDet's settings, varifocal loss for the score
(Zhang et al. 2021), generalised IoU (Rezatofighi et al. 2019) and distribution focal loss (Li et al. 2020) for the box.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from posepipe.models.detector import BINS, decode_boxes

__all__ = ["Assignment", "assign", "detector_loss", "pairwise_iou"]

CANDIDATES = 13
"""Cells that a person may claim."""

SCORE_POWER, IOU_POWER = 1.0, 6.0
"""Alignment of a cell with a person: score^1 * IoU^6."""

NEGATIVE_WEIGHT, NEGATIVE_POWER = 0.75, 2.0
"""Varifocal weight of background cells: 0.75 * score^2."""

BOX_WEIGHT, SIDES_WEIGHT = 2.5, 0.5
"""Weights of the IoU and the distribution loss beside the score's 1."""


@dataclass(frozen=True)
class Assignment:
    """Targets of every cell of a batch.

    Attributes
    ----------
    score
        (N,A) in [0,1]: the wanted score, 0 = background.
    box
        (N,A,4) xyxy px: the box of the person the cell answers for (anything where ``score`` is 0).
    counts
        (N,A) bool: False where an ignored region lies and no person is assigned.
    """

    score: Tensor
    box: Tensor
    counts: Tensor


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of (...,N,4) with (...,M,4) boxes xyxy: (...,N,M); 0 for boxes without area."""
    low = torch.maximum(a[..., :, None, :2], b[..., None, :, :2])
    high = torch.minimum(a[..., :, None, 2:], b[..., None, :, 2:])
    inter = (high - low).clamp_min(0).prod(-1)
    area_a = (a[..., 2:] - a[..., :2]).clamp_min(0).prod(-1)
    area_b = (b[..., 2:] - b[..., :2]).clamp_min(0).prod(-1)
    union = area_a[..., :, None] + area_b[..., None, :] - inter
    return inter / union.clamp_min(1e-9)


def _centres_inside(points: Tensor, boxes: Tensor) -> Tensor:
    """Whether points (A,2) lie in boxes (N,M,4): (N,M,A) bool."""
    low, high = boxes[..., None, :2], boxes[..., None, 2:]
    return ((points > low) & (points < high)).all(-1)


@torch.no_grad()
def assign(score: Tensor, guess: Tensor, points: Tensor, boxes: Tensor, kind: Tensor) -> Assignment:
    """Task-aligned assignment of cells to people.

    Parameters
    ----------
    score, guess
        (N,A) scores and (N,A,4) boxes of the network.
    points
        (A,2) centres of the cells, px.
    boxes
        (N,M,4) labelled boxes, padded.
    kind
        (N,M): 1 person, -1 ignored region, 0 padding.
    """
    if boxes.shape[1] == 0:
        return Assignment(torch.zeros_like(score), torch.zeros_like(guess), torch.ones_like(score, dtype=torch.bool))
    inside = _centres_inside(points, boxes)
    ignored = (inside & (kind == -1)[..., None]).any(1)
    overlap = pairwise_iou(boxes, guess)
    align = score[:, None].pow(SCORE_POWER) * overlap.pow(IOU_POWER) * (inside & (kind == 1)[..., None])
    best, where = align.topk(min(CANDIDATES, align.shape[-1]), -1)
    claimed = torch.zeros_like(align, dtype=torch.bool).scatter_(-1, where, best > 0)
    # A cell that several people claim answers for the one its box fits best.
    owner = (overlap * claimed).argmax(1)
    positive = claimed.any(1)
    own = torch.zeros_like(claimed).scatter_(1, owner[:, None], positive[:, None])
    align = align * own
    # A person's best cell wants its own IoU as score, the others less, in the proportion of their alignment.
    peak = align.amax(-1, keepdim=True).clamp_min(1e-12)
    wanted = align / peak * (overlap * own).amax(-1, keepdim=True)
    return Assignment(
        score=wanted.amax(1),
        box=boxes.gather(1, owner[..., None].expand(-1, -1, 4)),
        counts=positive | ~ignored,
    )


def generalised_iou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU of (P,4) with (P,4) boxes, in [-1,1]: (P,)."""
    inter = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp_min(0).prod(-1)
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).clamp_min(0).prod(-1)
    area = (a[:, 2:] - a[:, :2]).clamp_min(0).prod(-1) + (b[:, 2:] - b[:, :2]).clamp_min(0).prod(-1)
    union = (area - inter).clamp_min(1e-9)
    return inter / union - (hull - union) / hull.clamp_min(1e-9)


def _sides_loss(sides: Tensor, points: Tensor, strides: Tensor, boxes: Tensor) -> Tensor:
    """Distribution focal loss of (P,4,BINS) logits for boxes (P,4): cross-entropy with the two nearest bins, (P,)."""
    distance = torch.cat((points - boxes[:, :2], boxes[:, 2:] - points), -1) / strides[:, None]
    distance = distance.clamp(0, BINS - 1 - 1e-3)
    lower = distance.long()
    share = distance - lower
    log_p = sides.log_softmax(-1)
    low = log_p.gather(-1, lower[..., None])[..., 0]
    high = log_p.gather(-1, lower[..., None] + 1)[..., 0]
    return -(low * (1 - share) + high * share).mean(-1)


def detector_loss(
    outputs: tuple[Tensor, Tensor, Tensor], points: Tensor, strides: Tensor, boxes: Tensor, kind: Tensor
) -> dict[str, Tensor]:
    """Loss of a batch.

    Parameters
    ----------
    outputs
        Person logits (N,A), quality logits (N,A) and side logits (N,A,4,BINS) of ``PersonDetector``.
    points, strides
        Of the cells, from ``anchor_points``.
    boxes, kind
        Labels as ``assign`` takes them.

    Returns
    -------
    ``score``, ``box``, ``sides`` and their weighted sum ``loss``, scalars, each a sum over cells divided by the batch's
    sum of wanted scores.
    """
    person, quality, sides = outputs
    # sqrt(sigmoid * sigmoid) in logarithms: exact and with finite gradients at both ends.
    log_score = (functional.logsigmoid(person) + functional.logsigmoid(quality)) / 2
    score = log_score.exp()
    guess = decode_boxes(sides, points, strides)
    target = assign(score.detach(), guess.detach(), points, boxes, kind)
    log_rest = torch.log1p(-score.clamp_max(1 - 1e-6))
    cross = -(target.score * log_score + (1 - target.score) * log_rest)
    background = NEGATIVE_WEIGHT * score.detach().pow(NEGATIVE_POWER)
    weight = torch.where(target.score > 0, target.score, background) * target.counts
    total = target.score.sum().clamp_min(1.0)
    n, a = torch.nonzero(target.score > 0, as_tuple=True)
    share = target.score[n, a]
    wanted = target.box[n, a]
    parts = {
        "score": (weight * cross).sum() / total,
        "box": (share * (1 - generalised_iou(guess[n, a], wanted))).sum() / total,
        "sides": (share * _sides_loss(sides[n, a], points[a], strides[a], wanted)).sum() / total,
    }
    return parts | {"loss": parts["score"] + BOX_WEIGHT * parts["box"] + SIDES_WEIGHT * parts["sides"]}
