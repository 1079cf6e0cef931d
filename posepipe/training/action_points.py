"""Numbers of keypoints in place of maps, for the smallest network: where they are, how they move, how far apart.

After Yang et al. 2019, "Make Skeleton-based Action Recognition Model Smaller, Faster and Better" (DD-Net): distances
between all pairs of keypoints, which do not change as a person turns or walks, and motion at two speeds.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["first_person", "point_channels", "point_features"]

# Frames between which the slower motion is taken.
_SLOW = 4
# Motion of a frame is this much smaller than the places of keypoints.
_FAST = 4.0


def point_channels(keypoints: int, edges: int) -> int:
    """Channels that `point_features` makes of a skeleton."""
    return 2 * keypoints * 3 + keypoints + 2 * edges + keypoints * (keypoints - 1) // 2 + 2


def first_person(points: Tensor, score: Tensor) -> Tensor:
    """Keypoints (N,T,K,3) of the first person of each clip: x, y and score; of score 0 where there is nobody.

    Parameters
    ----------
    points
        (N,P,T,K,2) float32 cells.
    score
        (N,P,T,K) float32; 0 = missing.
    """
    people = torch.cat((points, score[..., None]), -1)
    return people[:, 0] if people.shape[1] else people.new_zeros(len(people), *people.shape[2:])


def point_features(keypoints: Tensor, edges: Tensor, size: int) -> Tensor:
    """Numbers of one person; those of missing keypoints are 0.

    Parameters
    ----------
    keypoints
        (N,T,K,3) float32: x and y in cells, and the score; 0 = missing.
    edges
        (E,2) int64 the keypoints that each limb joins.
    size
        Side of the window, cells.

    Returns
    -------
    (N,C,T,1,1) float32: places about the middle of the body, motion from frame to frame and over four frames, scores,
    limbs, distances, and the middle, in sides of the window.
    """
    xy, score = keypoints[..., :2] / size - 0.5, keypoints[..., 2]
    there = (score > 0).to(keypoints.dtype)[..., None]
    middle = (xy * there).sum(2, keepdim=True) / there.sum(2, keepdim=True).clamp(min=1)
    places = (xy - middle) * there
    first, second = torch.triu_indices(xy.shape[2], xy.shape[2], 1, device=xy.device)
    both = there[:, :, first, 0] * there[:, :, second, 0]
    apart = (xy[:, :, first] - xy[:, :, second]).pow(2).sum(-1).clamp(min=1e-8).sqrt() * both
    limbs = (xy[:, :, edges[:, 1]] - xy[:, :, edges[:, 0]]) * there[:, :, edges[:, 0]] * there[:, :, edges[:, 1]]
    parts = (places, _FAST * _motion(xy, there, 1), _motion(xy, there, _SLOW), score, limbs, apart, middle)
    # About as spread as normal numbers, so that no part drowns another.
    return (4 * torch.cat([part.flatten(2) for part in parts], 2)).transpose(1, 2)[..., None, None]


def _motion(xy: Tensor, there: Tensor, frames: int) -> Tensor:
    """(N,T,K,2) how far keypoints go in so many frames, 0 at the end of the clip."""
    moved = (xy[:, frames:] - xy[:, :-frames]) * there[:, frames:] * there[:, :-frames]
    return torch.nn.functional.pad(moved, (0, 0, 0, 0, 0, min(frames, xy.shape[1])))[:, : xy.shape[1]]
