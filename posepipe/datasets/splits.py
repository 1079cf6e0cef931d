"""Training, validation and test parts of a set: whole videos, drawn with a seed, written to a signed file."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import MappingProxyType

import numpy as np

from posepipe.datasets.labels import KeypointSet
from posepipe.errors import InputError, UsageError
from posepipe.io.atomic import atomic_path

__all__ = ["By", "Split", "make_split", "members_of", "of_part", "read_split", "strangers", "subject_of", "write_split"]

FORMAT = "posepipe-split/1"


class By(Enum):
    """What stays together: a video, everything of a subject, or nothing (every picture for itself)."""

    VIDEO = "video"
    SUBJECT = "subject"
    IMAGE = "image"


@dataclass(frozen=True)
class Split:
    """Members of each part.

    Attributes
    ----------
    by
        What was drawn.
    parts
        Names of videos (``by`` video or subject) or of images, by part: train, val, and test where asked for.
    seed
        Seed of the draw.
    subject_pattern, together
        Regular expressions whose first group (or match) in a video's name is its subject, or the source that it shares
        with its neighbours; "" where none was given.
    source
        Name of the set.
    """

    by: By
    parts: Mapping[str, tuple[str, ...]]
    seed: int
    subject_pattern: str = ""
    together: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", MappingProxyType({p: tuple(m) for p, m in self.parts.items()}))

    @property
    def sha256(self) -> str:
        """SHA-256 of the member list: every part and member, in the order of the names."""
        listed = [[part, sorted(members)] for part, members in sorted(self.parts.items())]
        listed.append(["by", [self.by.value, self.subject_pattern]])
        return hashlib.sha256(json.dumps(listed, ensure_ascii=True, separators=(",", ":")).encode()).hexdigest()


def members_of(people: KeypointSet, by: By) -> list[str]:
    """The member that each image belongs to: its video, or the image itself where it is a still picture."""
    if by is By.IMAGE:
        return list(people.images)
    return [video or image for video, image in zip(people.videos, people.images, strict=True)]


def subject_of(member: str, pattern: str) -> str:
    """First group, or the match, of a pattern in a name; the name itself where it does not match."""
    found = re.search(pattern, member) if pattern else None
    if found is None:
        return member
    return next((group for group in found.groups() if group is not None), found.group(0))


def make_split(
    people: KeypointSet,
    *,
    by: By = By.VIDEO,
    seed: int = 0,
    val: float = 0.1,
    test: float = 0.0,
    subject_pattern: str = "",
    together: str = "",
) -> Split:
    """Draw a split; the same set and settings give the same split on every machine.

    Groups (videos, subjects, images, or what a key keeps together) are shuffled and dealt out until a part has its
    share of the images, the test part first; no group is ever divided.

    Parameters
    ----------
    people
        The set.
    by
        What stays together.
    seed
        Of the shuffle.
    val, test
        Shares of the images, from 0 to 1, together less than 1.
    subject_pattern
        Regular expression that finds the subject in a video's name; needed for ``by`` subject.
    together
        Regular expression whose group names the source that neighbouring videos share: they go into one part.

    Raises
    ------
    UsageError
        A share, a pattern or ``by`` makes no sense, a member of a split by subject has none, the pattern of the sources
        matches nothing, or there are too few groups for that many parts.
    """
    _check_wishes(val, test, by, subject_pattern, together)
    weight = Counter(members_of(people, by))
    _check_matches(sorted(weight), subject_pattern if by is By.SUBJECT else "", together)
    groups = _groups(sorted(weight), subject_pattern if by is By.SUBJECT else "", together)
    sizes = {key: sum(weight[member] for member in group) for key, group in groups.items()}
    # Sorting first makes the draw independent of the order in which files were listed.
    keys = sorted(groups)
    order = [keys[i] for i in np.random.default_rng(seed).permutation(len(keys))]
    shares = {"test": test, "val": val}
    wanted = {part: share * len(people.images) for part, share in shares.items() if share > 0}
    if len(order) < len(wanted) + 1:
        text = f"{people.name} has {len(order)} groups for {len(wanted) + 1} parts"
        alike = "Frames of one video are too alike for two parts: label more videos"
        raise UsageError(text, hint=alike if people.video_names() else "Label more pictures, or ask for fewer parts")
    parts: dict[str, list[str]] = {part: [] for part in (*wanted, "train")}
    for part, target in wanted.items():
        filled, left = 0, len(wanted) - list(wanted).index(part)
        while (filled == 0 or filled + sizes[order[0]] / 2 <= target) and len(order) > left:
            filled += sizes[order[0]]
            parts[part].extend(groups[order.pop(0)])
    parts["train"] = [member for key in order for member in groups[key]]
    listed = {part: tuple(sorted(parts[part])) for part in sorted(parts, key=["train", "val", "test"].index)}
    return Split(by, listed, seed, subject_pattern, together, people.name)


def _groups(members: list[str], subject_pattern: str, together: str) -> dict[str, list[str]]:
    """Members that share a subject, a source, or (over others) either; by the name of the first of them."""
    key_of: dict[tuple[str, str], str] = {}
    groups = {member: [member] for member in members}
    home = {member: member for member in members}
    for member in members:
        for kind, pattern in (("subject", subject_pattern), ("source", together)):
            if not pattern:
                continue
            first = home[key_of.setdefault((kind, subject_of(member, pattern)), member)]
            mine = home[member]
            if first != mine:
                low, high = sorted((first, mine))
                for other in groups[high]:
                    home[other] = low
                groups[low] += groups.pop(high)
    return groups


def _check_wishes(val: float, test: float, by: By, subject_pattern: str, together: str) -> None:
    if not (0 <= val < 1 and 0 <= test < 1 and 0 < val + test < 1):
        raise UsageError("shares of the parts", got=f"val {val}, test {test}", expected="0 < val + test < 1")
    if by is By.SUBJECT and not subject_pattern:
        raise UsageError("a split by subject needs the pattern that finds it", hint="e.g. --subject-pattern 'S(\\d+)'")
    for pattern in (subject_pattern, together):
        try:
            re.compile(pattern)
        except re.error as error:
            raise UsageError(f"{pattern!r} is not a regular expression: {error}") from error


def _check_matches(members: list[str], subject_pattern: str, together: str) -> None:
    """A name without a match would be a subject, or a source, of its own: a leak that nobody sees."""
    strange = [member for member in members if subject_pattern and not re.search(subject_pattern, member)]
    if strange:
        raise UsageError(
            f"the subject pattern {subject_pattern!r} does not match {len(strange)} of {len(members)} names",
            got=", ".join(strange[:3]),
            hint="Every video needs a subject: widen the pattern, or split --by video",
        )
    if together and members and not any(re.search(together, member) for member in members):
        raise UsageError(
            f"the pattern {together!r} of what stays together matches none of {len(members)} names",
            got=", ".join(members[:3]),
            hint="Mend the pattern, or leave it out",
        )


def strangers(people: KeypointSet, split: Split) -> tuple[list[str], list[str]]:
    """Members of the set that are in no part of a split, and those of the split that the set does not have; sorted."""
    members = set(members_of(people, split.by))
    known = {member for listed in split.parts.values() for member in listed}
    return sorted(members - known), sorted(known - members)


def of_part(people: KeypointSet, split: Split, part: str) -> KeypointSet:
    """The images of a part and the people in them.

    Raises
    ------
    UsageError
        The split has no such part, or the set has images that the split does not know (it was made for another set).
    """
    if part not in split.parts:
        raise UsageError(f"the split has no part {part!r}", expected=", ".join(split.parts))
    unknown, _ = strangers(people, split)
    if unknown:
        raise UsageError(
            f"{len(unknown)} videos or images of {people.name} are in no part of the split (first: {unknown[0]})",
            hint="Make the split anew: posepipe data split",
        )
    wanted = set(split.parts[part])
    return people.of_images(np.array([member in wanted for member in members_of(people, split.by)], bool))


def write_split(split: Split, path: str | Path) -> None:
    """Write a split file, signed with the SHA-256 of its member list. Raises :class:`OutputError`."""
    content = {
        "format": FORMAT,
        "source": split.source,
        "by": split.by.value,
        "seed": split.seed,
        "subject_pattern": split.subject_pattern,
        "together": split.together,
        "counts": {part: len(members) for part, members in split.parts.items()},
        "parts": {part: list(members) for part, members in split.parts.items()},
        "sha256": split.sha256,
    }
    with atomic_path(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")


def read_split(path: str | Path) -> Split:
    """Read a split file.

    Raises
    ------
    InputError
        It is missing, is not a split file, or was changed after it was written.
    """
    try:
        data = json.loads(Path(path).read_text("utf-8-sig"))
        if data["format"] != FORMAT:
            raise InputError(f"{path} has another format", got=repr(data["format"])[:50], expected=FORMAT)
        parts = {str(part): tuple(str(m) for m in members) for part, members in data["parts"].items()}
        split = Split(
            By(data["by"]), parts, int(data["seed"]), data["subject_pattern"], data["together"], str(data["source"])
        )
        signed = data["sha256"]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise InputError(
            f"{path} is not a split file: {error!r}"[:200], hint="posepipe data split makes one"
        ) from error
    if signed != split.sha256:
        raise InputError(
            f"{path} was changed after it was written: its members do not fit its signature",
            got=split.sha256[:12],
            expected=str(signed)[:12],
            hint="Make it anew with posepipe data split and the same seed",
        )
    return split
