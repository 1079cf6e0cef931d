"""One model on one labelled set: every figure of the cross-evaluation, with intervals, for all people and for parts.

Protocol. Mean OKS (area = 0.53 x box, so that sets with and without segments compare), PCK@0.2 (of the box's longer
side) and heatmap accuracy are over people with at least 5 labelled joints and a box of at least 60 px on its longer
side. AP and AR are over everybody, with the areas of the set. Heatmap accuracy puts the label and the guess on the
64x48 map of the label's box (padded by 1.25, 256x192), so that it is one figure for networks of any map, and for
labellers without one; see `posepipe.evaluation.heatmap_accuracy`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posepipe.evaluation.ap_draws import drawn_ap, match_by_oks
from posepipe.evaluation.bootstrap import draw_groups, group_sums, interval
from posepipe.evaluation.heatmap_accuracy import joint_hits, mean_of_joints, target_cells
from posepipe.evaluation.keypoints import AREA_SHARE, paired_oks, person_score
from posepipe.geometry import affine_points, crop_affine, iou
from posepipe.skeleton import COCO17, Skeleton

__all__ = ["METRICS", "Figure", "Guess", "Truth", "compare", "pair_by_boxes"]

#: what is measured, in the order of the tables
METRICS = ("heatmap accuracy", "AP", "AR", "mean OKS", "PCK@0.2")

_LEAST_JOINTS, _LEAST_SIDE, _SAME_PERSON, _PCK = 5, 60.0, 0.3, 0.2
_CROP, _MAP, _STRIDE, _PADDING = (256, 192), (64, 48), 4.0, 1.25


@dataclass(frozen=True)
class Truth:
    """Labelled people of I pictures.

    Attributes
    ----------
    name
        Of the set.
    group
        (I,) int64 from 0: pictures of one video have one number.
    image
        (P,) row of the picture.
    boxes, xy, labelled
        (P,4) xyxy px, (P,K,2) px, (P,K) bool.
    area, iscrowd
        (P,) px^2 and (P,) bool, for AP.
    part
        (P,) text by which figures are split (the state, or the video); "" for people who are in no part.
    """

    name: str
    group: NDArray[np.int64]
    image: NDArray[np.int64]
    boxes: NDArray[np.floating]
    xy: NDArray[np.floating]
    labelled: NDArray[np.bool_]
    area: NDArray[np.floating]
    iscrowd: NDArray[np.bool_]
    part: NDArray[np.str_]
    skeleton: Skeleton = field(default=COCO17)

    @property
    def measured(self) -> NDArray[np.bool_]:
        """(P,) people who count for all figures but AP and AR."""
        side = (self.boxes[:, 2:] - self.boxes[:, :2]).max(-1)
        return np.asarray((self.labelled.sum(-1) >= _LEAST_JOINTS) & (side >= _LEAST_SIDE) & ~self.iscrowd)


@dataclass(frozen=True)
class Guess:
    """What a model found in the same pictures.

    Attributes
    ----------
    image, boxes, box_score
        (M,) row of the picture, (M,4) xyxy px, (M,).
    xy, score
        (M,K,2) px and (M,K).
    person
        (M,) row of the labelled person whose box was given; None where boxes were found, then they pair people.
    """

    image: NDArray[np.int64]
    boxes: NDArray[np.floating]
    box_score: NDArray[np.floating]
    xy: NDArray[np.floating]
    score: NDArray[np.floating]
    person: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Figure:
    """A figure in [0,1] (-1 or NaN: nothing to measure), its 95 % interval, and of how many people it is.

    The interval is NaN where the people are all of one video: how much videos differ cannot be seen in one.
    """

    value: float
    low: float
    high: float
    people: int


def pair_by_boxes(truth: Truth, guess: Guess) -> NDArray[np.int64]:
    """The guess of each labelled person: (P,) rows, -1 for people who were not found.

    One to one, largest IoU first, at least 0.3.
    """
    pairs = np.full(len(truth.image), -1, np.int64)
    if guess.person is not None:
        pairs[guess.person] = np.arange(len(guess.person))
        return pairs
    for picture in np.unique(truth.image):
        people, found = np.flatnonzero(truth.image == picture), np.flatnonzero(guess.image == picture)
        overlap = iou(truth.boxes[people], guess.boxes[found])
        while overlap.size and overlap.max() >= _SAME_PERSON:
            row, column = np.unravel_index(overlap.argmax(), overlap.shape)
            pairs[people[row]] = found[column]
            overlap[row], overlap[:, column] = -1, -1
    return pairs


@dataclass(frozen=True)
class _Scores:
    """Per person: OKS (P,), joints right by PCK and by maps, joints that count there (P,K)."""

    oks: NDArray[np.float64]
    near: NDArray[np.bool_]
    right: NDArray[np.bool_]
    counted: NDArray[np.bool_]


def _person_scores(truth: Truth, guess: Guess) -> _Scores:
    pairs = pair_by_boxes(truth, guess)
    found = pairs >= 0
    xy = np.zeros(truth.xy.shape)
    xy[found] = guess.xy[pairs[found]]
    extent = truth.boxes[:, 2:] - truth.boxes[:, :2]
    area = AREA_SHARE * extent.prod(-1)
    oks = paired_oks(truth.xy, truth.labelled.astype(np.float64), area, xy, truth.skeleton) * found
    distance = np.linalg.norm(truth.xy - xy, axis=-1)
    near = truth.labelled & found[:, None] & (distance <= _PCK * extent.max(-1)[:, None])
    matrix = crop_affine(truth.boxes, _CROP, _PADDING)
    target = target_cells(affine_points(matrix, truth.xy), truth.labelled, _MAP, _STRIDE)
    cells = np.trunc(affine_points(matrix, xy) / _STRIDE + 0.5)
    predicted = np.clip(cells, 0, np.array(_MAP[::-1]) - 1).astype(np.int64)
    right, counted = joint_hits(predicted, target, _MAP)
    return _Scores(oks, near, right & found[:, None], counted)


def _coco_truth(truth: Truth) -> dict[str, Any]:
    """The set as a COCO dictionary; picture ids are rows, annotation ids count from 1."""
    joints = np.concatenate([truth.xy, 2.0 * truth.labelled[..., None]], -1) * truth.labelled[..., None]
    boxes = np.concatenate([truth.boxes[:, :2], truth.boxes[:, 2:] - truth.boxes[:, :2]], 1)
    rows = [
        {
            "id": i + 1,
            "image_id": int(truth.image[i]),
            "category_id": 1,
            "bbox": boxes[i].tolist(),
            "area": float(truth.area[i]),
            "iscrowd": int(truth.iscrowd[i]),
            "num_keypoints": int(truth.labelled[i].sum()),
            "keypoints": joints[i].ravel().tolist(),
        }
        for i in range(len(truth.image))
    ]
    images = [{"id": i} for i in range(len(truth.group))]
    return {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "person"}]}


def _coco_results(guess: Guess) -> list[dict[str, Any]]:
    joints = np.concatenate([guess.xy, guess.score[..., None]], -1)
    # AlphaPose's evaluation: mean of the joints' scores above 0.2, times that of the box.
    person = person_score(guess.score) * guess.box_score
    return [
        {"image_id": int(guess.image[i]), "category_id": 1, "keypoints": joints[i].ravel().tolist(), "score": person[i]}
        for i in range(len(guess.image))
    ]


def compare(truth: Truth, guess: Guess, *, draws: int = 1000, seed: int = 1) -> dict[str, dict[str, Figure]]:
    """All figures of one model on one set.

    Parameters
    ----------
    truth, guess
        The labels and what the model found.
    draws, seed
        Bootstrap draws of videos (pictures where a set has none) and their seed; the same draws for every model.

    Returns
    -------
    Part -> metric -> figure. Part "" is the whole set; the others (`Truth.part`, sorted) have no AP and AR, since a
    guess that belongs to nobody belongs to no part.

    Raises
    ------
    MissingExtraError
        pycocotools is not installed.
    """
    groups = int(truth.group.max()) + 1 if len(truth.group) else 0
    drawn = draw_groups(groups, draws, seed)
    scores = _person_scores(truth, guess)
    people = truth.measured
    tables: dict[str, dict[str, Figure]] = {"": _average_precision(truth, guess, drawn)}
    for part in ("", *sorted(set(truth.part[people].tolist()) - {""})):
        use = people if part == "" else people & (truth.part == part)
        tables.setdefault(part, {}).update(_shares(truth, scores, use, drawn))
    return {part: {name: table[name] for name in METRICS if name in table} for part, table in tables.items()}


def _average_precision(truth: Truth, guess: Guess, drawn: NDArray[np.int64]) -> dict[str, Figure]:
    matches = match_by_oks(_coco_truth(truth), _coco_results(guess))
    people = int(matches.people.sum())
    once = np.ones((1, len(truth.group)), np.int64)
    values, estimates = drawn_ap(matches, once), drawn_ap(matches, drawn[:, truth.group])
    videos = len(np.unique(truth.group[matches.people > 0]))
    return {
        name: Figure(float(value[0]), *_ends(estimate, videos), people)
        for name, value, estimate in zip(("AP", "AR"), values, estimates, strict=True)
    }


def _ends(estimates: NDArray[np.floating], groups: int) -> tuple[float, float]:
    """Ends of the interval; NaN where the figure is of fewer than two groups, of which every draw is the same."""
    return interval(estimates) if groups > 1 else (float("nan"), float("nan"))


def _shares(truth: Truth, scores: _Scores, use: NDArray[np.bool_], drawn: NDArray[np.int64]) -> Mapping[str, Figure]:
    """The figures that are shares of people or joints, of the people of `use` (P,) bool."""
    group, groups = truth.group[truth.image[use]], drawn.shape[1]
    count = int(use.sum())

    def sums(values: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        by_group = group_sums(values[use], group, groups)
        return by_group.sum(0), drawn @ by_group

    with np.errstate(
        invalid="ignore"
    ):  # a draw, or a set, with nobody in it: 0 / 0 is NaN, which `interval` leaves out
        ones = sums(np.ones(len(use)))
        oks = [a / b for a, b in zip(sums(scores.oks), ones, strict=True)]
        joints = sums(truth.labelled.sum(-1))
        near = [a / b for a, b in zip(sums(scores.near.sum(-1)), joints, strict=True)]
        counted = sums(scores.counted)
        maps = [
            np.where(b.sum(-1) > 0, mean_of_joints(a, b), np.nan)
            for a, b in zip(sums(scores.right), counted, strict=True)
        ]
    return {
        name: Figure(float(pair[0]), *_ends(pair[1], len(np.unique(group))), count)
        for name, pair in (("heatmap accuracy", maps), ("mean OKS", oks), ("PCK@0.2", near))
    }
