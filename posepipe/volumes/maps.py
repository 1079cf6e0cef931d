"""Gaussian maps of keypoints and limbs over time, weighted by score, the maximum over people (PoseC3D, section 3.2).

Gaussians are cut off at three standard deviations, and points of a score below 1e-4 draw nothing, as in mmaction2.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from posepipe.skeleton import Skeleton

__all__ = ["channel_mirror", "keypoint_maps", "limb_maps", "limb_mirror", "limb_names", "mirror_maps"]

Float = NDArray[np.floating]

_LEAST_SCORE = 1e-4
_REACH = 3.0
# Cells that are worked on at a time: what is between fits the cache, whatever the number of people.
_CHUNK = 1 << 17


def keypoint_maps(
    xy: Float, score: Float, size: tuple[int, int], sigma: float = 0.6, scale: float = 1.0
) -> NDArray[np.float32]:
    """One map for each keypoint and frame.

    Parameters
    ----------
    xy
        (M,T,K,2) indices in the crop, of M people.
    score
        (M,T,K); the peak of the gaussian, at most 1. Points without a score draw nothing, wherever they are.
    size
        (height, width) of the crop.
    sigma
        Standard deviation, cells.
    scale
        Cells for each index of the crop; coordinates are multiplied by it.

    Returns
    -------
    (K,T,h,w) float32 in [0,1], h and w being height and width times scale, rounded.

    Raises
    ------
    ValueError
        Shapes that do not fit, or a sigma or scale that is not above 0.
    """
    points, peak = _scaled(xy, score, sigma, scale)
    return _draw(points, points, peak, _cells(size, scale), sigma)


def limb_maps(
    xy: Float,
    score: Float,
    edges: NDArray[np.integer],
    size: tuple[int, int],
    sigma: float = 0.6,
    scale: float = 1.0,
) -> NDArray[np.float32]:
    """One map for each limb and frame: gaussians of the distance to the segment between two keypoints.

    The peak is the smaller of the two scores. A limb shorter than a cell is drawn as its first keypoint.

    Parameters
    ----------
    xy, score, size, sigma, scale
        As for :func:`keypoint_maps`.
    edges
        (E,2) the keypoints that each limb joins (``Skeleton.edge_index``).

    Returns
    -------
    (E,T,h,w) float32 in [0,1].

    Raises
    ------
    ValueError
        As :func:`keypoint_maps`.
    """
    points, peak = _scaled(xy, score, sigma, scale)
    edges = np.asarray(edges, np.int64).reshape(-1, 2)
    start, end = points[..., edges[:, 0], :], points[..., edges[:, 1], :]
    first, second = peak[..., edges[:, 0]], peak[..., edges[:, 1]]
    least = np.minimum(first, second)
    with np.errstate(over="ignore"):
        short = ((end - start) ** 2).sum(-1) < 1
    end = np.where(short[..., None], start, end)
    strength = np.where(short & (least >= _LEAST_SCORE), first, least)
    return _draw(start, end, strength, _cells(size, scale), sigma)


def mirror_maps(maps: Float, mirror: NDArray[np.integer]) -> NDArray[np.floating]:
    """Maps (...,K,T,h,w) of the mirror image: columns from right to left, channels of left and right swapped."""
    return np.ascontiguousarray(np.take(maps, mirror, axis=-4)[..., ::-1])


def limb_mirror(skeleton: Skeleton) -> NDArray[np.int64]:
    """(E,) int64 permutation: the limb that each limb becomes in the mirror.

    Raises
    ------
    ValueError
        The skeleton has a limb on one side and not on the other.
    """
    place = {frozenset(edge): e for e, edge in enumerate(skeleton.edge_index.tolist())}
    partners = [frozenset(edge) for edge in skeleton.mirror[skeleton.edge_index].tolist()]
    lonely = [limb_names(skeleton)[e] for e, partner in enumerate(partners) if partner not in place]
    if lonely:
        raise ValueError(f"skeleton {skeleton.name!r} has limbs without a counterpart in the mirror: {lonely}")
    return np.array([place[partner] for partner in partners], np.int64)


def limb_names(skeleton: Skeleton) -> tuple[str, ...]:
    """What the limbs of a skeleton are called: their two keypoints, joined by a hyphen."""
    return tuple(f"{a}-{b}" for a, b in skeleton.edges)


def channel_mirror(skeleton: Skeleton, keypoints: bool, limbs: bool) -> NDArray[np.int64]:
    """The permutation of channels in the mirror, keypoints first. Raises ``ValueError`` as :func:`limb_mirror`."""
    parts = [skeleton.mirror] if keypoints else []
    if limbs:
        parts.append(limb_mirror(skeleton) + (len(skeleton) if keypoints else 0))
    return np.concatenate(parts)


def _cells(size: tuple[int, int], scale: float) -> tuple[int, int]:
    return int(size[0] * scale + 0.5), int(size[1] * scale + 0.5)


def _scaled(xy: Float, score: Float, sigma: float, scale: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points in cells and peaks in [0,1], checked."""
    points, peak = np.asarray(xy, np.float64) * scale, np.clip(np.asarray(score, np.float64), 0, 1)
    if points.ndim != 4 or points.shape[3] != 2 or points.shape[:3] != peak.shape:
        raise ValueError(f"points are (M,T,K,2) and scores (M,T,K), got {points.shape} and {peak.shape}")
    if not (sigma > 0 and scale > 0):
        raise ValueError(f"sigma and scale are above 0, got {sigma} and {scale}")
    lost = ~np.isfinite(points).all(-1) | ~np.isfinite(peak)
    return np.where(lost[..., None], 0.0, points), np.where(lost, 0.0, peak)


