"""Images and people one by one, as label files give them, collected into a KeypointSet."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from posepipe.datasets.labels import KeypointSet, area_of
from posepipe.errors import InputError
from posepipe.io.npz import DAMAGED_NPZ
from posepipe.skeleton import Skeleton

__all__ = ["Rows", "label_errors", "label_json"]

# A box that no file gave: the labelled joints, and an eighth of their extent on each side (padding 1.25).
_MARGIN = 0.125
# How the files begin that posepipe writes about a set.
_OWN = re.compile(rb'\s*\{\s*"format"\s*:\s*"posepipe-')


class Rows:
    """Collects the rows of a :class:`KeypointSet` whose joints have confidences or visibilities.

    Parameters
    ----------
    joints
        Number of keypoints K.
    lenient
        Joints of which a number is not finite count as not labelled: for readers that tell of them. Else `person`
        raises.
    """

    def __init__(self, joints: int, *, lenient: bool = False) -> None:
        self._joints = joints
        self._lenient = lenient
        self._rows: dict[str, int] = {}
        self._sizes: list[tuple[int, int]] = []
        self._videos: list[str] = []
        self._frames: list[int] = []
        self._image: list[int] = []
        self._people: list[NDArray[np.float32]] = []
        self._boxes: list[NDArray[np.float64] | None] = []
        self._scores: list[float] = []
        self._tracks: list[int] = []

    def image(self, name: str, *, video: str = "", frame: int = -1, size: tuple[int, int] = (0, 0)) -> int:
        """Row of an image, which is added where it is new; ``size`` is (width, height) px."""
        row = self._rows.setdefault(name, len(self._rows))
        if row == len(self._sizes):
            self._sizes.append(size)
            self._videos.append(video)
            self._frames.append(frame)
        return row

    def person(
        self, image: int, joints: ArrayLike, box: ArrayLike | None = None, *, score: float = 1.0, track: int = -1
    ) -> None:
        """Add a person.

        Parameters
        ----------
        image
            Row of the image.
        joints
            (K,3): x, y in px and confidence or visibility; not labelled where that is 0, or both x and y are NaN.
        box
            (4,) xyxy px; the extent of the labelled joints and a margin where None.
        score, track
            Person score as the file gives it, id or -1.

        Raises
        ------
        ValueError
            The joints are not K x 3 numbers, or one of them (unless lenient), the box or score is not finite.
        """
        with np.errstate(over="ignore"):  # what is too large for float32 is not finite
            values = np.asarray(joints, np.float32).reshape(-1, 3)
        given = None if box is None else np.asarray(box, np.float64).reshape(4)
        if len(values) != self._joints:
            raise ValueError(f"a person has {len(values)} keypoints, expected {self._joints}")
        broken = np.flatnonzero(~np.isfinite(values).all(1) & ~np.isnan(values[:, :2]).all(1))
        if len(broken) and not self._lenient:
            raise ValueError(f"a person's joint is not finite: {values[broken[0]].tolist()}")
        if not np.isfinite(score) or (given is not None and not np.isfinite(given).all()):
            raise ValueError(f"a person's box or score is not finite: {given}, {score}")
        self._image.append(image)
        self._people.append(values)
        self._boxes.append(given)
        self._scores.append(score)
        self._tracks.append(track)

    def build(
        self, name: str, skeleton: Skeleton, root: Path | None = None, *, visibilities: bool = False
    ) -> KeypointSet:
        """The set; ``visibilities`` says that the third number of a joint is 0, 1 or 2, not a confidence."""
        with np.errstate(over="ignore"):  # the set refuses what is too large for it
            people = np.array(self._people, np.float32).reshape(-1, self._joints, 3)
        value = np.where(np.isfinite(people).all(2), people[..., 2], 0)
        labelled = value > 0
        xy = np.where(labelled[..., None], people[..., :2], 0)
        found = [_extent(p[m]) if b is None else b for p, m, b in zip(xy, labelled, self._boxes, strict=True)]
        with np.errstate(over="ignore"):
            boxes = np.array(found, np.float32).reshape(-1, 4)
        return KeypointSet(
            name=name,
            skeleton=skeleton,
            images=tuple(self._rows),
            sizes=np.array(self._sizes, np.int32).reshape(-1, 2),
            videos=tuple(self._videos),
            frames=np.array(self._frames, np.int64),
            image=np.array(self._image, np.int64),
            boxes=boxes,
            xy=xy,
            visibility=np.where(labelled, np.clip(value, 1, 2) if visibilities else 2, 0).astype(np.int8),
            score=np.where(labelled, 1.0 if visibilities else np.clip(value, 0, 1), 0).astype(np.float32),
            person_score=np.array(self._scores, np.float32),
            area=area_of(boxes),
            area_known=np.zeros(len(boxes), bool),
            iscrowd=np.zeros(len(boxes), bool),
            track_id=np.array(self._tracks, np.int64),
            root=root,
        )


def _extent(xy: NDArray[np.float32]) -> NDArray[np.float64]:
    """(4,) box about (n,2) joints with the margin; empty where there are none."""
    if not len(xy):
        return np.zeros(4)
    low, high = xy.min(0).astype(np.float64), xy.max(0).astype(np.float64) + 1
    margin = _MARGIN * (high - low)
    return np.concatenate([low - margin, high + margin])


@contextmanager
def label_errors(path: Path, form: str, expected: str) -> Iterator[None]:
    """Turn what a block meets in a file that is not of its form into an :class:`InputError` that names the file."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}", hint="Check the path") from error
    except DAMAGED_NPZ as error:
        raise InputError(f"{path} is not {form}: {error!r}"[:300], expected=expected) from error


def label_json(folder: Path, pattern: str) -> list[Path]:
    """JSON files that may hold labels, by name: not hidden ones, nor what posepipe writes (splits, exclusions).

    The suffix of the pattern may be written in capitals too.
    """
    found = sorted(folder.glob(pattern.replace(".json", ".[jJ][sS][oO][nN]")))
    return [file for file in found if not file.name.startswith(".") and not _is_own(file)]


def _is_own(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            return _OWN.match(stream.read(200)) is not None
    except OSError:  # told when its labels are read
        return False
