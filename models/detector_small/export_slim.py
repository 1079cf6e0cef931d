"""From a run of ``recipe_slim.toml`` to files: ``python models/detector_small/export_slim.py RUN_DIR --package WHEEL``.

Writes the weights of the run's last phase into RUN_DIR as ``detector_slim.onnx`` and ``detector_slim.safetensors``, and
prints their figures on the validation pictures beside the teacher's: average precision by set, F1 by score threshold.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from export import CARD, TENSORS, tell

from posepipe.config import cache_root, data_root
from posepipe.models.detector import PersonDetector
from posepipe.models.picodet_weights import load_picodet_package
from posepipe.models.pose_files import fill, read_tensors
from posepipe.training.detector_data import SIZE, validation_boxes
from posepipe.training.detector_export import write_detector
from posepipe.training.engine import BEST, averaged_weights
from posepipe.training.export import write_weights

SLIM = {
    "name": "detector_slim",
    "version": "0.1.0",
    "trained_on": [
        "COCO 2017 train (PicoDet-S 416 LCNet, PaddleDetection, Apache-2.0)",
        "people",
        "streets",
        "LSP extended train",
        "COCO 2017 train (242 pictures)",
    ],
}


def main() -> None:
    """Write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dir", type=Path, help="folder of the training run")
    parser.add_argument("--package", type=Path, required=True, help="paddlelabel_ml-1.0.0-py3-none-any.whl")
    options = parser.parse_args()
    phases = sorted(options.run_dir.glob(f"phase*/{BEST}"))
    slim, teacher = PersonDetector(slim=True).eval(), PersonDetector().eval()
    slim.load_state_dict(averaged_weights(phases[-1] if phases else options.run_dir / BEST))
    fill(teacher, read_tensors(TENSORS)[0], TENSORS)
    images = validation_boxes(data_root(), load_picodet_package(options.package), cache_root() / "second_opinions")
    tell("teacher", teacher, images)
    tell("slim", slim, images)
    write_weights(slim.state_dict(), options.run_dir / "detector_slim.safetensors")
    write_detector(slim, SIZE, CARD | SLIM, options.run_dir / "detector_slim.onnx")


if __name__ == "__main__":
    main()
