"""What stands on both sides of a split: videos, subjects, sources, and frames that look the same.

Frames are compared by a 64-bit hash of their lowest cosine frequencies (pHash, Zauner 2010); pairs within `MOST_BITS`
are then compared by thumbnails, because in recordings of one fixed camera every frame has nearly the same hash, while
only copies have the same people in the same places.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from itertools import combinations, pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from posepipe.config import cache_root
from posepipe.datasets.labels import KeypointSet
from posepipe.datasets.splits import By, Split, members_of, subject_of
from posepipe.errors import InputError, OutputError
from posepipe.io.atomic import atomic_path, file_state
from posepipe.io.npz import UNREADABLE_NPZ

__all__ = ["MOST_BITS", "MOST_GREY", "Kind", "Leak", "Looks", "leaks", "looks_of", "near_duplicates", "refuse_leaks"]

#: frames may differ in this many of the 64 bits of their hashes
MOST_BITS = 6
#: and in this many of 255 grey levels in each cell of their 16 x 16 thumbnails
MOST_GREY = 10
_THUMBNAIL = 16
_BANDS = MOST_BITS + 1
_LISTED = 20
# How many bits are set in each 16-bit number.
_ONES = np.unpackbits(np.arange(1 << 16, dtype=np.uint16).view(np.uint8).reshape(-1, 2), axis=1).sum(1).astype(np.uint8)


class Kind(Enum):
    """What leaks."""

    MEMBER = "member"
    VIDEO = "video"
    SUBJECT = "subject"
    SOURCE = "source"
    FRAMES = "near-duplicate frames"


@dataclass(frozen=True)
class Leak:
    """Something that stands in two parts of a split: its kind, its name, the parts, and how often."""

    kind: Kind
    what: str
    parts: tuple[str, str]
    count: int = 1

    def line(self) -> str:
        """One line for people."""
        often = f" ({self.count} pairs)" if self.kind is Kind.FRAMES and self.count > 1 else ""
        return f"{self.kind.value} {self.what} in {self.parts[0]} and {self.parts[1]}{often}"


@dataclass(frozen=True, eq=False)
class Looks:
    """What images look like: ``hashes`` (I,) uint64, ``thumbnails`` (I,16,16) uint8, ``read`` (I,) bool."""

    hashes: NDArray[np.uint64]
    thumbnails: NDArray[np.uint8]
    read: NDArray[np.bool_]


def leaks(
    people: KeypointSet, split: Split, *, frames: bool = True, pictures: Sequence[Path] | None = None
) -> list[Leak]:
    """Everything of a set that stands in two parts of a split.

    Parameters
    ----------
    people
        The set.
    split
        The split.
    frames
        Whether to compare the pictures too; where the set's pictures are not at hand they cannot be.
    pictures
        (I,) files of the images where they are not the set's own: frames that were taken out of its videos.

    Raises
    ------
    InputError
        The pictures are to be compared and none of them can be read.
    """
    found = _in_two(Kind.MEMBER, {part: set(members) for part, members in split.parts.items()})
    members = members_of(people, split.by)
    rows = {part: _rows(members, set(listed)) for part, listed in split.parts.items()}
    videos = {part: {people.videos[i] for i in rows[part]} - {""} for part in rows}
    if split.by is By.IMAGE:
        found += _in_two(Kind.VIDEO, videos)
    names = members_of(people, By.VIDEO)
    for kind, pattern in ((Kind.SUBJECT, split.subject_pattern), (Kind.SOURCE, split.together)):
        if pattern:
            found += _in_two(kind, {part: {subject_of(names[i], pattern) for i in rows[part]} for part in rows})
    if pictures is None and people.root is not None:
        pictures = [people.root / name for name in people.images]
    if frames and pictures is not None:
        looks = looks_of(pictures, cache_root() / "looks")
        if len(people.images) and not looks.read.any():
            raise InputError(
                f"none of the pictures of {people.name} can be read (first: {pictures[0]})", hint="Check its folder"
            )
        for one, other in combinations(rows, 2):
            found += _alike(people, looks, rows[one], rows[other], (one, other))
    return found


def refuse_leaks(people: KeypointSet, split: Split, *, override: bool = False, frames: bool = True) -> list[Leak]:
    """Refuse a split that leaks.

    Parameters
    ----------
    people, split, frames
        See :func:`leaks`.
    override
        Let it pass, and give the leaks back, so that they can be recorded.

    Raises
    ------
    InputError
        It leaks; the offenders are listed.
    """
    found = leaks(people, split, frames=frames)
    if found and not override:
        listed = "; ".join(leak.line() for leak in found[:_LISTED])
        more = f"; and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        raise InputError(
            f"the split of {people.name} leaks in {len(found)} places: {listed}{more}",
            hint="Make it anew with posepipe data split (another --seed, or --together REGEX, a pattern on names, "
            "keeps videos in one part), or train all the same with --allow-leaks",
        )
    return found


def _rows(members: list[str], wanted: set[str]) -> NDArray[np.int64]:
    return np.flatnonzero([member in wanted for member in members])


def _in_two(kind: Kind, parts: dict[str, set[str]]) -> list[Leak]:
    pairs = combinations(parts, 2)
    return [Leak(kind, name, (a, b)) for a, b in pairs for name in sorted(parts[a] & parts[b])]


def _alike(
    people: KeypointSet, looks: Looks, one: NDArray[np.int64], other: NDArray[np.int64], parts: tuple[str, str]
) -> list[Leak]:
    """Near-duplicates between two parts, one leak for each pair of videos (or of pictures) with its first frames."""
    pairs: dict[tuple[str, str], list[str]] = defaultdict(list)
    for i, j in near_duplicates(looks, one, other):
        names = people.images[i], people.images[j]
        if names[0] != names[1]:
            pairs[people.videos[i] or names[0], people.videos[j] or names[1]].append(" = ".join(names))
    return [Leak(Kind.FRAMES, names[0], parts, len(names)) for names in pairs.values()]


def looks_of(paths: Sequence[Path], cache: Path | None = None) -> Looks:
    """Hashes and thumbnails of picture files; rows of files that cannot be read are 0.

    With a ``cache`` folder, the same files (by path, size and time of change) are looked at once only.
    """
    if cache is None:
        return _look_at(paths)
    kept = cache / f"{_state(paths)}.npz"
    if kept.is_file():
        try:
            with np.load(kept, allow_pickle=False) as data:
                return Looks(data["hashes"], data["thumbnails"], data["read"])
        except UNREADABLE_NPZ:
            kept.unlink(missing_ok=True)
    looks = _look_at(paths)
    # A cache that cannot be written (a full disk, a read-only home) costs time, not the run.
    with suppress(OSError, OutputError):
        cache.mkdir(parents=True, exist_ok=True)
        with atomic_path(kept) as unfinished:
            np.savez(unfinished, hashes=looks.hashes, thumbnails=looks.thumbnails, read=looks.read)
    return looks


def _state(paths: Sequence[Path]) -> str:
    """SHA-256 of what files are there, and of how they are looked at."""
    digest = hashlib.sha256(f"looks/1 {_THUMBNAIL}".encode())
    for path in paths:
        digest.update(f"{file_state(path) if path.exists() else path.absolute()}\n".encode())
    return digest.hexdigest()


def _look_at(paths: Sequence[Path]) -> Looks:
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(_look, paths, chunksize=64))
    read = np.array([look is not None for look in found], bool)
    blank = (np.uint64(0), np.zeros((_THUMBNAIL, _THUMBNAIL), np.uint8))
    rows = [look or blank for look in found]
    hashes = np.array([row[0] for row in rows], np.uint64)
    return Looks(hashes, np.array([row[1] for row in rows], np.uint8).reshape(-1, _THUMBNAIL, _THUMBNAIL), read)


def _look(path: Path) -> tuple[np.uint64, NDArray[np.uint8]] | None:
    if not path.is_file():  # OpenCV would print a warning for each
        return None
    # JPEG files are decoded at a quarter of their size, which is all that is needed and several times as fast.
    grey = cv2.imread(str(path), cv2.IMREAD_REDUCED_GRAYSCALE_4)
    if grey is None or 0 in grey.shape:
        return None
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA)
    low = cv2.dct(small.astype(np.float32))[:8, :8].ravel()
    # The mean brightness (the first coefficient) says nothing about what is seen.
    bits = low > np.median(low[1:])
    thumbnail = cv2.resize(small, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA)
    return np.packbits(bits).view(np.uint64)[0], np.asarray(thumbnail, np.uint8)


def near_duplicates(looks: Looks, one: NDArray[np.int64], other: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Pairs of rows, one of each side, that look the same.

    Hashes that differ in at most `MOST_BITS` bits agree in at least one of `MOST_BITS` + 1 bands, so that only images
    that share a band are compared.
    """
    one, other = one[looks.read[one]], other[looks.read[other]]
    edges = np.linspace(0, 64, _BANDS + 1).astype(int).tolist()
    earlier: list[np.uint64] = []
    for low, high in pairwise(edges):
        band = np.uint64(((1 << (high - low)) - 1) << low)
        keys = looks.hashes & band
        order = other[np.argsort(keys[other], kind="stable")]
        starts = np.searchsorted(keys[order], keys[one], "left")
        ends = np.searchsorted(keys[order], keys[one], "right")
        for i, start, end in zip(one.tolist(), starts.tolist(), ends.tolist(), strict=True):
            yield from ((i, j) for j in _same(looks, i, order[start:end], earlier).tolist())
        earlier.append(band)


def _same(looks: Looks, i: int, others: NDArray[np.int64], earlier: list[np.uint64]) -> NDArray[np.int64]:
    """Those of the other rows that look like row ``i`` and share none of the ``earlier`` bands with it."""
    differing = looks.hashes[others] ^ looks.hashes[i]
    near = _ONES[differing.view(np.uint16).reshape(-1, 4)].sum(1) <= MOST_BITS
    for band in earlier:
        near &= (differing & band) != 0
    rows = others[near]
    change = np.abs(looks.thumbnails[rows].astype(np.int16) - looks.thumbnails[i])
    return np.asarray(rows[change.max(axis=(1, 2), initial=0) <= MOST_GREY])
