"""The mean of the weights of trainings from one start: ``python models/sppe_small/average.py RUN ... -o OUT``.

A RUN is the folder of a training, or a .safetensors file: the start, or an earlier mean. Trainings that begin at the
same weights and differ in order and chance lie in one basin, and their mean is better than each of them (model soups,
Wortsman et al. 2022): two processor cores train two networks side by side and lose little against one training of
twice the batch. A mean with the start keeps more of what the start knew. Writes OUT.safetensors and OUT.onnx.

With ``--calibrate`` the last layer is divided by the temperature (Guo et al. 2017) at which the scores of joints come
nearest to their OKS, over what people labelled in the recipe's validation part. It stays in the weights: nothing that
reads the network knows of it.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from posepipe.config import cache_root
from posepipe.datasets.crops import load_crops
from posepipe.datasets.keypoints import KeypointSamples
from posepipe.evaluation.keypoints import calibration, joint_oks, paired_oks
from posepipe.heatmaps import decode_posterior, oks_kernel_sigmas
from posepipe.models.pose_checkpoints import load_pose_checkpoint
from posepipe.skeleton import COCO17
from posepipe.training.engine import LAST
from posepipe.training.export import export_pose, write_weights
from posepipe.training.plan import find_recipe, make_plan
from posepipe.training.pose_sources import training_people
from posepipe.training.recipe import PoseRecipe

RECIPE = Path(__file__).resolve().parent / "recipe.toml"
TEMPERATURES = np.arange(0.8, 1.65, 0.05)
_BATCH = 32


def main() -> None:
    """Average, calibrate and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of training runs, or .safetensors files")
    parser.add_argument("-o", "--out", type=Path, required=True, help="path of the files without a suffix")
    parser.add_argument("--calibrate", action="store_true", help="make the scores honest on the validation part")
    options = parser.parse_args()
    recipe: PoseRecipe = make_plan(find_recipe(str(RECIPE)), {}).phases[-1]
    loaded = [load_pose_checkpoint(run / LAST if run.is_dir() else run) for run in options.runs]
    (network, card), runs = loaded[0], [other.state_dict() for other, _ in loaded]
    mean = {name: torch.stack([run[name] for run in runs]).mean(0) for name in runs[0]}
    if options.calibrate:
        network.load_state_dict(mean)
        temperature = fitted_temperature(network, card, recipe)
        mean |= {name: value / temperature for name, value in mean.items() if name.startswith("logits.")}
    weights = options.out.with_suffix(".safetensors")
    write_weights(mean, weights, card)
    export_pose(weights, options.out.with_suffix(".onnx"), **dataclasses.asdict(recipe.export))


def fitted_temperature(network: nn.Module, card: dict[str, Any], recipe: PoseRecipe) -> float:
    """The temperature of the least expected calibration error over the joints that people labelled."""
    people = [person for person in training_people(recipe)[1].people if person.by_people]
    size, stride, padding = tuple(card["input_size"]), card["stride"], card["padding"]
    crops = load_crops(people, size, padding, cache_root() / "crops")
    samples = KeypointSamples(crops, size, stride=stride, padding=padding)
    rows = [samples[index] for index in range(len(samples))]
    cells, located, area = (np.stack([row[name] for row in rows]) for name in ("cells", "located", "area"))
    pixels = torch.from_numpy(np.stack([row["image"] for row in rows])).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        logits = torch.cat([network.eval()(pixels[i : i + _BATCH]) for i in range(0, len(pixels), _BATCH)])
    kernels, known = oks_kernel_sigmas(np.array(COCO17.sigmas), size, stride, padding), located > 0.99
    errors = []
    for temperature in TEMPERATURES:
        maps = (logits / temperature).flatten(2).softmax(-1).view_as(logits).numpy()
        xy, score = decode_posterior(maps, kernels, card["sigma"])
        given = (cells, known.astype(np.float64), area, xy)
        errors.append(calibration(score[known], joint_oks(*given)[known]).error)
        mean = paired_oks(*given)[known.any(1)].mean()
        print(f"temperature {temperature:.2f}: calibration error {errors[-1]:.3f}, mean OKS {mean:.4f}")
    return float(TEMPERATURES[int(np.argmin(errors))])


if __name__ == "__main__":
    main()
