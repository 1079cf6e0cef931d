"""Losses of pose networks on maps (N,K,h,w): against labelled joints, and against a teacher's maps."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["gaussian_loss", "gaussian_targets", "posterior_loss", "teacher_loss"]


def _bells(cells: Tensor, height: int, width: int, sigma: float) -> tuple[Tensor, Tensor]:
    """Gaussians of peak 1 at (N,K,2) cells: columns (N,K,h) and rows (N,K,w), whose product is the map."""
    x, y = cells.unbind(-1)
    column = torch.exp(-((torch.arange(height, device=cells.device) - y[..., None]) ** 2) / (2 * sigma**2))
    row = torch.exp(-((torch.arange(width, device=cells.device) - x[..., None]) ** 2) / (2 * sigma**2))
    return column, row


def posterior_loss(logits: Tensor, cells: Tensor, located: Tensor, absent: Tensor, sigma: float) -> Tensor:
    """Cross-entropy of location posteriors.

    Parameters
    ----------
    logits
        (N,K,h,w).
    cells
        (N,K,2) joints in cells.
    located, absent
        (N,K) trust: a located joint's target is a gaussian about its place, an absent one's the uniform map.
    sigma
        Standard deviation of the gaussian, cells.

    Returns
    -------
    Scalar: mean over joints, weighted by trust, of KL(target | posterior).
    """
    count, joints, height, width = logits.shape
    log_posterior = logits.flatten(2).log_softmax(-1).view(count, joints, height, width)
    column, row = _bells(cells, height, width, sigma)
    column, row = column / column.sum(-1, keepdim=True), row / row.sum(-1, keepdim=True)
    entropy = -(torch.xlogy(column, column).sum(-1) + torch.xlogy(row, row).sum(-1))
    cross = -torch.einsum("nkh,nkhw,nkw->nk", column, log_posterior, row)
    spread = -log_posterior.mean((-2, -1)) - math.log(height * width)
    total = (located * (cross - entropy) + absent * spread).sum()
    return total / (located.sum() + absent.sum()).clamp_min(1e-6)


def gaussian_targets(cells: Tensor, size: tuple[int, int], sigma: float) -> Tensor:
    """Gaussians of peak 1 at (N,K,2) cells: (N,K,h,w).

    The centre is not rounded to a cell as in SimpleBaseline and AlphaPose: with the true centre the maximum can be read
    off between cells without bias (DARK, Zhang et al. 2020, section 3.1).
    """
    column, row = _bells(cells, *size, sigma)
    return column[..., :, None] * row[..., None, :]


def gaussian_loss(maps: Tensor, cells: Tensor, located: Tensor, absent: Tensor, sigma: float) -> Tensor:
    """Half the mean squared error against gaussians of peak 1, each map weighted by the trust in its joint.

    Arguments as for `posterior_loss`; an absent joint's target is the map of zeros. The mean is over all cells and
    joints, those without a label counting 0 (AlphaPose, SimpleBaseline).
    """
    error = (maps - gaussian_targets(cells, (maps.shape[2], maps.shape[3]), sigma)).square().mean((-2, -1))
    nothing = maps.square().mean((-2, -1))
    return 0.5 * (located * error + absent * nothing).mean()


def teacher_loss(maps: Tensor, target: str, taught: Tensor, confidence: Tensor, weight: Tensor) -> Tensor:
    """What a student's maps differ from a teacher's.

    Parameters
    ----------
    maps
        (N,K,h,w) of the student: logits (target ``posterior``) or gaussians of peak 1 (``gaussian``).
    target
        Which of the two.
    taught
        (N,K,h,w) of the teacher, each summing to 1.
    confidence
        (N,K) in [0,1]: how sure the teacher is of a joint.
    weight
        (N,K) weight of each joint.

    Returns
    -------
    Scalar: the mean over joints of weight x confidence x KL(teacher | student); for gaussians of weight x half the mean
    squared error to the teacher's map with its confidence as peak (an unsure teacher's map is low, and a target too).
    """
    if target == "posterior":
        log_posterior = maps.flatten(2).log_softmax(-1).view_as(maps)
        divergence = (torch.xlogy(taught, taught) - taught * log_posterior).sum((-2, -1))
        return (weight * confidence * divergence).mean()
    peak = taught.amax((-2, -1), keepdim=True).clamp_min(1e-12)
    wanted = taught / peak * confidence[..., None, None]
    return 0.5 * (weight * (maps - wanted).square().mean((-2, -1))).mean()
