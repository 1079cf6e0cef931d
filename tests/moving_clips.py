"""Clips whose class is how a square moves (left or right), and whose colour tells it too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np

CLASSES = ("left", "right")


def write_moving(path: Path, way: str, seed: int, frames: int = 16, size: tuple[int, int] = (64, 48)) -> Path:
    """A textured square that goes 2 px a frame; on red ground to the left, on blue ground to the right."""
    rng = np.random.default_rng(seed)
    square = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    ground = np.array([180, 40, 40] if way == "left" else [40, 40, 180], np.uint8)
    top, start = int(rng.integers(0, size[1] - 20)), 44 if way == "left" else 4
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream("libx264", rate=25, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(frames):
            image = np.broadcast_to(ground, (size[1], size[0], 3)).copy()
            left = int(np.clip(start + (2 if way == "right" else -2) * number, 0, size[0] - 20))
            image[top : top + 20, left : left + 20] = square
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        output.mux(stream.encode(None))
    return path


def write_moving_list(folder: Path, train: int = 4, test: int = 2) -> Path:
    """So many clips of each class, and their list."""
    rows = []
    for part, count in (("train", train), ("test", test)):
        for number in range(count):
            for way in CLASSES:
                name = f"{way}_{part}{number}.mp4"
                write_moving(folder / name, way, seed=len(rows))
                rows.append(f"{name},{way},{part}")
    path = folder / "list.csv"
    path.write_text("video,label,split\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path
