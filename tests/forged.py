"""Small videos of which the manipulated ones flicker, as a list and in the folders of FaceForensics++."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from posepipe.io.writer import VideoWriter

FRAMES, SIDE = 20, 64
#: pairs of people, by part
PAIRS = {"train": [["001", "002"], ["003", "004"]], "val": [["005", "006"]], "test": [["007", "008"]]}


def write_video(path: Path, person: int, *, fake: bool) -> Path:
    """A picture of its own for each person, that moves; every other frame of a fake is dark."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(person)
    picture = np.kron(rng.integers(60, 200, (8, 8, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    with VideoWriter(path, SIDE, SIDE) as writer:
        for number in range(FRAMES):
            image = picture[number : number + SIDE, number : number + SIDE]
            writer.write(image // 3 if fake and number % 2 else image, number / 25)
    return path


def write_list(folder: Path, *, per_class: int = 2) -> Path:
    """A CSV list of videos of both classes in all parts."""
    rows, person = ["video,label,split"], 0
    for part, count in (("train", per_class), ("val", 1), ("test", 1)):
        for label in ("real", "fake"):
            for _ in range(count):
                person += 1
                name = f"{label}{person}.mp4"
                write_video(folder / name, person, fake=label == "fake")
                rows.append(f"{name},{label},{part}")
    path = folder / "list.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def write_ffpp(folder: Path, methods: tuple[str, ...] = ("Deepfakes",)) -> Path:
    """Videos as FaceForensics++ lays them out, and its split files in ``splits``."""
    (folder / "splits").mkdir(parents=True)
    for part, pairs in PAIRS.items():
        (folder / f"splits/{part}.json").write_text(json.dumps(pairs))
        for a, b in pairs:
            for name in (a, b):
                path = folder / f"original_sequences/youtube/c23/videos/{name}.mp4"
                write_video(path, int(name), fake=False)
            for method in methods:
                for first, second in ((a, b), (b, a)):
                    path = folder / f"manipulated_sequences/{method}/c23/videos/{first}_{second}.mp4"
                    write_video(path, int(first), fake=True)
    return folder
