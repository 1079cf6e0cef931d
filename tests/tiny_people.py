"""Pictures of stick people with labels, in the layouts of real keypoint sets."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from posepipe.skeleton import COCO17

#: joints of a standing person in parts of its box, COCO's order
STANDING = np.array(
    [
        (0.5, 0.08), (0.55, 0.05), (0.45, 0.05), (0.6, 0.07), (0.4, 0.07), (0.75, 0.22), (0.25, 0.22), (0.85, 0.38),
        (0.15, 0.38), (0.9, 0.52), (0.1, 0.52), (0.65, 0.52), (0.35, 0.52), (0.67, 0.74), (0.33, 0.74), (0.7, 0.95),
        (0.3, 0.95),
    ]
)  # fmt: skip
SIZE = (96, 128)


def draw(person: int) -> tuple[NDArray[np.uint8], NDArray[np.float64], list[float]]:
    """A picture (H,W,3), joints (17,2) px and box x, y, w, h of the `person`-th of them."""
    rng = np.random.default_rng(person)
    height, width = SIZE
    image = rng.integers(60, 120, (height, width, 3), dtype=np.uint8)
    w, h = rng.uniform(35, 50), rng.uniform(65, 85)
    x, y = rng.uniform(2, width - w - 2), rng.uniform(2, height - h - 2)
    joints = np.array([x, y]) + STANDING * [w, h]
    for a, b in COCO17.edge_index:
        ends = [tuple(round(v) for v in joints[i]) for i in (a, b)]
        cv2.line(image, ends[0], ends[1], (250, 250, int(rng.integers(100, 250))), 3)
    return image, joints, [float(v) for v in (x, y, w, h)]


def make_coco(annotations: Path, images: Path, count: int, first: int = 0) -> None:
    """Write a COCO person-keypoints file of `count` people, one a picture, and the pictures."""
    images.mkdir(parents=True, exist_ok=True)
    annotations.parent.mkdir(parents=True, exist_ok=True)
    about: list[dict[str, object]] = []
    rows: list[dict[str, object]] = []
    for number in range(first, first + count):
        image, joints, box = draw(number)
        name = f"{number:012d}.png"
        cv2.imwrite(str(images / name), image)
        about.append({"id": number, "file_name": name, "height": SIZE[0], "width": SIZE[1]})
        keypoints = np.concatenate([joints, np.full((17, 1), 2.0)], 1)
        rows.append(
            {
                "id": number, "image_id": number, "category_id": 1, "iscrowd": 0, "bbox": box, "num_keypoints": 17,
                "area": box[2] * box[3] * 0.5, "keypoints": keypoints.ravel().tolist(),
            }
        )  # fmt: skip
    category = {"id": 1, "name": "person", "keypoints": list(COCO17.keypoints)}
    annotations.write_text(json.dumps({"images": about, "annotations": rows, "categories": [category]}))
