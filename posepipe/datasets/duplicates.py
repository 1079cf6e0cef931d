"""People who are labelled twice in one image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from posepipe.datasets.labels import KeypointSet

__all__ = ["duplicate_people"]

# Fewer joints in common can lie upon one another by chance: two spectators of whom only the faces show.
_LEAST_JOINTS = 5


def duplicate_people(people: KeypointSet, threshold: float = 0.9) -> NDArray[np.int64]:
    """Rows of people who stand in their image already, with a person score at least as high.

    OKS is taken over the joints that are labelled in both, in the greedy order of OKS-NMS (Papandreou et al.
    2017): best score first.

    Parameters
    ----------
    people
        The set.
    threshold
        A person is a duplicate of a better one from this OKS on; they have at least five in common.

    Returns
    -------
    (D,) int64 rows of the set, ascending.
    """
    order = np.argsort(people.image, kind="stable")
    image = people.image[order]
    starts = np.searchsorted(image, np.unique(image[_neighbours(people, order)]), "left")
    found = [_within(people, order[s : s + np.searchsorted(image[s:], image[s], "right")], threshold) for s in starts]
    return np.sort(np.concatenate(found)) if found else np.zeros(0, np.int64)


def _neighbours(people: KeypointSet, order: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(P,) whether a row of ``order`` (sorted by image) is followed by a person with a box near its own: few are."""
    image, boxes = people.image[order], people.boxes[order]
    centre, span = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).max(1, initial=0)
    near = np.zeros(len(order), bool)
    for apart in range(1, int(np.bincount(image, minlength=1).max())):
        distance = np.abs(centre[apart:] - centre[:-apart]).max(1)
        close = (image[apart:] == image[:-apart]) & (distance <= np.maximum(span[apart:], span[:-apart]) / 2)
        near[:-apart] |= close
    return near


def _within(people: KeypointSet, rows: NDArray[np.int64], threshold: float) -> NDArray[np.int64]:
    usable = rows[(people.labelled[rows] >= _LEAST_JOINTS) & ~people.iscrowd[rows]]
    best = usable[np.argsort(-people.person_score[usable], kind="stable")]
    seen = people.visibility[best] > 0
    common = seen[:, None] & seen[None]
    count = common.sum(-1)
    xy, area = people.xy[best].astype(np.float64), np.maximum(people.area[best].astype(np.float64), 1)
    distance = ((xy[:, None] - xy[None]) ** 2).sum(-1)
    # The smaller of two people decides: a child before a grown-up is not the same person.
    scale = 2 * (2 * np.array(people.skeleton.sigmas)) ** 2 * np.minimum(area[:, None], area[None])[..., None]
    alike = (np.exp(-distance / scale) * common).sum(-1) / np.maximum(count, 1)
    twin = (alike >= threshold) & (count >= _LEAST_JOINTS)
    alive = np.ones(len(best), bool)
    for i in range(len(best)):
        if alive[i]:
            alive[i + 1 :] &= ~twin[i, i + 1 :]
    return best[~alive]
