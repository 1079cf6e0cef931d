"""Print time and memory of real optimiser steps of a recipe on frames, on random pictures.

    python eval/adatad_step.py [RECIPE] [--steps N] [--batch N] [--window STEPS]

Nothing is learnt from it: it shows what a machine needs for the recipe (thumos14_adatad by default).
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from posepipe.datasets.temporal import Window
from posepipe.report import machine
from posepipe.training.plan import find_recipe, make_plan
from posepipe.training.schedule import make_optimizer
from posepipe.training.tad import TadModule, build_network
from posepipe.training.tad_data import collate
from posepipe.training.tad_recipe import TadRecipe

CLASSES = 20


def random_window(recipe: TadRecipe, seed: int) -> Window:
    """A window of noise with an action in it."""
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, 256, (recipe.window, recipe.crop, recipe.crop, 3), dtype=np.uint8)
    span = np.array([[recipe.window * 0.3, recipe.window * 0.4]], np.float32)
    return Window(pictures, np.ones(recipe.window, bool), span, np.array([seed % CLASSES]))


def main() -> None:
    """Parse, step, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", default="thumos14_adatad")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--window", default="768")
    arguments = parser.parse_args()
    recipe = make_plan(find_recipe(arguments.recipe), {"window": arguments.window}).phases[0]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    module = TadModule(build_network(recipe, CLASSES, 0), recipe, [str(n) for n in range(CLASSES)], []).to(device)
    module.log = lambda *_, **__: None  # type: ignore[method-assign]  # there is no trainer to log to
    optimizer = make_optimizer(recipe.engine, module.parameter_groups())
    half = device.type == "cuda" and recipe.engine.precision.endswith("mixed")
    scaler = torch.amp.GradScaler(enabled=half)
    gpu = torch.cuda.get_device_name() if device.type == "cuda" else "no GPU"
    size = f"batch {arguments.batch}, {recipe.window} frames of {recipe.crop} px"
    print(f"{machine()}; {gpu}; torch {torch.__version__}; {size}")
    for step in range(arguments.steps):
        batch = collate([random_window(recipe, step * arguments.batch + n) for n in range(arguments.batch)])
        moved = {
            name: part.to(device) if isinstance(part, torch.Tensor) else [p.to(device) for p in part]
            for name, part in batch.items()
        }
        begun = time.perf_counter()
        with torch.autocast(device.type, enabled=half):
            loss = module.train().training_step(moved, step)
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(module.parameters(), recipe.engine.clip_norm)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        value = loss.item()
        seconds = time.perf_counter() - begun
        memory = f", {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB at most" if device.type == "cuda" else ""
        print(f"step {step + 1}: loss {value:.3f}, {seconds:.2f} s{memory}", flush=True)


if __name__ == "__main__":
    main()
