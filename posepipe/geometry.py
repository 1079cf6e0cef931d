"""Boxes, IoU, OKS, and the affine map between a picture and a person's crop.

Coordinates are pixel indices: the centre of the top left pixel is (0, 0). Boxes are ``xyxy`` and half-open, so a box
that covers the pixels 0..9 is ``[0, 10)`` and 10 wide.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["affine_points", "crop_affine", "invert_affine", "iou", "nms", "oks"]

Float = NDArray[np.floating]


def iou(a: Float, b: Float) -> NDArray[np.float64]:
    """Intersection over union of every box in ``a`` (N,4) with every box in ``b`` (M,4), xyxy: (N,M) float64 in [0,1].

    A box without area has IoU 0 with everything.
    """
    a = np.asarray(a, np.float64).reshape(-1, 4)
    b = np.asarray(b, np.float64).reshape(-1, 4)
    # Two plain tables are stepped through several times as fast as one of pairs.
    width, height = (
        np.maximum(np.minimum.outer(a[:, k + 2], b[:, k + 2]) - np.maximum.outer(a[:, k], b[:, k]), 0) for k in (0, 1)
    )
    inter = width * height
    area_a = np.clip(a[:, 2:] - a[:, :2], 0, None).prod(-1)
    area_b = np.clip(b[:, 2:] - b[:, :2], 0, None).prod(-1)
    union = area_a[:, None] + area_b[None, :] - inter
    return np.asarray(np.divide(inter, union, out=np.zeros_like(inter), where=union > 0))


def nms(boxes: Float, score: Float, threshold: float) -> NDArray[np.int64]:
    """Greedy non-maximum suppression: indices of the kept boxes, best score first.

    Parameters
    ----------
    boxes, score
        (N,4) xyxy and (N,).
    threshold
        A box is dropped when its IoU with a better kept box is above this.
    """
    order = np.argsort(-np.asarray(score), kind="stable")
    overlap = iou(np.asarray(boxes)[order], np.asarray(boxes)[order]) > threshold
    alive = np.ones(len(order), bool)
    for i in range(len(order)):
        if alive[i]:
            alive[i + 1 :] &= ~overlap[i, i + 1 :]
    return order[alive].astype(np.int64)


def oks(truth: Float, visible: Float, area: Float, guess: Float, sigmas: Float) -> NDArray[np.float64]:
    """Object keypoint similarity of N labelled people with M guesses (COCO keypoint evaluation).

    Parameters
    ----------
    truth, visible, area
        (N,K,2) px, (N,K) where above 0 means labelled, (N,) px^2 segment area of the labelled people.
    guess
        (M,K,2) px.
    sigmas
        (K,) per-keypoint constants.

    Returns
    -------
    (N,M) float64 in [0,1]; a person without a labelled joint has OKS 0.
    """
    truth = np.asarray(truth, np.float64)
    guess = np.asarray(guess, np.float64)
    labelled = np.asarray(visible) > 0
    variance = (2 * np.asarray(sigmas, np.float64)) ** 2
    distance = ((truth[:, None] - guess[None]) ** 2).sum(-1)
    scale = 2 * variance * (np.asarray(area, np.float64)[:, None, None] + np.spacing(1))
    similarity = np.exp(-distance / scale) * labelled[:, None]
    count = labelled.sum(-1)[:, None]
    return np.asarray(np.divide(similarity.sum(-1), count, out=np.zeros(similarity.shape[:2]), where=count > 0))


def crop_affine(boxes: Float, size: tuple[int, int], padding: float = 1.25) -> NDArray[np.float64]:
    """Affine maps from the picture to crops that show each box, centred and padded, without distorting it.

    The box is widened about its centre to the crop's aspect, then scaled by ``padding`` (AlphaPose, SimpleBaseline).

    Parameters
    ----------
    boxes
        (N,4) xyxy px.
    size
        (height, width) of the crop in px.
    padding
        Factor on the widened box; 1.25 leaves a margin of an eighth on each side.

    Returns
    -------
    (N,2,3) float64 matrices for ``affine_points`` and ``cv2.warpAffine``, picture index -> crop index.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    height, width = size
    span = np.maximum(boxes[:, 2:] - boxes[:, :2], 1.0)
    scale = np.minimum(width / span[:, 0], height / span[:, 1]) / padding
    # Half-open edges lie half a pixel outside the pixel centres that indices count.
    centre = (boxes[:, :2] + boxes[:, 2:] - 1) / 2
    matrix = np.zeros((len(boxes), 2, 3))
    matrix[:, 0, 0] = matrix[:, 1, 1] = scale
    matrix[:, 0, 2] = (width - 1) / 2 - scale * centre[:, 0]
    matrix[:, 1, 2] = (height - 1) / 2 - scale * centre[:, 1]
    return matrix


def invert_affine(matrix: Float) -> NDArray[np.float64]:
    """Inverses of (...,2,3) affine maps. Raises ``numpy.linalg.LinAlgError`` for one that is not invertible."""
    matrix = np.asarray(matrix, np.float64)
    linear = np.linalg.inv(matrix[..., :2])
    return np.concatenate([linear, -linear @ matrix[..., 2:]], axis=-1)


def affine_points(matrix: Float, xy: Float) -> NDArray[np.float64]:
    """Apply (...,2,3) affine maps to (...,P,2) points of the same leading shape."""
    matrix = np.asarray(matrix, np.float64)
    return np.asarray(np.asarray(xy, np.float64) @ np.swapaxes(matrix[..., :2], -1, -2) + matrix[..., None, :, 2])
