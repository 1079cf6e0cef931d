"""What a second model says of the same people: the part of the audit that needs other labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from posepipe.datasets.labels import KeypointSet
from posepipe.errors import InputError
from posepipe.geometry import oks

__all__ = ["agreement", "same_images"]


def same_images(labels: KeypointSet, other: KeypointSet) -> NDArray[np.int64]:
    """(I,) int64: which image of another set each image of this one is; -1 for none of them.

    Frames are known by their video and number, since sets name their files differently, still pictures by their names.
    """
    place = {key: row for row, key in enumerate(_keys(other))}
    return np.array([place.get(key, -1) for key in _keys(labels)], np.int64)


def _keys(labels: KeypointSet) -> list[tuple[str, int] | str]:
    rows = zip(labels.images, labels.videos, labels.frames.tolist(), strict=True)
    return [(video, frame) if video and frame >= 0 else image for image, video, frame in rows]


def agreement(labels: KeypointSet, second: KeypointSet, sure: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How well second labels fit a set's.

    Parameters
    ----------
    labels, second
        Both of one skeleton.
    sure
        (P,K) bool: the joints of `labels` that count.

    Returns
    -------
    (P,) float64: OKS of each person with the best of the second labels in the same image; 0 where there is nobody, 1
    where no joint counts, NaN where the second labels are not of the image.

    Raises
    ------
    InputError
        `second` has another skeleton, or no image of the set.
    """
    if second.skeleton != labels.skeleton:
        raise InputError(
            "the second labels are of another skeleton",
            got=second.skeleton.name,
            expected=labels.skeleton.name,
            hint="posepipe data convert maps the joints of both to COCO's",
        )
    there = same_images(labels, second)
    if not (there >= 0).any():
        raise InputError(
            f"the second labels are of no frame of {labels.name}",
            got=second.images[0] if second.images else "no images",
            expected=f"such as {labels.images[0]}",
            hint="Name labels of the same videos",
        )
    theirs: dict[int, list[int]] = {}
    for row, image in enumerate(second.image):
        theirs.setdefault(int(image), []).append(row)
    found = np.full(len(labels), np.nan)
    sigmas = np.asarray(labels.skeleton.sigmas)
    for row, image in enumerate(labels.image):
        if there[image] < 0:
            continue
        candidates = theirs.get(int(there[image]), [])
        seen = sure[row][None].astype(np.float64)
        found[row] = 0 if seen.any() else 1
        if candidates and seen.any():
            like = oks(labels.xy[row][None], seen, labels.area[row][None], second.xy[candidates], sigmas)
            found[row] = float(like.max())
    return found
