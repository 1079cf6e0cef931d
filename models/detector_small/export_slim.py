"""From a run of ``recipe_slim.toml`` to files: ``python models/detector_small/export_slim.py RUN_DIR --package WHEEL``.

Writes the weights of the run's last phase into RUN_DIR as ``detector_slim.onnx`` and ``detector_slim.safetensors``, and
prints their figures on the validation pictures beside the teacher's: average precision by set, F1 by score threshold.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from safetensors.torch import save_file

from posepipe.config import cache_root, data_root
from posepipe.io.atomic import atomic_path
from posepipe.models.detector import PersonDetector
from posepipe.models.picodet_weights import load_picodet_package
from posepipe.models.pose_files import fill, read_tensors
from posepipe.training.detector_choice import f1, look, precision_by_source, validation_score
from posepipe.training.detector_data import SIZE, validation_boxes
from posepipe.training.detector_export import write_detector
from posepipe.training.engine import BEST, averaged_weights

HERE = Path(__file__).resolve().parent
TEACHER = HERE / "detector_small.safetensors"
CARD = {
    "name": "detector_slim",
    "version": "0.1.0",
    "kind": "detector",
    "input_size": [SIZE, SIZE],
    "resize": "stretch",
    "score_threshold": 0.4,
    "nms_iou": 0.6,
    "licence": "Apache-2.0",
    "trained_on": [
        "COCO 2017 train (PicoDet-S 416 LCNet, PaddleDetection, Apache-2.0)",
        "people",
        "streets",
        "LSP extended train",
        "COCO 2017 train (242 pictures)",
    ],
}
THRESHOLDS = (0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6)


def main() -> None:
    """Write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dir", type=Path, help="folder of the training run")
    parser.add_argument("--package", type=Path, required=True, help="paddlelabel_ml-1.0.0-py3-none-any.whl")
    options = parser.parse_args()
    phases = sorted(options.run_dir.glob(f"phase*/{BEST}"))
    slim, teacher = PersonDetector(slim=True).eval(), PersonDetector().eval()
    slim.load_state_dict(averaged_weights(phases[-1] if phases else options.run_dir / BEST))
    fill(teacher, read_tensors(TEACHER)[0], TEACHER)
    published = load_picodet_package(options.package)
    images = validation_boxes(data_root(), published, cache_root() / "second_opinions")
    for name, network in (("teacher", teacher), ("slim", slim)):
        seen = look(network, SIZE, images)
        figures = precision_by_source(images, seen)
        rows = " ".join(f"{source} {value:.4f}" for source, value in figures.items())
        print(f"{name}: score {validation_score(figures):.4f} ({rows})")
        print("  F1 by threshold: " + " ".join(f"{t:.2f} {f1(images, seen, t):.3f}" for t in THRESHOLDS), flush=True)
    weights = {name: value.detach().contiguous() for name, value in slim.state_dict().items()}
    with atomic_path(options.run_dir / "detector_slim.safetensors") as unfinished:
        save_file(weights, unfinished)
    write_detector(slim, SIZE, CARD, options.run_dir / "detector_slim.onnx")


if __name__ == "__main__":
    main()
