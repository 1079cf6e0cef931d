"""Maps of keypoints and limbs for a whole batch at once, on the device that trains.

The same maps as `posepipe.volumes.maps` draws one clip after another; that they are is tested.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["keypoint_maps", "limb_maps"]

_LEAST_SCORE = 1e-4
_REACH = 3.0


def keypoint_maps(points: Tensor, score: Tensor, size: int, sigma: float) -> Tensor:
    """One map for each keypoint and frame, the maximum over people.

    Parameters
    ----------
    points
        (N,P,T,K,2) float32 cells.
    score
        (N,P,T,K) float32, the peaks; what has none draws nothing.
    size
        Side of the maps, cells.
    sigma
        Standard deviation, cells.

    Returns
    -------
    (N,K,T,size,size) float32 in [0,1].
    """
    across, down = (_profile(points[..., axis], size, sigma) for axis in (0, 1))
    peak = torch.where(score >= _LEAST_SCORE, score, 0).clamp(max=1)
    down = down * peak[..., None]
    maps = points.new_zeros(points.shape[0], points.shape[2], points.shape[3], size, size)
    for person in range(points.shape[1]):
        maps = torch.maximum(maps, down[:, person, :, :, :, None] * across[:, person, :, :, None, :])
    return maps.transpose(1, 2)


def limb_maps(points: Tensor, score: Tensor, edges: Tensor, size: int, sigma: float) -> Tensor:
    """One map for each limb and frame: gaussians of the distance to the segment between two keypoints.

    Parameters
    ----------
    points, score, size, sigma
        As for `keypoint_maps`.
    edges
        (E,2) int64 the keypoints that each limb joins.

    Returns
    -------
    (N,E,T,size,size) float32 in [0,1].
    """
    start, end = points[..., edges[:, 0], :], points[..., edges[:, 1], :]
    first, second = score[..., edges[:, 0]].clamp(max=1), score[..., edges[:, 1]].clamp(max=1)
    least = torch.minimum(first, second)
    along = end - start
    squared = (along**2).sum(-1)
    short = squared < 1
    along = torch.where(short[..., None], 0, along)
    peak = torch.where(least >= _LEAST_SCORE, torch.where(short, first, least), 0)
    maps = points.new_zeros(points.shape[0], points.shape[2], len(edges), size, size)
    for person in range(points.shape[1]):
        drawn = _segments(start[:, person], along[:, person], squared[:, person], size, sigma)
        maps = torch.maximum(maps, peak[:, person, :, :, None, None] * drawn)
    return maps.transpose(1, 2)


def _profile(centre: Tensor, size: int, sigma: float) -> Tensor:
    """(...,) centres -> (...,size) gaussians along an axis, cut off at whole cells towards zero."""
    cell = torch.arange(size, dtype=centre.dtype, device=centre.device)
    low, high = (centre - _REACH * sigma).trunc()[..., None], (centre + _REACH * sigma).trunc()[..., None]
    value = torch.exp((cell - centre[..., None]) ** 2 / (-2 * sigma**2))
    return torch.where((cell >= low) & (cell <= high), value, 0)


def _segments(start: Tensor, along: Tensor, squared: Tensor, size: int, sigma: float) -> Tensor:
    """(N,T,E,2) starts and directions -> (N,T,E,size,size) gaussians."""
    cell = torch.arange(size, dtype=start.dtype, device=start.device)
    end = start + along
    low = (torch.minimum(start, end) - _REACH * sigma).trunc()
    high = (torch.maximum(start, end) + _REACH * sigma).trunc()
    inside = [(cell >= low[..., axis, None]) & (cell <= high[..., axis, None]) for axis in (0, 1)]  # across, down
    dx = (cell - start[..., 0, None])[..., None, :]
    dy = (cell - start[..., 1, None])[..., :, None]
    x, y = along[..., 0, None, None], along[..., 1, None, None]
    share = ((dx * x + dy * y) / squared.clamp(min=1)[..., None, None]).clamp(0, 1)
    distance = (dx - share * x) ** 2 + (dy - share * y) ** 2
    there = inside[1][..., :, None] & inside[0][..., None, :]
    return torch.where(there, torch.exp(distance / (-2 * sigma**2)), 0)
