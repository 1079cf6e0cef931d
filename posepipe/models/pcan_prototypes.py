"""Prototypes of classes, the calibration of ambiguous clips by them, and the tree loss of PCAN.

Li et al., "Prototypical Calibrating Ambiguous Samples for Micro-Action Recognition", AAAI 2025 (arXiv 2412.14719),
as released; the coarse module is that of FR-Head (Zhou et al., CVPR 2023). A bank keeps a running mean of the features
of each class's correctly named clips. A clip is drawn to its prototype and to the clips of its class that were missed
(false negatives), and pushed from those wrongly given to it (false positives).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["CoarsePrototypes", "FinePrototypes", "Prototypes", "tree_loss"]

_ALPHA = 0.125
_TEMPERATURE = 0.125
_MOMENTUM = 0.9
_TINY = 1e-12
# sharpness of the scores of the three kinds of false negatives
_FN_SHARPNESS = (1.0, 0.1, 0.5)


class Prototypes(nn.Module):
    """A bank of one prototype a class and the layer that leads to its space.

    Parameters
    ----------
    channels
        Channels of the features.
    classes
        Prototypes.
    hidden
        Channels of a prototype.

    Attributes
    ----------
    bank : torch.Tensor
        (classes, hidden) float32 buffer, part of the state dictionary; starts from N(0, 1).
    """

    bank: Tensor

    def __init__(self, channels: int, classes: int, hidden: int) -> None:
        super().__init__()
        self.embed = nn.Linear(channels, hidden)
        self.register_buffer("bank", torch.randn(classes, hidden))

    def similarity(self, features: Tensor) -> Tensor:
        """Cosine of features and prototypes: (N, channels) -> (N, classes), -1..1."""
        return _unit(self._embedded(features)) @ _unit(self.bank).T

    def _embedded(self, features: Tensor) -> Tensor:
        embedded: Tensor = self.embed(features.to(self.bank.dtype))
        return embedded

    def _remember(self, embedded: Tensor, right: Tensor) -> Tensor:
        """The bank after this batch, which in training is kept.

        Parameters
        ----------
        embedded
            (N, hidden), in the space of the bank.
        right
            (N, classes) 1 for the class of a clip that was named correctly.

        Returns
        -------
        torch.Tensor
            (classes, hidden); carries the gradient of the batch's share. In evaluation the bank as it is.
        """
        if not self.training:
            return self.bank
        counts = right.sum(0)[:, None]
        mean = (right.T @ embedded) / (counts + _TINY)
        keep = torch.where(counts > 0, _MOMENTUM, 1.0)
        memory = keep * self.bank.clone() + (1 - keep) * mean
        self.bank.copy_(memory.detach())
        return memory


class CoarsePrototypes(Prototypes):
    """Prototypes of the coarse classes.

    The released code neither saves this bank nor goes on from it after a restart; here it is part of the state.
    """

    def __init__(self, channels: int, classes: int, hidden: int = 128) -> None:
        super().__init__(channels, classes, hidden)

    def forward(self, features: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """Calibration loss, ().

        Parameters
        ----------
        features
            (N, channels).
        logits
            (N, classes) of the coarse head.
        labels
            (N,) int64 coarse classes.
        """
        embedded = self._embedded(features)
        probability, true, named = _named(logits.to(embedded.dtype), labels)
        right = true * named
        memory = self._remember(embedded, right)
        penalty = _ALPHA * (1 - probability) * true
        missed = _scores(embedded, memory, true - right, penalty, 1)
        taken = _scores(embedded, memory, named - right, penalty, -1)
        return functional.cross_entropy(missed, labels) + functional.cross_entropy(taken, labels)


class FinePrototypes(Prototypes):
    """Prototypes of the fine classes; what was missed is parted by whether the coarse class was right."""

    def __init__(self, channels: int, classes: int, hidden: int = 256) -> None:
        super().__init__(channels, classes, hidden)

    def forward(self, features: Tensor, logits: Tensor, labels: Tensor, coarse_right: Tensor) -> tuple[Tensor, Tensor]:
        """Calibration loss and diversity of the prototypes, () each.

        Parameters
        ----------
        features
            (N, channels).
        logits
            (N, classes) of the fine head.
        labels
            (N,) int64 fine classes.
        coarse_right
            (N,) bool, the coarse head named the right class; all True where there is no coarse head.

        Notes
        -----
        The factors of the three kinds of false negatives multiply scores, not losses. The diversity is the Frobenius
        norm of all cosines between prototypes, at least the root of their number. It is taken from the update that
        carries the gradient; the released code takes it from a copy, where it has no effect on training (weight it 0
        for that).
        """
        embedded = self._embedded(features)
        probability, true, named = _named(logits.to(embedded.dtype), labels)
        coarse = coarse_right.to(true.dtype)[:, None]
        right = true * named
        memory = self._remember(embedded, right * coarse)
        penalty = _ALPHA * (1 - probability) * true
        missed = true - right
        kinds = (missed * coarse, right * (1 - coarse), missed * (1 - coarse))
        loss = functional.cross_entropy(_scores(embedded, memory, named - right, penalty, -1), labels)
        for kind, sharpness in zip(kinds, _FN_SHARPNESS, strict=True):
            loss = loss + functional.cross_entropy(sharpness * _scores(embedded, memory, kind, penalty, 1), labels)
        directions = _unit(memory)
        return loss, torch.linalg.matrix_norm(directions @ directions.T)


def tree_loss(fine: Tensor, coarse: Tensor, labels: Tensor, coarse_of: Tensor) -> Tensor:
    """Negative log-likelihood of the labels over the legal states of the class tree, (N,).

    A state is a coarse class alone, or a fine class with its coarse class; its potential is the exponential of the sum
    of the sigmoids of its classes.

    Parameters
    ----------
    fine, coarse
        (N,F) and (N,C) logits.
    labels
        (N,F) float targets that sum to 1; the loss is their expectation.
    coarse_of
        (F,) int64 coarse class of each fine one.
    """
    above = coarse.to(labels.dtype).sigmoid()
    states = fine.to(labels.dtype).sigmoid() + above[:, coarse_of]
    total = torch.cat((above, states), 1).logsumexp(1)
    return total - (labels * states).sum(1)


def _named(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities, and the labels and the named classes as one-hot rows, (N, classes) each."""
    rows = (functional.one_hot(c, logits.shape[1]).to(logits.dtype) for c in (labels, logits.argmax(1)))
    true, named = rows
    return logits.softmax(1), true, named


def _scores(embedded: Tensor, memory: Tensor, mistakes: Tensor, penalty: Tensor, sign: int) -> Tensor:
    """Scores of clips by class, (N, classes), with the pull to (sign 1) or push from (sign -1) mistaken clips."""
    directions = _unit(embedded)
    likeness = sign * (directions @ _unit(mistakes.T @ embedded).T) - 1
    has = (mistakes.sum(0) > 0).to(likeness.dtype)
    return (directions @ _unit(memory).T + likeness * penalty * has) / _TEMPERATURE


def _unit(x: Tensor) -> Tensor:
    unit: Tensor = x / (torch.linalg.vector_norm(x, dim=-1, keepdim=True) + _TINY)
    return unit
