"""Accuracy of the built-in pose network beside public networks, all in one run: ``python eval/accuracy_pose.py``.

Protocol: boxes of the labels; people with at least 5 labelled joints and a box of at least 60 px on its longer side for
mean OKS (area = 0.53 x box) and PCK@0.2 (of the box's longer side); everybody for AP (pycocotools, areas of the file).
LSPET: the 12 joints that people labelled. Every picture of both test sets is used.

A score of the built-in network claims to be the expected OKS of its joint: a second table compares it with the OKS.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from posepipe.config import data_root
from posepipe.evaluation.keypoints import AREA_SHARE, calibration, joint_oks, oks_ap, paired_oks, pck, person_score
from posepipe.geometry import affine_points, crop_affine, invert_affine
from posepipe.heatmaps import cells_to_crop, decode_peaks, decode_posterior
from posepipe.skeleton import COCO17

Image = NDArray[np.uint8]
#: A pose network: picture (H,W,3) uint8 RGB and one box (4,) xyxy in, joints (17,2) px and scores (17,) out.
Estimator = Callable[[Image, NDArray[np.float64]], tuple[NDArray[np.floating], NDArray[np.floating]]]

ROOT = Path(__file__).resolve().parents[1]
THREADS = min(2, os.cpu_count() or 1)
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def own(path: Path, *, flip: bool) -> Estimator:
    """The built-in network, ONNX Runtime; with `flip`, the mean of the maps of the crop and of its mirror image."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    about = json.loads(session.get_modelmeta().custom_metadata_map["posepipe"])
    size, stride = tuple(about["input_size"]), about["stride"]

    def estimate(image: Image, box: NDArray[np.float64]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        matrix = crop_affine(box[None], size, about["padding"])[0]
        crop = cv2.warpAffine(image, matrix, size[::-1], flags=cv2.INTER_LINEAR)
        batch = np.stack([crop, crop[:, ::-1]] if flip else [crop]).transpose(0, 3, 1, 2).astype(np.float32)
        maps = session.run(None, {"image": batch})[0]
        if flip:
            maps = (maps[:1] + maps[1:, COCO17.mirror, :, ::-1]) / 2
        xy, score = decode_posterior(maps, np.array(about["kernel_sigmas"]), about.get("sigma", 0.0))
        return affine_points(invert_affine(matrix), cells_to_crop(xy[0], stride)), score[0]

    return estimate


def tinypose(path: Path) -> Estimator:
    """PP-TinyPose 256x192 (PaddleDetection), OpenVINO: box x 1.1, ImageNet mean and std, peaks refined by DARK."""
    import openvino

    core = openvino.Core()
    model = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_NUM_THREADS": THREADS})

    def estimate(image: Image, box: NDArray[np.float64]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        matrix = crop_affine(box[None], (256, 192), 1.1)[0]
        crop = cv2.warpAffine(image, matrix, (192, 256), flags=cv2.INTER_LINEAR)
        batch = ((crop / 255.0 - MEAN) / STD).transpose(2, 0, 1)[None].astype(np.float32)
        xy, score = decode_peaks(model([batch])[0])
        return affine_points(invert_affine(matrix), xy[0] * 4.0), score[0]

    return estimate


def movenet(path: Path) -> Estimator:
    """MoveNet Lightning int8 (Google), LiteRT: a square crop of the box x 1.25."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=THREADS)
    interpreter.allocate_tensors()
    source, sink = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def estimate(image: Image, box: NDArray[np.float64]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        matrix = crop_affine(box[None], (192, 192), 1.25)[0]
        crop = cv2.warpAffine(image, matrix, (192, 192), flags=cv2.INTER_LINEAR)
        interpreter.set_tensor(source["index"], crop[None].astype(source["dtype"]))
        interpreter.invoke()
        joints = interpreter.get_tensor(sink["index"])[0, 0]
        return affine_points(invert_affine(matrix), joints[:, 1::-1] * 192.0 - 0.5), joints[:, 2]

    return estimate


@dataclass(frozen=True)
class People:
    """A test set: the COCO file as read, and its P annotations with joints as arrays."""

    name: str
    folder: Path
    truth: dict[str, Any]
    rows: list[dict[str, Any]]
    joints: NDArray[np.float64]
    boxes: NDArray[np.float64]


def read_people(name: str, labels: Path, images: Path, least_visibility: int) -> People:
    """Read a test set; joints of less than `least_visibility` count as not labelled."""
    truth = json.loads(labels.read_text("utf-8"))
    for row in truth["annotations"]:
        labels_of_one = np.array(row["keypoints"], np.float64).reshape(-1, 3)
        labels_of_one[labels_of_one[:, 2] < least_visibility] = 0
        row["keypoints"], row["num_keypoints"] = labels_of_one.ravel().tolist(), int((labels_of_one[:, 2] > 0).sum())
    rows = [row for row in truth["annotations"] if row["num_keypoints"] > 0 and not row["iscrowd"]]
    boxes = np.array([row["bbox"] for row in rows])
    boxes[:, 2:] += boxes[:, :2]
    joints = np.array([row["keypoints"] for row in rows]).reshape(len(rows), -1, 3)
    return People(name, images, truth, rows, joints, boxes)


def predict(people: People, estimators: dict[str, Estimator]) -> dict[str, tuple[NDArray[np.float64], list[float]]]:
    """Every estimator on every person, taking turns so that the machine's load falls on all alike.

    Returns, by name, (P,17,3) x, y, score and the seconds of each call (crop, network and decoding).
    """
    names = {image["id"]: image["file_name"] for image in people.truth["images"]}
    found = {name: np.zeros((len(people.rows), len(COCO17), 3)) for name in estimators}
    seconds: dict[str, list[float]] = {name: [] for name in estimators}
    image, shown = np.zeros((1, 1, 3), np.uint8), None
    for index, row in enumerate(people.rows):
        if row["image_id"] != shown:
            shown = row["image_id"]
            picture = cv2.imread(str(people.folder / names[shown]), cv2.IMREAD_COLOR_RGB)
            image = np.asarray(picture, np.uint8)
        for name, estimate in estimators.items():
            started = time.perf_counter()
            xy, score = estimate(image, people.boxes[index])
            seconds[name].append(time.perf_counter() - started)
            found[name][index] = np.concatenate([xy, score[:, None]], 1)
    return {name: (found[name], seconds[name]) for name in estimators}


def measured(people: People) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """The people who count for mean OKS (P,), and the (width, height) of everybody's box (P,2)."""
    extent = people.boxes[:, 2:] - people.boxes[:, :2]
    return ((people.joints[..., 2] > 0).sum(-1) >= 5) & (extent.max(-1) >= 60), extent


def believed(people: People, found: NDArray[np.float64]) -> str:
    """A Markdown table: the labelled joints by their score, and what their OKS really is."""
    use, extent = measured(people)
    labelled = people.joints[use, :, 2]
    truth, guess = people.joints[use, :, :2], found[use]
    oks = joint_oks(truth, labelled, AREA_SHARE * extent[use].prod(-1), guess[..., :2])
    seen = labelled > 0
    result = calibration(guess[..., 2][seen], oks[seen])
    lines = [f"| {people.name}, score | joints | mean score | mean OKS |", "|---|---|---|---|"]
    for part, (count, score, value) in enumerate(zip(result.count, result.score, result.value, strict=True)):
        if count:
            lines.append(f"| {part / 10:.1f} to {(part + 1) / 10:.1f} | {count} | {score:.3f} | {value:.3f} |")
    return "\n".join([*lines, f"\nMean distance of score and OKS (expected calibration error): {result.error:.3f}"])


def figures(people: People, found: NDArray[np.float64]) -> dict[str, float]:
    """All figures of one network on one set."""
    labelled = people.joints[..., 2]
    use, extent = measured(people)
    truth, guess = people.joints[use, :, :2], found[use, :, :2]
    oks = paired_oks(truth, labelled[use], AREA_SHARE * extent[use].prod(-1), guess)
    person = person_score(found[..., 2])
    results = [
        {"image_id": row["image_id"], "category_id": 1, "keypoints": found[i].ravel().tolist(), "score": person[i]}
        for i, row in enumerate(people.rows)
    ]
    average = oks_ap(people.truth, results)
    return {
        "people": float(use.sum()),
        "mean OKS": float(oks.mean()),
        "> .5": float((oks > 0.5).mean()),
        "> .75": float((oks > 0.75).mean()),
        "PCK@0.2": pck(truth, labelled[use], guess, extent[use].max(-1)),
        "AP": average["AP"],
        "AP50": average["AP50"],
    }


def table(people: People, predictions: dict[str, tuple[NDArray[np.float64], list[float]]]) -> str:
    """A Markdown table of all networks on one set."""
    lines: list[str] = []
    reference = float(np.median(next(iter(predictions.values()))[1]))
    for name, (found, seconds) in predictions.items():
        values = figures(people, found)
        if not lines:
            columns = [key for key in values if key != "people"]
            head = f"{people.name}, {values['people']:.0f} people"
            lines.append(f"| {head} | " + " | ".join(columns) + " | ms a crop | ratio |")
            lines.append("|---|" + "---|" * (len(columns) + 2))
        median = float(np.median(seconds))
        cells = [f"{values[key]:.3f}".lstrip("0") for key in columns]
        cells += [f"{1000 * median:.1f}", f"{median / reference:.2f}"]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Print one Markdown table a test set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "posepipe/weights/sppe_small.onnx")
    parser.add_argument("--own-only", action="store_true", help="leave the public networks out")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    data = data_root()
    estimators = {"sppe_small": own(options.model, flip=False), "sppe_small + mirror": own(options.model, flip=True)}
    if not options.own_only:
        estimators["PP-TinyPose 256x192"] = tinypose(data / "baselines/tinypose_256x192.xml")
        estimators["MoveNet Lightning int8"] = movenet(data / "baselines/movenet_lightning_int8.tflite")
    coco, lspet = data / "coco-mini", data / "lspet"
    sets = [
        read_people("coco-mini test", coco / "annotations/person_keypoints_test.json", coco / "images", 1),
        read_people("LSPET test", lspet / "person_keypoints_test.json", lspet / "images", 2),
    ]
    print(f"Ground-truth boxes; PCK@0.2 of the box's longer side; {THREADS} threads, one crop a call, medians.\n")
    for people in sets:
        predictions = predict(people, estimators)
        print(table(people, predictions) + "\n")
        print(believed(people, predictions["sppe_small"][0]) + "\n")


if __name__ == "__main__":
    main()
