"""The mean of the weights of trainings from one start: ``python models/sppe_small/average.py RUN ... -o OUT``.

A RUN is the folder of a training, or a .safetensors file: the start, or an earlier mean. Trainings that begin at the
same weights and differ in order and chance lie in one basin, and their mean is better than each of them (model soups,
Wortsman et al. 2022): two processor cores train two networks side by side and lose little against one training of
twice the batch. A mean with the start keeps more of what the start knew. Writes OUT.safetensors and OUT.onnx.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import torch

from posepipe.models.pose_checkpoints import load_pose_checkpoint
from posepipe.training.engine import LAST
from posepipe.training.export import export_pose, write_weights
from posepipe.training.plan import find_recipe, make_plan

RECIPE = Path(__file__).resolve().parent / "recipe.toml"


def main() -> None:
    """Average and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of training runs, or .safetensors files")
    parser.add_argument("-o", "--out", type=Path, required=True, help="path of the files without a suffix")
    options = parser.parse_args()
    loaded = [load_pose_checkpoint(run / LAST if run.is_dir() else run) for run in options.runs]
    card, runs = loaded[0][1], [network.state_dict() for network, _ in loaded]
    mean = {name: torch.stack([run[name] for run in runs]).mean(0) for name in runs[0]}
    weights = options.out.with_suffix(".safetensors")
    write_weights(mean, weights, card)
    about = dataclasses.asdict(make_plan(find_recipe(str(RECIPE)), {}).phases[-1].export)
    export_pose(weights, options.out.with_suffix(".onnx"), **about)


if __name__ == "__main__":
    main()
