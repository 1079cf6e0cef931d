"""Which pictures are held out for validation where no split file says so, and which are a share of the others.

Both follow from names alone, so they never change when pictures are added or come in another order, and all frames of
a video fall on the same side. One answer for every training: a picture that the detector trains on is never one that
the pose network validates on, or the other way round.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

__all__ = ["SHARE", "held_out", "in_share"]

#: share of a set's pictures or videos that is held out
SHARE = 0.04
#: of small sets with labels by people more is held out, else there is nothing to choose by
SHARES = {"coco-mini": 0.2}
#: groups of near-copies whose members cannot be told apart by name stay in training, by set
NEAR_COPIES = {"people": ("mixed",)}


def held_out(image: Path, video: str = "") -> bool:
    """Whether a picture belongs to the validation part.

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
    return _place(_key(image, video)) < SHARES.get(folder, SHARE)


def in_share(image: Path, video: str, share: float) -> bool:
    """Whether a picture is one of a share of them; those of a smaller share are in every larger one."""
    return share >= 1 or _place(f"share {_key(image, video)}") < share


def _key(image: Path, video: str) -> str:
    return f"video/{video}" if video else f"{image.parent.parent.name}/{image.stem}"


def _place(key: str) -> float:
    """A number in [0, 1) that a name has for ever."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
