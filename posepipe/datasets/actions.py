"""Clips of people who do something, in one form, whatever files they came out of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from posepipe.datasets.skeletons import canonical
from posepipe.errors import InputError, UsageError
from posepipe.skeleton import Skeleton

# Keypoints that stand in for one that a skeleton lacks: what sets call by another name, or have close by.
_CLOSE = {"face": ("nose", "head"), "nose": ("face",), "head": ("face",), "belly": ("spine",), "spine": ("belly",)}

__all__ = ["ActionClasses", "ActionSample", "ActionSet", "check_parts", "join_sets"]


@dataclass(frozen=True)
class ActionClasses:
    """The F fine classes of a set, and the C coarse ones that they fall into, where there are any.

    Attributes
    ----------
    names
        F different names.
    coarse
        C different names.
    coarse_of
        Coarse class of each fine one, as a position in ``coarse``; empty without coarse classes.

    Raises
    ------
    ValueError
        A name comes twice, or the map does not fit.
    """

    names: tuple[str, ...]
    coarse: tuple[str, ...] = ()
    coarse_of: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.names or len(set(self.names)) != len(self.names) or len(set(self.coarse)) != len(self.coarse):
            raise ValueError(f"class names are there and differ, got {self.names} and {self.coarse}")
        if bool(self.coarse) != bool(self.coarse_of) or set(self.coarse_of) != set(range(len(self.coarse))):
            raise ValueError(f"every coarse class has fine ones: {len(self.coarse)} classes, map {self.coarse_of}")
        if self.coarse_of and len(self.coarse_of) != len(self.names):
            raise ValueError(f"a coarse map has an entry a class: {len(self.names)}, got {len(self.coarse_of)}")

    @classmethod
    def grouped(cls, groups: Mapping[str, Sequence[str]]) -> ActionClasses:
        """Classes by coarse class, in the order given."""
        pairs = [(name, place) for place, names in enumerate(groups.values()) for name in names]
        return cls(tuple(n for n, _ in pairs), tuple(groups), tuple(place for _, place in pairs))

    def sorted_as(self, names: Sequence[str]) -> ActionClasses:
        """The same classes in another order."""
        place = [self.names.index(name) for name in names]
        return ActionClasses(tuple(names), self.coarse, tuple(self.coarse_of[p] for p in place if self.coarse_of))


@dataclass(frozen=True, eq=False)
class ActionSample:
    """One clip of P people over T frames, K keypoints each.

    Attributes
    ----------
    name
        What the clip is called in messages; each once in a set.
    label
        Fine class, a position in the set's names.
    xy
        (P,T,K,2) float32 px, or (P,T,K,3) with depth behind in the same unit. P = 0 where only pixels are known.
    score
        (P,T,K) float32 in [0,1]; 0 = missing.
    frames
        (T,) int64: numbers of the frames in the video.
    video
        Where the pixels are; None where there are none.
    size
        Width and height of the video, px, in which the keypoints lie; 0 where unknown.
    part
        Part of the split: train, val, test, or any other name; "" for none.
    subject, camera, setup, trial
        Who, from where, where and when; "" where unknown.

    Raises
    ------
    ValueError
        Shapes that do not fit, values that are not finite, no frame, or frames that do not grow.
    """

    name: str
    label: int
    xy: NDArray[np.float32]
    score: NDArray[np.float32]
    frames: NDArray[np.int64]
    video: Path | None = None
    size: tuple[int, int] = (0, 0)
    part: str = ""
    subject: str = ""
    camera: str = ""
    setup: str = ""
    trial: str = ""

    def __post_init__(self) -> None:
        xy, score = np.asarray(self.xy, np.float32), np.asarray(self.score, np.float32)
        frames = np.asarray(self.frames, np.int64)
        if xy.ndim != 4 or xy.shape[3] not in (2, 3) or xy.shape[:3] != score.shape or frames.shape != xy.shape[1:2]:
            raise ValueError(f"clip {self.name!r}: shapes {xy.shape}, {score.shape}, {frames.shape} do not fit")
        if not len(frames) or (np.diff(frames) <= 0).any():
            raise ValueError(f"clip {self.name!r}: frame numbers are there and grow, got {frames[:8].tolist()} ...")
        if not (np.isfinite(xy).all() and np.isfinite(score).all() and (score >= 0).all() and (score <= 1).all()):
            raise ValueError(f"clip {self.name!r}: coordinates are finite and scores lie in [0,1]")
        for name, array in (("xy", xy), ("score", score), ("frames", frames)):
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.frames)


@dataclass(frozen=True, eq=False)
class ActionSet:
    """Clips, their classes and their skeleton.

    Attributes
    ----------
    name
        What the set is called in tables and cards.
    skeleton
        Names and order of the K keypoints.
    classes
        What is done in them.
    samples
        The clips.

    Raises
    ------
    InputError
        A clip's name comes twice, its label is no class, or it has other keypoints or axes than the rest.
    """

    name: str
    skeleton: Skeleton
    classes: ActionClasses
    samples: tuple[ActionSample, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "samples", tuple(self.samples))
        twice = [name for name, count in Counter(s.name for s in self.samples).items() if count > 1]
        if twice:
            raise InputError(f"set {self.name!r} names a clip twice: {', '.join(twice[:4])}")
        axes = {s.xy.shape[3] for s in self.samples}
        if len(axes) > 1:
            raise InputError(f"set {self.name!r} mixes keypoints with and without depth")
        for sample in self.samples:
            if not 0 <= sample.label < len(self.classes.names):
                raise InputError(f"set {self.name!r}: the label of {sample.name} is no class", got=sample.label)
            if sample.xy.shape[2] != len(self.skeleton):
                raise InputError(
                    f"set {self.name!r}: {sample.name} does not fit the skeleton {self.skeleton.name!r}",
                    got=f"{sample.xy.shape[2]} keypoints",
                    expected=len(self.skeleton),
                )

    def __len__(self) -> int:
        return len(self.samples)

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """(S,) int64 fine class of each clip."""
        return np.array([s.label for s in self.samples], np.int64)

    def select(self, rows: Iterable[int] | NDArray[np.bool_]) -> ActionSet:
        """Some of the clips, by a (S,) bool mask or by rows."""
        chosen = np.asarray(rows if isinstance(rows, np.ndarray) else list(rows))
        chosen = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen.astype(np.int64)
        return replace(self, samples=tuple(self.samples[i] for i in chosen))

    def of_part(self, part: str) -> ActionSet:
        """The clips of one part; raises `InputError` where the set has no such part."""
        found = self.select(np.array([s.part == part for s in self.samples], bool))
        if not len(found):
            parts = sorted({s.part for s in self.samples})
            raise InputError(f"set {self.name!r} has no part {part!r}", got=f"parts {', '.join(map(repr, parts))}")
        return found

    def renamed(self, names: Mapping[str, str]) -> ActionSet:
        """The clips of some classes under other names; several classes may become one, and coarse classes are lost.

        Raises `UsageError` for a class that the set has not.
        """
        stray = sorted(set(names) - set(self.classes.names))
        if stray:
            known = ", ".join(self.classes.names)
            raise UsageError(f"set {self.name!r} has no class {stray[0]!r}", expected=f"one of {known}")
        kept = tuple(dict.fromkeys(names.values()))
        own = self.classes.names
        samples = tuple(
            replace(s, label=kept.index(names[own[s.label]])) for s in self.samples if own[s.label] in names
        )
        return replace(self, classes=ActionClasses(kept), samples=samples)

    def mapped(self, target: Skeleton) -> ActionSet:
        """The clips with the keypoints of another skeleton, matched by name; what the set lacks is missing everywhere.

        Where names differ, a face, nose or head stands for another, and so do belly and spine.
        Raises `InputError` where no keypoint is in both.
        """
        if target == self.skeleton:
            return self
        own = [canonical(name) for name in self.skeleton.keypoints]
        names = [(c, *_CLOSE.get(c, ())) for c in map(canonical, target.keypoints)]
        source = np.array([next((own.index(n) for n in found if n in own), -1) for found in names])
        there = source >= 0
        if not there.any():
            raise InputError(f"no keypoint of {self.skeleton.name!r} is one of {target.name!r}")
        samples = tuple(
            replace(
                s, xy=np.where(there[:, None], s.xy[:, :, source], 0), score=np.where(there, s.score[..., source], 0)
            )
            for s in self.samples
        )
        return replace(self, skeleton=target, samples=samples)


def join_sets(sets: Sequence[ActionSet], name: str = "") -> ActionSet:
    """Sets of one skeleton as one; classes of one name are one class.

    Clips are called SET/CLIP where there are several sets. Coarse classes stay where all sets agree on them.
    """
    if len(sets) == 1:
        return sets[0]
    first = sets[0]
    for other in sets[1:]:
        if other.skeleton != first.skeleton:
            raise InputError(
                f"sets {first.name!r} and {other.name!r} have different skeletons",
                got=f"{first.skeleton.name} and {other.skeleton.name}",
                hint="Map them to one skeleton",
            )
    same = all(s.classes == first.classes for s in sets)
    names = tuple(dict.fromkeys(n for s in sets for n in s.classes.names))
    samples = tuple(
        replace(sample, name=f"{s.name}/{sample.name}", label=names.index(s.classes.names[sample.label]))
        for s in sets
        for sample in s.samples
    )
    classes = first.classes if same else ActionClasses(names)
    return ActionSet(name or "+".join(s.name for s in sets), first.skeleton, classes, samples)


def check_parts(training: ActionSet, held: ActionSet) -> None:
    """Raise `InputError` where clips cannot be learnt from: none, or of a class that is only in the other part."""
    if not len(training):
        raise InputError(f"set {training.name!r} has no clip to train on")
    missing = sorted(set(held.labels.tolist()) - set(training.labels.tolist()))
    if missing:
        names = [held.classes.names[i] for i in missing]
        raise InputError(
            f"classes of set {training.name!r} have no clip to train on, but some to test on: {', '.join(names)}",
            hint="Put clips of them into the training part, or leave the class out",
        )
    shared = {s.name for s in training.samples} & {s.name for s in held.samples}
    if shared:
        raise InputError(f"clips are in both parts: {', '.join(sorted(shared)[:4])}")
