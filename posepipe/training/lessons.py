"""Lessons: a teacher's maps of everybody's upright crop, made once, kept beside the crops, and varied with them.

A teacher that sees every varied crop costs as much as a student on a CPU. Here it sees each person twice, upright and
mirrored, and nothing that is pasted over: its maps are surer than those of a turned and half covered crop.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from posepipe.datasets.crops import people_key
from posepipe.datasets.keypoints import KeypointSamples
from posepipe.datasets.people import Person
from posepipe.io.atomic import atomic_path, sha256_of
from posepipe.training.distil import Teacher

__all__ = ["Lessons", "load_lessons", "recall"]

_VERSION = 1
_BATCH = 32


class Lessons:
    """Maps of P people in a file, (K,h,w) uint8 each, by index.

    They are the mean of what a teacher sees of a crop and of its mirror image, every map scaled so that its peak is
    255 x the teacher's confidence. The file is mapped where it is used: a process that loads data gets its name, not
    its gigabytes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._maps: NDArray[np.uint8] | None = None

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        if self._maps is None:
            self._maps = np.load(self.path, mmap_mode="r")
        return np.asarray(self._maps[index])

    def __getstate__(self) -> dict[str, object]:
        return {"path": self.path, "_maps": None}


def load_lessons(
    teacher: Teacher, files: Sequence[Path], people: Sequence[Person], samples: KeypointSamples, folder: Path
) -> Lessons:
    """A teacher's maps of everybody, from `folder` if they were made before, else made now and kept there.

    Parameters
    ----------
    teacher, files
        The teacher, and the files it was read from, by whose SHA-256 kept maps are known.
    people, samples
        P people, and their samples without an augmentation.
    folder
        Where caches lie: 52 kB a person for 17 maps of 64x48.
    """
    size = (samples.size[0] // samples.stride, samples.size[1] // samples.stride)
    teachers = " ".join(map(sha256_of, files))
    key = f"{_VERSION} {size} {people_key(people, samples.size, samples.padding)} {teachers}{teacher.variant}"
    path = folder / f"lessons_{hashlib.sha256(key.encode()).hexdigest()[:16]}.npy"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as unfinished:
            _make(teacher, samples, size, unfinished)
    return Lessons(path)


def _make(teacher: Teacher, samples: KeypointSamples, size: tuple[int, int], path: Path) -> None:
    shape = (len(samples), len(samples.skeleton), *size)
    print(f"The teacher looks at {len(samples)} people", flush=True)
    lessons = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    mirror = list(samples.skeleton.mirror)
    for first in range(0, len(samples), _BATCH):
        rows = range(first, min(first + _BATCH, len(samples)))
        pixels = np.stack([samples[row]["image"] for row in rows])
        image = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
        mirrored = teacher.look(image.flip(-1), size)[:, mirror].flip(-1)
        seen = (teacher.look(image, size) + mirrored) / 2
        lessons[rows.start : rows.stop] = (seen.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    lessons.flush()


def recall(teacher: Teacher, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """What the teacher said of the upright crops, where it lies in the varied ones.

    Parameters
    ----------
    teacher
        Whose lessons they are: it knows at which width they are taught.
    batch
        Of `KeypointSamples` with lessons.

    Returns
    -------
    taught, confidence
        (N,K,h,w), each map summing to 1, and (N,K) in [0,1]: 0 for a joint that lies outside the crop.
    """
    lesson, affine = batch["lesson"].float() / 255, batch["to_lesson"].float()
    height, width = lesson.shape[2:]
    cells = torch.stack(
        [*torch.meshgrid(torch.arange(width), torch.arange(height), indexing="xy"), torch.ones(height, width)], -1
    )
    places = torch.einsum("nij,hwj->nhwi", affine, cells.to(affine))
    places = 2 * places / torch.tensor([width - 1, height - 1]).to(affine) - 1
    seen = functional.grid_sample(lesson, places, mode="bilinear", padding_mode="zeros", align_corners=True)
    zoom = torch.linalg.det(affine[:, :, :2]).abs().rsqrt()
    return teacher.teach(seen, zoom)
