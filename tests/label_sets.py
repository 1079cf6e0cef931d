"""Labelled sets made by hand, for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from posepipe.datasets.labels import KeypointSet
from posepipe.datasets.rows import Rows
from posepipe.skeleton import COCO17, Skeleton

#: a person who stands before the camera: their left is the picture's right; x, y of COCO's joints in a 100 x 200 box
FRONTAL = np.array(
    [
        *((50, 15), (56, 10), (44, 10), (62, 14), (38, 14), (75, 45), (25, 45), (85, 75), (15, 75)),
        *((88, 105), (12, 105), (66, 110), (34, 110), (66, 150), (34, 150), (66, 190), (34, 190)),
    ],
    np.float32,
)


def person(x: float = 0, y: float = 0, scale: float = 1.0, third: float | np.ndarray = 2.0) -> np.ndarray:
    """(17,3) joints of the frontal person in a box at (x, y)."""
    joints = np.full((17, 3), 0, np.float32)
    joints[:, :2] = FRONTAL * scale + (x, y)
    joints[:, 2] = third
    return joints


def video_set(
    videos: int = 10, frames: int = 5, root: Path | None = None, skeleton: Skeleton = COCO17, confidence: float = 0.8
) -> KeypointSet:
    """One person walking to the right in each of some videos."""
    rows = Rows(17)
    for v in range(videos):
        for f in range(frames):
            name = f"clip{v:02d}"
            image = rows.image(f"{name}/{f:06d}.jpg", video=name, frame=f, size=(320, 240))
            joints = person(20 + 3 * f, 10 + v, third=confidence)
            rows.person(image, joints, [18 + 3 * f, 8 + v, 122 + 3 * f, 212 + v], score=2.5, track=1)
    return rows.build("clips", skeleton, root)


def alphapose_row(image: str, joints: np.ndarray, score: float = 2.9, idx: Any = None) -> dict[str, Any]:
    """A row of an AlphaPose result file."""
    low, high = joints[:, :2].min(0) - 5, joints[:, :2].max(0) + 5
    row = {
        "image_id": image,
        "category_id": 1,
        "keypoints": [float(v) for v in joints.ravel()],
        "score": score,
        "box": [float(v) for v in (*low, *(high - low))],
    }
    return row | ({"idx": idx} if idx is not None else {})


def write_json(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), "utf-8")
    return path


def noise_picture(seed: int, size: tuple[int, int] = (240, 320)) -> np.ndarray:
    """A picture of smooth coloured blobs: different for each seed, as photographs are."""
    small = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), np.uint8)
    return np.asarray(cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)


def write_pictures(people: KeypointSet, root: Path) -> None:
    for i, name in enumerate(people.images):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / name), noise_picture(i))


def write_video(path: Path, frames: int, size: tuple[int, int] = (240, 320)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    out = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, size[::-1])
    for seed in range(frames):
        out.write(noise_picture(seed, size))
    out.release()


def same(a: KeypointSet, b: KeypointSet, *, atol: float = 1e-3, scores: bool = True) -> None:
    """Assert that two sets hold the same people in the same images, in order."""
    assert a.skeleton.keypoints == b.skeleton.keypoints
    assert a.images == b.images
    assert a.videos == b.videos
    np.testing.assert_array_equal(a.frames, b.frames)
    np.testing.assert_array_equal(a.image, b.image)
    np.testing.assert_array_equal(a.track_id, b.track_id)
    np.testing.assert_array_equal(a.visibility > 0, b.visibility > 0)
    np.testing.assert_allclose(a.xy, b.xy, atol=atol)
    np.testing.assert_allclose(a.boxes, b.boxes, atol=2 * atol)
    if scores:
        np.testing.assert_allclose(a.score, b.score, atol=atol)
        np.testing.assert_allclose(a.person_score, b.person_score, atol=atol)
