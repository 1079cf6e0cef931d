"""The face of a video's main person, from the keypoints of the head: one square a frame, smooth over time.

Nothing but the five head keypoints of a pose is needed. The distances of a face are nearly the same in all adults, so
each visible pair of points tells how wide the face is; the largest answer holds, since a turn of the head only shortens
distances.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from posepipe.geometry import iou
from posepipe.skeleton import Skeleton

__all__ = ["MARGIN", "crop_face", "face_boxes", "follow_face", "square_at", "steady_squares", "whole_square"]

#: side of the crop over the longer side of the face (FaceForensics++, Roessler et al. 2019, section 4)
MARGIN = 1.3
#: width of a face over the distance of two points of it, seen from the front
_WIDTHS = {
    ("left_ear", "right_ear"): 1.0,
    ("left_eye", "right_eye"): 2.2,
    ("nose", "left_eye"): 2.7,
    ("nose", "right_eye"): 2.7,
}
_HEIGHT = 1.1
_SAME_FACE = 0.2
_MEDIAN_S, _MEAN_S = 1.0, 0.5


def face_boxes(
    xy: NDArray[np.floating], score: NDArray[np.floating], skeleton: Skeleton, least_score: float
) -> NDArray[np.float64]:
    """Boxes of the faces of people whose nose and an eye, or both eyes, are seen.

    Parameters
    ----------
    xy, score
        (N,K,2) px and (N,K) keypoints of N people.
    skeleton
        Of the keypoints; the names of the head's are those of COCO. No face is found without them.
    least_score
        Of a keypoint that counts.

    Returns
    -------
    (M,4) float64 xyxy px, M <= N, in the order of the people; a box may reach out of the picture.
    """
    names = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")
    if not set(names) <= set(skeleton.keypoints):
        return np.zeros((0, 4))
    found = []
    for points, scores in zip(np.asarray(xy, np.float64), score, strict=True):
        head = {n: points[skeleton.index(n)] for n in names if scores[skeleton.index(n)] >= least_score}
        if sum(name in head for name in names[:3]) >= 2:
            found.append(_face(head))
    return np.array(found).reshape(-1, 4)


def _face(head: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """The box of one face: across the middle of all points, up and down about the height of nose and ears."""
    width = max(share * np.hypot(*(head[a] - head[b])) for (a, b), share in _WIDTHS.items() if a in head and b in head)
    sides = ("eye", "ear")
    middles = [np.mean([head[n] for n in head if n.endswith(part)], axis=0) for part in sides if _both(head, part)]
    x = np.mean([p[0] for p in ([head["nose"], *middles] if "nose" in head else middles)])
    eyes = np.mean([head[n][1] for n in head if n.endswith("eye")])
    y = eyes + 0.2 * width  # the middle between brows and chin, a fifth of a face's width below the eyes
    half = np.array([width, _HEIGHT * width]) / 2
    return np.concatenate([np.array([x, y]) - half, np.array([x, y]) + half])


def _both(head: Mapping[str, NDArray[np.float64]], part: str) -> bool:
    return f"left_{part}" in head and f"right_{part}" in head


def follow_face(boxes: NDArray[np.float64], before: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
    """Of the faces (M,4) of a frame the one that goes on from that of the frame `before` (4,), else the largest.

    None without a face.
    """
    if len(boxes) == 0:
        return None
    if before is not None:
        overlap = iou(before[None], boxes)[0]
        if overlap.max() >= _SAME_FACE:
            return np.asarray(boxes[overlap.argmax()])
    return np.asarray(boxes[(boxes[:, 2] - boxes[:, 0]).argmax()])


def steady_squares(seconds: NDArray[np.float64], boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squares about a face, smooth over time, from its boxes.

    A median over a second takes single mistakes out, then a mean over half a second the shaking.

    Parameters
    ----------
    seconds, boxes
        (M,) increasing and (M,4) xyxy px: the face where it was seen.

    Returns
    -------
    (M,3) float64: x and y of the middle, and the longer side of the face's box, px (no margin yet).
    """
    sides = (boxes[:, 2:] - boxes[:, :2]).max(1)
    raw = np.column_stack([(boxes[:, :2] + boxes[:, 2:]) / 2, sides])
    for width, summary in ((_MEDIAN_S, np.median), (_MEAN_S, np.mean)):
        # A hair wider than the window: times a tenth of a second apart are not exactly so in floats.
        first = np.searchsorted(seconds, seconds - width / 2 - 1e-6)
        last = np.searchsorted(seconds, seconds + width / 2 + 1e-6)
        raw = np.stack([summary(raw[a:b], axis=0) for a, b in zip(first, last, strict=True)])
    return raw


def square_at(seconds: NDArray[np.float64], squares: NDArray[np.float64], when: float) -> NDArray[np.float64]:
    """(3,): the square at a time, from those of `steady_squares`, M >= 1: in between interpolated, else the nearest."""
    return np.array([np.interp(when, seconds, squares[:, i]) for i in range(3)])


def whole_square(height: int, width: int) -> NDArray[np.float64]:
    """(3,): the square that `crop_face` cuts out of a picture in which no face is known: the middle, as tall as it."""
    return np.array([width / 2, height / 2, max(height, width)])


def crop_face(image: NDArray[np.uint8], square: NDArray[np.float64], side: int) -> NDArray[np.uint8]:
    """The square of a face, with `MARGIN`, out of a picture.

    Parameters
    ----------
    image
        (H,W,3) uint8.
    square
        (3,) middle and side of the face, px, from `square_at`.
    side
        Of the result, px.

    Returns
    -------
    (side,side,3) uint8. The cut is int(face x 1.3) px wide, at most the picture's shorter side, and moved into the
    picture where it would reach out of it.
    """
    height, width = image.shape[:2]
    size = int(min(max(2, int(square[2] * MARGIN)), height, width))
    left = min(max(round(float(square[0]) - size / 2), 0), width - size)
    top = min(max(round(float(square[1]) - size / 2), 0), height - size)
    cut = image[top : top + size, left : left + size]
    how = cv2.INTER_AREA if side < size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(cut, (side, side), interpolation=how), np.uint8)
