"""Which frames of a clip an action model sees: spread over all of it (Duan et al. 2022, PoseC3D, section 3.3)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["TEST_SEED", "sample_test", "sample_train"]

#: Seed of the frames that are drawn for a test, the one of mmaction2: published figures hang on it.
TEST_SEED = 255

Index = NDArray[np.int64]


def sample_train(total: int, length: int, rng: np.random.Generator) -> Index:
    """Draw frames of one clip for training.

    A clip of twice the length and more is cut into as many equal bins, each of which gives one random frame. One that
    is shorter, but long enough, gives consecutive frames with random ones left out. One that is too short is repeated
    from a random frame on.

    Parameters
    ----------
    total
        Frames that there are, at least 1.
    length
        Frames that are wanted, at least 1.
    rng
        Where the draws come from.

    Returns
    -------
    (length,) int64 in [0, total), growing unless the clip is repeated.

    Raises
    ------
    ValueError
        A number below 1.
    """
    _check(total, length)
    if total < length:
        return (int(rng.integers(total)) + np.arange(length)) % total
    if total < 2 * length:
        return _with_gaps(length, rng.choice(length + 1, total - length, replace=False))
    edges = _edges(total, length)
    return edges[:-1] + rng.integers(np.diff(edges))


def sample_test(total: int, length: int, clips: int = 1, seed: int = TEST_SEED) -> Index:
    """Draw frames of several clips for a test: the same ones each time, and the same ones as mmaction2 does.

    Pictures and poses are sampled by a call each, so both begin with the same seed. As :func:`sample_train`, but clips
    that are too short begin at places spread over the video.

    Parameters
    ----------
    total, length
        Frames that there are and that are wanted, at least 1.
    clips
        How many clips to draw, at least 1.
    seed
        Of numpy's legacy generator (Mersenne twister), set once for all clips.

    Returns
    -------
    (clips, length) int64 in [0, total).

    Raises
    ------
    ValueError
        A number below 1.
    """
    _check(total, length, clips)
    # The legacy generator: its stream is frozen for good, and published test figures were drawn from it.
    rng = np.random.RandomState(seed)
    drawn = []
    for clip in range(clips):
        if total < length:
            start = clip if total < clips else clip * total // clips
            drawn.append(start + np.arange(length))
        elif total < 2 * length:
            drawn.append(_with_gaps(length, rng.choice(length + 1, total - length, replace=False)))
        else:
            edges = _edges(total, length)
            drawn.append(edges[:-1] + rng.randint(np.diff(edges)))
    return np.stack(drawn).astype(np.int64) % total


def _check(*counts: int) -> None:
    if min(counts) < 1:
        raise ValueError(f"frames are drawn from at least one, into clips of at least one, got {counts}")


def _edges(total: int, length: int) -> Index:
    """Edges (length+1,) of equal bins, in whole frames."""
    return np.arange(length + 1, dtype=np.int64) * total // length


def _with_gaps(length: int, gaps: NDArray[np.integer]) -> Index:
    """0, 1, 2 ... with one more step before each of the places in ``gaps``, of which there are length + 1."""
    steps = np.zeros(length + 1, np.int64)
    steps[gaps] = 1
    return np.arange(length) + np.cumsum(steps)[:-1]
