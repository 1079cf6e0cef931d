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
    """

    def __init__(
        self,
        length: int,
        seed: int,
        per_epoch: int | None = None,
        *,
        groups: Sequence[Hashable] | None = None,
        repeat: NDArray[np.int64] | None = None,
    ) -> None:
        numbers = {name: number for number, name in enumerate(dict.fromkeys(groups or ()))}
        group = np.array([numbers[name] for name in groups], np.int64) if groups is not None else np.arange(length)
        self.rows = np.repeat(np.arange(length), 1 if repeat is None else repeat)
        self._group = group[self.rows]
        self.seed = seed
        self.per_epoch = per_epoch or len(self.rows)
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
        lap, order = -1, self.rows
        for step in range(len(self)):
            position = first + step * self._world + self._rank
            if position // len(self.rows) != lap:
                lap = position // len(self.rows)
                order = self.rows[interleave(self._group, np.random.default_rng((self.seed, lap)))]
            seed = np.random.default_rng((self.seed, 1, position)).integers(2**62)
            yield int(order[position % len(self.rows)]), int(seed)
