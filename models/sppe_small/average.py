"""The mean of the weights of trainings from one start: ``python models/sppe_small/average.py RUN_DIR ... -o OUT``.

Trainings that begin at the same weights and differ in order and chance lie in one basin, and their mean is better than
each of them (model soups, Wortsman et al. 2022): two processor cores train two networks side by side and lose little
against one training of twice the batch. Writes OUT.safetensors and OUT.onnx.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import torch

from posepipe.models.pose_checkpoints import load_pose_checkpoint
from posepipe.training.engine import LAST, averaged_weights
from posepipe.training.export import export_pose, write_weights
from posepipe.training.plan import find_recipe, make_plan

RECIPE = Path(__file__).resolve().parent / "recipe.toml"


def main() -> None:
    """Average and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dirs", type=Path, nargs="+", help="folders of training runs")
    parser.add_argument("-o", "--out", type=Path, required=True, help="path of the files without a suffix")
    options = parser.parse_args()
    runs = [averaged_weights(folder / LAST) for folder in options.run_dirs]
    mean = {name: torch.stack([run[name] for run in runs]).mean(0) for name in runs[0]}
    _, card = load_pose_checkpoint(options.run_dirs[0] / LAST)
    weights = options.out.with_suffix(".safetensors")
    write_weights(mean, weights, card)
    about = dataclasses.asdict(make_plan(find_recipe(str(RECIPE)), {}).phases[-1].export)
    export_pose(weights, options.out.with_suffix(".onnx"), **about)


if __name__ == "__main__":
    main()
