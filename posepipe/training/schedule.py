"""Optimisers, learning-rate schedules and the average of weights of the engine."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LinearLR, ReduceLROnPlateau

from posepipe.training.recipe import EngineRecipe, better

__all__ = ["make_optimizer", "make_schedules", "ramped_average", "rate_share"]


def make_optimizer(recipe: EngineRecipe, groups: list[dict[str, Any]]) -> Optimizer:
    """The recipe's optimiser on groups of parameters, each with its own ``weight_decay`` and perhaps ``lr``."""
    match recipe.optimizer:
        case "sgd":
            ahead = recipe.nesterov and recipe.momentum > 0
            return SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=ahead)
        case "adam":
            return Adam(groups, lr=recipe.learning_rate)
        case _:
            return AdamW(groups, lr=recipe.learning_rate)


def rate_share(recipe: EngineRecipe, total_steps: int, steps_per_epoch: int) -> Callable[[int], float]:
    """The learning rate over its highest value, as a function of the step: warm-up, then cosine, steps or constant.

    Parameters
    ----------
    recipe
        `schedule`, `warmup_steps` or `warmup_epochs`, `warmup_share`, `final_share`, `cosine_epochs`, `milestones`,
        `gamma`.
    total_steps, steps_per_epoch
        Optimiser steps of the whole training and of an epoch.
    """
    milestones = [epoch * steps_per_epoch for epoch in sorted(recipe.milestones)]
    warmup = _warmup(recipe, steps_per_epoch)
    end = recipe.cosine_epochs * steps_per_epoch or total_steps

    def share(step: int) -> float:
        if step < warmup:
            return recipe.warmup_share + (1 - recipe.warmup_share) * (step + 1) / warmup
        if recipe.schedule == "cosine":
            part = (step - warmup) / max(1, end - warmup)
            cosine = (1 + math.cos(math.pi * min(1.0, part))) / 2
            return recipe.final_share + (1 - recipe.final_share) * cosine
        if recipe.schedule == "step":
            return float(recipe.gamma ** bisect_right(milestones, step))
        return 1.0

    return share


def make_schedules(
    recipe: EngineRecipe, optimizer: Optimizer, total_steps: int, steps_per_epoch: int
) -> list[dict[str, Any]]:
    """The recipe's schedules in Lightning's form."""
    if recipe.schedule != "plateau":
        schedule = LambdaLR(optimizer, rate_share(recipe, total_steps, steps_per_epoch))
        return [{"scheduler": schedule, "interval": "step"}]
    # Both of these multiply the rate that they find, so the warm-up and the falls do not undo one another.
    watched = recipe.plateau_monitor or recipe.monitor
    falls = ReduceLROnPlateau(optimizer, mode=better(watched), factor=recipe.gamma, patience=recipe.plateau_patience)
    found: list[dict[str, Any]] = [{"scheduler": falls, "interval": "epoch", "monitor": watched}]
    found[0]["frequency"] = recipe.validate_every  # as often as the figure is new
    warmup = _warmup(recipe, steps_per_epoch)
    if warmup > 1:
        first = recipe.warmup_share + (1 - recipe.warmup_share) / warmup
        rise: torch.optim.lr_scheduler.LRScheduler = LinearLR(optimizer, first, total_iters=warmup - 1)
        found.append({"scheduler": rise, "interval": "step"})
    return found


def _warmup(recipe: EngineRecipe, steps_per_epoch: int) -> int:
    """Optimiser steps of the warm-up."""
    return recipe.warmup_epochs * steps_per_epoch or recipe.warmup_steps


def ramped_average(decay: float) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]:
    """The update, in place, of moving averages whose decay rises to `decay`; see `EngineRecipe.ema_decay`.

    It takes all tensors of one type at a time: one by one they would keep a GPU waiting.
    """

    def update(averages: Sequence[Tensor], currents: Sequence[Tensor], updates: Tensor | int) -> None:
        if averages[0].is_floating_point():
            count = int(updates)
            share = 1 - min(decay, (1 + count) / (10 + count))
            torch._foreach_lerp_(list(averages), list(currents), share)
        else:  # counters of batch norms
            torch._foreach_copy_(list(averages), list(currents))

    return update
