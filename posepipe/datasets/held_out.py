"""Which pictures are held out for validation where no split file says so: one answer for every training.

A picture that the detector trains on is never one that the pose network validates on, or the other way round.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

__all__ = ["held_out"]

#: share of a set's pictures or videos that is held out
SHARE = 0.04
#: of small sets with labels by people more is held out, else there is nothing to choose by
SHARES = {"coco-mini": 0.2}
#: groups of near-copies whose members cannot be told apart by name stay in training, by set
NEAR_COPIES = {"people": ("mixed",)}


def held_out(image: Path, video: str = "") -> bool:
    """Whether a picture belongs to the validation part.

    It follows from names alone, so it never changes when pictures are added or come in another order; all frames of a
    video fall on the same side.

    Parameters
    ----------
    image
        Path of the picture, as SET/images/NAME.
    video
        Name of the video it is a frame of, if it is one.
    """
    folder = image.parent.parent.name
    if image.name.startswith(NEAR_COPIES.get(folder, ())):
        return False
    key = f"{folder}/{image.stem}" if not video else f"video/{video}"
    place = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
    return place < SHARES.get(folder, SHARE)