def _draw(start: Float, end: Float, peak: Float, cells: tuple[int, int], sigma: float) -> NDArray[np.float32]:
    """Maps (K,T,h,w) of segments between (M,T,K,2) points; points are segments of no length."""
    height, width = cells
    frames, channels = peak.shape[1:]
    maps = np.zeros((channels, frames, height, width), np.float32)
    person, frame, channel = np.nonzero(peak >= _LEAST_SCORE)
    a, b, top = start[person, frame, channel], end[person, frame, channel], peak[person, frame, channel]
    bounds = (width, height)
    # Whole cells towards zero, as the source counts: a gaussian just beyond the left edge still reaches cell 0.
    low = np.clip(np.trunc(np.minimum(a, b) - _REACH * sigma), 0, bounds).astype(np.int64)
    high = np.clip(np.trunc(np.maximum(a, b) + _REACH * sigma) + 1, 0, bounds).astype(np.int64)
    span = np.maximum(high - low, 0)
    first = ((channel * frames + frame) * height + low[:, 1]) * width + low[:, 0]
    flat = maps.reshape(-1)
    for rows in _chunks(span[:, 0] * span[:, 1]):
        item, x, y = _patches(span[rows])
        along = b[rows] - a[rows]
        squared = _squared_distance(low[rows] - a[rows], along, item, x, y)
        value = top[rows][item] * np.exp(squared / (-2 * sigma**2))
        np.maximum.at(flat, first[rows][item] + y * width + x, value.astype(np.float32))
    return maps


def _chunks(area: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Rows that have an area, in groups of about ``_CHUNK`` cells."""
    rows = np.flatnonzero(area)
    group = np.cumsum(area[rows]) // _CHUNK
    yield from np.split(rows, np.flatnonzero(np.diff(group)) + 1)


def _patches(span: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """All cells of P patches (P,2) wide and high in a row: the patch, column and row of each."""
    area = span[:, 0] * span[:, 1]
    item = np.repeat(np.arange(len(span)), area)
    within = np.arange(len(item)) - np.repeat(np.cumsum(area) - area, area)
    y, x = np.divmod(within, span[item, 0])
    return item, x, y


def _squared_distance(
    offset: Float, along: Float, item: NDArray[np.int64], x: NDArray[np.int64], y: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Squared distance of cells to segments that go from -offset to along - offset, seen from the patch's corner."""
    dx, dy = offset[item, 0] + x, offset[item, 1] + y
    if along.any():
        length = (along**2).sum(-1)
        unit = np.divide(along, length[:, None], out=np.zeros_like(along), where=length[:, None] > 0)
        share = np.clip(dx * unit[item, 0] + dy * unit[item, 1], 0, 1)
        dx, dy = dx - share * along[item, 0], dy - share * along[item, 1]
    return np.asarray(dx**2 + dy**2, np.float64)
