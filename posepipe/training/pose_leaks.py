"""Nothing on both sides: training refuses pictures and videos that stand in training and in validation too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from posepipe.config import cache_root
from posepipe.datasets.leaks import looks_of, near_duplicates
from posepipe.datasets.people import Person
from posepipe.errors import InputError

__all__ = ["refuse_shared", "without_copies"]

_LISTED = 5


def refuse_shared(train: Sequence[Person], held: Sequence[Person], *, allow: bool) -> tuple[str, ...]:
    """Refuse a video, a picture or a near-copy of a picture on both sides.

    Parameters
    ----------
    train, held
        People to train and to validate on.
    allow
        Do not refuse.

    Returns
    -------
    Notes for the summary: what leaks, if something does and that is allowed.

    Raises
    ------
    InputError
        Something leaks; the first offenders are named.
    """
    both = sorted({_unit(person) for person in train} & {_unit(person) for person in held})
    if not both:
        both = [f"{_name(one)} looks like {_name(other)}" for one, other in _copies(held, train)]
    if not both:
        return ()
    what = f"{len(both)} videos or pictures stand on both sides of the split: {', '.join(both[:_LISTED])}"
    if not allow:
        raise InputError(what, hint="Split by video, or train all the same with --allow-leaks")
    return (f"Figures of validation are too good: {what}",)


def without_copies(held: Sequence[Person], train: Sequence[Person]) -> list[Person]:
    """The people of `held` whose pictures do not look like one of `train`."""
    copies = {one for one, _ in _copies(held, train)}
    return [person for person in held if person.image not in copies]


def _unit(person: Person) -> str:
    """What must stand on one side: the video, or the picture."""
    return person.video or str(person.image.resolve())


def _name(path: Path) -> str:
    """A picture with its folder, which of a frame is the video."""
    return f"{path.parent.name}/{path.name}"


def _copies(one: Sequence[Person], other: Sequence[Person]) -> list[tuple[Path, Path]]:
    """Pairs of pictures, of one and of the other people, that look the same."""
    sides = [sorted({person.image for person in people}) for people in (one, other)]
    if not all(sides):
        return []
    paths = [*sides[0], *sides[1]]
    rows = np.arange(len(paths))
    pairs = near_duplicates(looks_of(paths, cache_root() / "looks"), rows[: len(sides[0])], rows[len(sides[0]) :])
    return [(paths[i], paths[j]) for i, j in pairs]
