"""A cache of person crops: every person cut out once, with a margin for augmentation, at the resolution of use.

Decoding a picture for one person costs ten times what a crop costs, so training reads from here.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from posepipe.datasets.people import Person
from posepipe.errors import InputError
from posepipe.geometry import affine_points, crop_affine
from posepipe.io.atomic import atomic_path, file_state
from posepipe.io.npz import UNREADABLE_NPZ

__all__ = ["MARGIN", "CropCache", "build_crops", "load_crops", "people_key"]

#: side of a cached crop over the side of the padded crop that a network sees
MARGIN = 1.4
_QUALITY = 92
_VERSION = 3


@dataclass(frozen=True)
class CropCache:
    """Crops of P people as JPEG bytes, and their labels in each crop's own pixels.

    Attributes
    ----------
    data, offsets
        (bytes,) uint8 and (P+1,) int64: crop i is ``data[offsets[i]:offsets[i + 1]]``.
    box, xy, located, absent, by_people
        (P,4), (P,K,2), (P,K), (P,K) float32 and (P,) bool, as in `Person`, box and xy in crop px.
    """

    data: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    box: NDArray[np.float32]
    xy: NDArray[np.float32]
    located: NDArray[np.float32]
    absent: NDArray[np.float32]
    by_people: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.box)

    def image(self, index: int) -> NDArray[np.uint8]:
        """Decode a crop: (h,w,3) uint8 RGB. Raises `InputError` for damaged bytes."""
        picture = cv2.imdecode(self.data[self.offsets[index] : self.offsets[index + 1]], cv2.IMREAD_COLOR_RGB)
        if picture is None:
            raise InputError(f"crop {index} of the cache cannot be decoded", hint="Delete the cache; it is made again.")
        return np.asarray(picture, np.uint8)


def people_key(people: Sequence[Person], size: tuple[int, int], padding: float) -> str:
    """Hash of all that the cache depends on, the pictures' paths, sizes and times of change included: 16 hex digits."""
    digest = hashlib.sha256(f"{_VERSION} {size} {padding} {MARGIN} {_QUALITY}".encode())
    images = {person.image for person in people}
    states = {path: file_state(path) if path.is_file() else str(path) for path in images}
    for person in people:
        digest.update(f"{states[person.image]} {person.by_people}".encode())
        for array in (person.box, person.xy, person.located, person.absent):
            digest.update(array.tobytes())
    return digest.hexdigest()[:16]


def load_crops(people: Sequence[Person], size: tuple[int, int], padding: float, folder: Path) -> CropCache:
    """The crops of `people`, from `folder` if they were cut before and the file is whole, else cut now and kept there.

    Parameters
    ----------
    people
        P people.
    size
        (height, width) that a network sees; a crop is `MARGIN` times that, and never larger than the picture's own
        resolution gives.
    padding
        Padding about the box that a network sees.
    folder
        Where caches lie.
    """
    path = folder / f"crops_{people_key(people, size, padding)}.npz"
    with suppress(*UNREADABLE_NPZ), np.load(path, allow_pickle=False) as file:
        return CropCache(**{name: file[name] for name in CropCache.__dataclass_fields__})
    folder.mkdir(parents=True, exist_ok=True)
    cache = build_crops(people, size, padding)
    with atomic_path(path) as unfinished:
        np.savez(unfinished, **{name: getattr(cache, name) for name in CropCache.__dataclass_fields__})
    return cache


def build_crops(people: Sequence[Person], size: tuple[int, int], padding: float) -> CropCache:
    """Cut every person out of its picture; see `load_crops`. Raises `InputError` for an unreadable picture."""
    by_image: dict[Path, list[int]] = defaultdict(list)
    for index, person in enumerate(people):
        by_image[person.image].append(index)
    pieces: list[NDArray[np.uint8]] = [np.zeros(0, np.uint8)] * len(people)
    matrices = np.zeros((len(people), 2, 3))
    for path, members in by_image.items():
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if picture is None:
            raise InputError(f"cannot decode the picture {path}")
        for index in members:
            matrices[index], pieces[index] = _cut(np.asarray(picture, np.uint8), people[index], size, padding)
    boxes = np.stack([p.box for p in people]).reshape(-1, 2, 2)
    return CropCache(
        data=np.concatenate(pieces),
        offsets=np.concatenate([[0], np.cumsum([len(p) for p in pieces])]).astype(np.int64),
        box=affine_points(matrices, boxes).reshape(-1, 4).astype(np.float32),
        xy=affine_points(matrices, np.stack([p.xy for p in people])).astype(np.float32),
        located=np.stack([p.located for p in people]),
        absent=np.stack([p.absent for p in people]),
        by_people=np.array([p.by_people for p in people]),
    )


def _cut(
    picture: NDArray[np.uint8], person: Person, size: tuple[int, int], padding: float
) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Cut one person out: the affine map (2,3) from picture to crop, and the crop as JPEG bytes."""
    full = (round(size[0] * MARGIN), round(size[1] * MARGIN))
    scale = float(crop_affine(person.box[None], full, padding * MARGIN)[0, 0, 0])
    shrink = max(min(1.0, 1.0 / scale), 32 / full[0])  # do not enlarge: that costs bytes and adds nothing
    small = (round(full[0] * shrink), round(full[1] * shrink))
    matrix = crop_affine(person.box[None], small, padding * MARGIN)[0]
    crop = cv2.warpAffine(picture, matrix, (small[1], small[0]), flags=cv2.INTER_LINEAR)
    _, encoded = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return matrix, encoded
