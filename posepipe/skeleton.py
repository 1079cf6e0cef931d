"""Skeletons: what the keypoints of a pose are called, how they join, mirror and spread.

Left and right, joint order and OKS sigmas come from here and from nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = ["COCO17", "MIDDLE_SIGMA", "Skeleton", "named_skeleton"]


@dataclass(frozen=True)
class Skeleton:
    """A named, ordered set of K keypoints.

    Parameters
    ----------
    name
        Name of the skeleton, written into every output file.
    keypoints
        K keypoint names in array order.
    edges
        Pairs of keypoint names that are joined by a limb (for drawing and bone lengths).
    pairs
        ``(left, right)`` pairs of keypoint names that swap when a picture is mirrored.
    sigmas
        K per-keypoint OKS constants (COCO: standard deviation of annotators / object scale).
    """

    name: str
    keypoints: tuple[str, ...]
    edges: tuple[tuple[str, str], ...]
    pairs: tuple[tuple[str, str], ...]
    sigmas: tuple[float, ...]

    def __post_init__(self) -> None:
        known = set(self.keypoints)
        if len(known) != len(self.keypoints):
            raise ValueError(f"skeleton {self.name!r} names a keypoint twice: {self.keypoints}")
        if len(self.sigmas) != len(self.keypoints):
            raise ValueError(f"skeleton {self.name!r}: {len(self.keypoints)} keypoints but {len(self.sigmas)} sigmas")
        stray = {n for e in (*self.edges, *self.pairs) for n in e} - known
        if stray:
            raise ValueError(f"skeleton {self.name!r}: edges or pairs name unknown keypoints {sorted(stray)}")

    def __len__(self) -> int:
        return len(self.keypoints)

    def index(self, keypoint: str) -> int:
        """Position of a keypoint in arrays. Raises ``ValueError`` for a name it does not hold."""
        return self.keypoints.index(keypoint)

    @cached_property
    def edge_index(self) -> NDArray[np.int64]:
        """(E, 2) int64: the limbs as keypoint positions."""
        return np.array([[self.index(a), self.index(b)] for a, b in self.edges], np.int64).reshape(-1, 2)

    @cached_property
    def mirror(self) -> NDArray[np.int64]:
        """(K,) int64 permutation: ``mirrored = poses[..., skeleton.mirror, :]`` swaps left and right."""
        order = np.arange(len(self))
        for left, right in self.pairs:
            i, j = self.index(left), self.index(right)
            order[i], order[j] = j, i
        return order


_PARTS = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
_SIGMAS = (0.025, 0.035, 0.079, 0.072, 0.062, 0.107, 0.087, 0.089)

#: The 17 keypoints of COCO, in COCO's order; sigmas of the COCO keypoint evaluation.
COCO17 = Skeleton(
    name="coco17",
    keypoints=("nose", *(f"{side}_{part}" for part in _PARTS for side in ("left", "right"))),
    edges=(
        ("left_ankle", "left_knee"),
        ("left_knee", "left_hip"),
        ("right_ankle", "right_knee"),
        ("right_knee", "right_hip"),
        ("left_hip", "right_hip"),
        ("left_shoulder", "left_hip"),
        ("right_shoulder", "right_hip"),
        ("left_shoulder", "right_shoulder"),
        ("left_shoulder", "left_elbow"),
        ("right_shoulder", "right_elbow"),
        ("left_elbow", "left_wrist"),
        ("right_elbow", "right_wrist"),
        ("nose", "left_eye"),
        ("nose", "right_eye"),
        ("left_eye", "left_ear"),
        ("right_eye", "right_ear"),
        ("left_ear", "left_shoulder"),
        ("right_ear", "right_shoulder"),
    ),
    pairs=tuple((f"left_{part}", f"right_{part}") for part in _PARTS),
    sigmas=(0.026, *(s for sigma in _SIGMAS for s in (sigma, sigma))),
)

#: OKS constant of joints for which COCO has none: that of its shoulders, the middle one of its list
MIDDLE_SIGMA = 0.079


def named_skeleton(
    name: str,
    keypoints: Sequence[str],
    edges: Sequence[tuple[str, str]] = (),
    sigmas: Sequence[float] | None = None,
) -> Skeleton:
    """A skeleton from what a label file tells; COCO's own where names and constants are COCO's.

    Pairs follow from the names (``left_x`` and ``right_x``); where no ``sigmas`` are given, a joint that COCO knows has
    COCO's constant and any other `MIDDLE_SIGMA`. Raises ``ValueError`` as :class:`Skeleton` does.
    """
    known = dict(zip(COCO17.keypoints, COCO17.sigmas, strict=True))
    spread = tuple(float(s) for s in sigmas) if sigmas else tuple(known.get(n, MIDDLE_SIGMA) for n in keypoints)
    if tuple(keypoints) == COCO17.keypoints and spread == COCO17.sigmas:
        return COCO17
    lefts = [n for n in keypoints if n.startswith("left_") and f"right_{n[5:]}" in keypoints]
    pairs = tuple((n, f"right_{n[5:]}") for n in lefts)
    return Skeleton(name, tuple(keypoints), tuple(edges), pairs, spread)
