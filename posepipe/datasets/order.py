"""The order of training samples: shuffled so that every video and state is spread evenly, the same on every run."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["MixedOrder", "interleave"]


def interleave(groups: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """A random order of N samples in which every group comes at even distances.

    Group g of size n is shuffled and laid at the places (j + u) / n, j = 0 .. n-1, with one random u in [0, 1); all
    samples are sorted by place. So B samples in a row hold at most n (B + G) / N + 1 of it, G being the number of
    groups: frames of one video never come in a row while others wait. Groups of one sample are plainly shuffled.

    Parameters
    ----------
    groups
        (N,) group of each sample.
    rng
        Source of chance.

    Returns
    -------
    (N,) int64 permutation.
    """
    shuffled = rng.permutation(len(groups))
    names, group, sizes = np.unique(groups[shuffled], return_inverse=True, return_counts=True)
    by_group = np.argsort(group, kind="stable")
    rank = np.empty(len(groups), np.int64)
    rank[by_group] = np.arange(len(groups)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    place = (rank + rng.random(len(names))[group]) / sizes[group]
    return np.asarray(shuffled[np.argsort(place, kind="stable")], np.int64)


class MixedOrder:
    """A sampler of (index, seed) pairs: mixed anew each lap, the same on every run and in every worker.

    A sample's variation follows from its seed alone, so training that resumes at an epoch sees the same samples as
    training that never stopped, with any number of workers. There is no order but this one.

    Parameters
    ----------
    length
        Samples in the set.
    seed
        Of the order and of the variations.
    per_epoch
        Samples in an epoch, a lap if None; an epoch may be a part of a lap, the next one goes on from there.
    groups
        (length) name of the group (video, state) each sample belongs to; None: no groups.
    repeat
        (length,) times that each sample comes in a lap; None: once.
    classes
        (length) class of each sample, for classes that come equally often: of every C samples in a row, counted from
        the first of a lap, each of the C classes has one. A lap is as long as the largest class makes it, and a smaller
        class is gone through again and again, anew mixed each time. None: as often as they are.
    """

    def __init__(
        self,
        length: int,
        seed: int,
        per_epoch: int | None = None,
        *,
        groups: Sequence[Hashable] | None = None,
        repeat: NDArray[np.int64] | None = None,
        classes: Sequence[Hashable] | None = None,
    ) -> None:
        numbers = {name: number for number, name in enumerate(dict.fromkeys(groups or ()))}
        group = np.array([numbers[name] for name in groups], np.int64) if groups is not None else np.arange(length)
        self.rows = np.repeat(np.arange(length), 1 if repeat is None else repeat)
        self._group = group[self.rows]
        members: dict[Hashable, list[int]] = {}
        if classes is not None:
            for place, row in enumerate(self.rows.tolist()):
                members.setdefault(classes[row], []).append(place)
        self._members = [np.array(places, np.int64) for places in members.values()]
        self.lap = len(members) * max(map(len, self._members)) if members else len(self.rows)
        self.seed = seed
        self.per_epoch = per_epoch or self.lap
        self.epoch = 0
        self._rank, self._world = 0, 1

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch to draw; the training engine calls this before each."""
        self.epoch = epoch

    def share_out(self, rank: int, world: int) -> None:
        """Draw only every `world`-th sample, from the `rank`-th on: the part of one of several processes."""
        self._rank, self._world = rank, world

    def __len__(self) -> int:
        return self.per_epoch // self._world

    def __iter__(self) -> Iterator[tuple[int, int]]:
        first = self.epoch * self.per_epoch
        lap, order = -1, self.rows  # of the lap that a position falls into
        for step in range(len(self)):
            position = first + step * self._world + self._rank
            if position // self.lap != lap:
                lap = position // self.lap
                order = self.rows[self._mixed(lap)]
            seed = np.random.default_rng((self.seed, 1, position)).integers(2**62)
            yield int(order[position % self.lap]), int(seed)

    def _mixed(self, lap: int) -> NDArray[np.int64]:
        """Which of the rows come in a lap, in order."""
        rng = np.random.default_rng((self.seed, lap))
        if not self._members:
            return interleave(self._group, rng)
        most = max(map(len, self._members))
        columns = [self._endless(number, lap * most, most) for number in range(len(self._members))]
        # One of each class after another, in an order of their own every time.
        return np.asarray(rng.permuted(np.stack(columns, 1), axis=1).reshape(-1), np.int64)

    def _endless(self, number: int, first: int, count: int) -> NDArray[np.int64]:
        """Places `first` to `first + count` of a class's rows, gone through again and again, each time mixed anew."""
        members = self._members[number]
        passes = range(first // len(members), -(-(first + count) // len(members)))
        mixed = [
            members[interleave(self._group[members], np.random.default_rng((self.seed, 2, number, turn)))]
            for turn in passes
        ]
        start = first - passes.start * len(members)
        return np.concatenate(mixed)[start : start + count]
