"""Which videos of a labelled set a person should look at first: signs of bad labels, measured without watching.

Labels that a network made (AlphaPose output, say) are wrong in ways that show in the numbers: limbs change their
length, joints jump, left and right change places, one person is labelled twice, a second network disagrees. Every
sign is one number a video; a video is suspicious where a number stands out from those of the other videos of the set
(a robust z-score), so that no threshold has to know how people move in this set.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from posepipe.datasets.labels import KeypointSet
from posepipe.datasets.second_opinion import agreement
from posepipe.datasets.skeletons import canonical, with_limbs
from posepipe.errors import InputError
from posepipe.geometry import iou, oks

__all__ = ["ALARM", "Sign", "VideoCard", "audit", "measure"]

#: joints below this confidence are not looked at: the labeller itself does not stand by them
SURE = 0.3
#: z-score from which a sign is a reason to look
ALARM = 3.5
_CAP = 10.0
_SAME_PERSON, _TWICE, _OTHER, _ELONGATED, _LOPSIDED, _JUMP, _STILL = 0.2, 0.7, 0.4, 1.8, 2.5, 0.25, 1e-3

_FACE = {"nose", "eye", "ear"}

Rows = NDArray[np.int64]
Float = NDArray[np.float64]


class Sign(Enum):
    """A sign of bad labels: its code in files (a promise of docs/datasets.md), the smallest spread, what it means.

    The smallest spread is the scale below which differences between videos are not looked at: with it a set whose
    videos are all alike does not raise alarms over nothing.
    """

    BONE = ("bone-length", 0.01, "share of limbs far longer than usual for this person, or unlike their other side")
    JUMP = ("velocity", 0.006, "share of joints that jump against the body from one frame to the next")
    JITTER = ("jitter", 0.002, "how much more the joints accelerate than they move, in body sizes: shaking, not motion")
    SWAP = ("left-right-swap", 0.01, "share of left-right pairs that change places between frames")
    FACING = ("left-right-body", 0.03, "share of people whose face and shoulders look in opposite directions")
    CONFIDENCE = ("low-confidence", 0.03, "missing confidence: 1 - mean joint score")
    TWICE = ("duplicate-people", 0.01, "share of people labelled twice in a frame")
    FROZEN = ("frozen", 0.02, "share of poses that are exactly those of the frame before")
    GAPS = ("gaps", 0.03, "share of frames between the first and the last one that hold no label")
    OUTSIDE = ("outside-box", 0.02, "share of sure joints outside the person's own box")
    SECOND = ("second-opinion", 0.02, "share of people whose OKS with the second labels is below 0.4")
    NO_LABELS = ("no-labels", 0.1, "1: the label file cannot be read, or names nobody")

    def __init__(self, code: str, spread: float, text: str) -> None:
        self.code = code
        self.spread = spread
        self.text = text


@dataclass(frozen=True)
class VideoCard:
    """What the audit found in one video.

    Attributes
    ----------
    video
        Its name.
    frames, people
        Labelled frames and rows.
    signs
        Every sign that could be measured, in its own unit.
    z
        How far each stands out from the other videos; positive is suspicious.
    suspicion
        Root of the sum of squares of the positive z (each at most 10): what videos are ranked by.
    worst
        Up to 12 rows of the set, most suspicious first: what to look at.
    """

    video: str
    frames: int
    people: int
    signs: Mapping[Sign, float]
    z: Mapping[Sign, float]
    suspicion: float
    worst: Rows

    @property
    def reasons(self) -> tuple[str, ...]:
        """Codes of the signs that stand out, strongest first; empty: nothing to see."""
        strong = [sign for sign in self.z if self.z[sign] >= ALARM]
        return tuple(sign.code for sign in sorted(strong, key=lambda sign: -self.z[sign]))


def audit(labels: KeypointSet, second: KeypointSet | None = None, without: Iterable[str] = ()) -> list[VideoCard]:
    """Score every video of a set, most suspicious first.

    Parameters
    ----------
    labels
        A set with videos (still pictures are left out).
    second
        Labels of the same frames, or images, by a second model. Optional. Only frames that it labels are compared.
    without
        Further videos, of whose labels nothing is in the set: they come first.

    Raises
    ------
    InputError
        The set holds no video, or `second` has another skeleton or no frame of the set.
    """
    names = labels.video_names()
    if not names:
        hint = "Frames of videos are recognised by a folder a video (docs/datasets.md)"
        raise InputError(f"{labels.name} holds no videos to compare, only still pictures", hint=hint)
    opinion = None if second is None else agreement(labels, second, labels.score >= SURE)
    labels = replace(labels, skeleton=with_limbs(labels.skeleton))
    members = dict.fromkeys(names, np.zeros(0, np.int64)) | _rows_by_video(labels)
    measured = {name: measure(labels, members[name], opinion) for name in names}
    scores = _robust_z({name: signs for name, (signs, _) in measured.items()})
    cards = [_unlabelled(name) for name in without]
    for name in names:
        signs, trouble = measured[name]
        rows = members[name]
        positive = np.clip(list(scores[name].values()), 0, _CAP)
        frames = len({labels.frames[labels.image[row]] for row in rows})
        worst = rows[np.argsort(-trouble, kind="stable")][:12]
        cards.append(VideoCard(name, frames, len(rows), signs, scores[name], float(np.hypot.reduce(positive)), worst))
    return sorted(cards, key=lambda card: (-card.suspicion, card.video))


def _unlabelled(video: str) -> VideoCard:
    """The card of a video without labels: as suspicious as a video can be."""
    most = _CAP * float(np.sqrt(len(Sign)))
    return VideoCard(video, 0, 0, {Sign.NO_LABELS: 1.0}, {Sign.NO_LABELS: _CAP}, most, np.zeros(0, np.int64))


def measure(labels: KeypointSet, rows: Rows, opinion: Float | None = None) -> tuple[dict[Sign, float], Float]:
    """The signs of one video.

    Parameters
    ----------
    labels, rows
        The set and the video's rows in it, in the order of their frames.
    opinion
        (P,) OKS of every row of the set with the second labels, NaN where they do not know the image; None without any.

    Returns
    -------
    The signs that can be measured, and (len(rows),) float64 trouble of each row, to order them by.
    """
    if not len(rows):
        return {}, np.zeros(0)
    xy = labels.xy[rows].astype(np.float64)
    sure = (labels.visibility[rows] > 0) & (labels.score[rows] >= SURE)
    frame = labels.frames[labels.image[rows]]
    span = np.clip(labels.boxes[rows, 2:] - labels.boxes[rows, :2], 1, None).astype(np.float64)
    size = np.sqrt(span.prod(1))
    before, after = _links(labels.boxes[rows], frame)
    trouble = np.zeros(len(rows))
    signs: dict[Sign, float] = {}

    def note(sign: Sign, of: Rows, wrong: NDArray[np.bool_], valid: NDArray[np.bool_]) -> None:
        if valid.any():
            signs[sign] = float((wrong & valid).sum() / valid.sum())
            each = (wrong & valid).reshape(len(of), -1).sum(1) / np.maximum(valid.reshape(len(of), -1).sum(1), 1)
            np.add.at(trouble, of, each)

    every = np.arange(len(rows))
    note(Sign.BONE, every, *_odd_bones(labels, xy, sure, _tracklets(len(rows), before, after)))
    note(Sign.FACING, every, *_opposed(labels, xy, sure, size))
    inside = ((xy > labels.boxes[rows, None, :2] - 0.1 * span[:, None]).all(-1)) & (
        (xy < labels.boxes[rows, None, 2:] + 0.1 * span[:, None]).all(-1)
    )
    note(Sign.OUTSIDE, every, ~inside, sure)
    note(Sign.TWICE, every, _twice(labels, rows, frame), np.ones(len(rows), bool))
    signs[Sign.CONFIDENCE] = 1 - float(labels.score[rows].mean())
    trouble += 1 - labels.score[rows].mean(1)
    numbered = frame[frame >= 0]
    if len(numbered):
        step = _usual_step(numbered)
        signs[Sign.GAPS] = 1 - len(set(numbered.tolist())) / ((numbered.max() - numbered.min()) / step + 1)
    if len(before):
        both = sure[before] & sure[after]
        scale = size[before][:, None] * np.sqrt(np.maximum(frame[after] - frame[before], 1))[:, None]
        move = xy[after] - xy[before]
        jump = np.linalg.norm(move - _body_motion(move, both), axis=-1) / scale
        note(Sign.JUMP, after, jump > _JUMP, both)
        note(Sign.SWAP, after, *_swapped(labels, xy, both, before, after, scale))
        note(Sign.FROZEN, after, np.asarray(np.abs(move).max((1, 2)) < _STILL), np.asarray(both.any(1)))
        _note_jitter(signs, xy, sure, size, before, after)
    known = np.isfinite(opinion[rows]) if opinion is not None else np.zeros(len(rows), bool)
    if opinion is not None and known.any():
        signs[Sign.SECOND] = float((opinion[rows][known] < _OTHER).mean())
        trouble += np.where(known, 2 * (1 - opinion[rows]), 0)
    return signs, trouble


def _rows_by_video(labels: KeypointSet) -> dict[str, Rows]:
    """The rows of every video that has people, in the order of their frames."""
    found: dict[str, list[int]] = {}
    for row in np.argsort(labels.frames[labels.image], kind="stable").tolist():
        found.setdefault(labels.videos[labels.image[row]], []).append(row)
    return {video: np.array(rows, np.int64) for video, rows in found.items() if video}


def _usual_step(frames: Rows) -> int:
    """The usual distance of labelled frames: sets are often labelled every n-th frame."""
    steps = np.diff(np.unique(frames))
    return max(1, int(np.median(steps))) if len(steps) else 1


def _links(boxes: NDArray[np.float32], frame: Rows) -> tuple[Rows, Rows]:
    """Rows of the same person in successive labelled frames: (L,) before and (L,) after, by best IoU of the boxes."""
    before: list[int] = []
    after: list[int] = []
    groups = np.split(np.arange(len(frame)), np.flatnonzero(np.diff(frame)) + 1)
    furthest = 3 * _usual_step(frame)
    for old, new in pairwise(groups):
        if frame[new[0]] - frame[old[0]] > furthest:
            continue
        overlap = iou(boxes[old], boxes[new])
        while overlap.size and overlap.max() > _SAME_PERSON:
            i, j = np.unravel_index(int(overlap.argmax()), overlap.shape)
            before.append(int(old[i]))
            after.append(int(new[j]))
            overlap[i, :] = overlap[:, j] = 0
    return np.array(before, np.int64), np.array(after, np.int64)


def _tracklets(count: int, before: Rows, after: Rows) -> Rows:
    """(count,) number of the chain of links that each row belongs to."""
    chain = np.arange(count)
    for old, new in sorted(zip(before, after, strict=True), key=lambda link: link[1]):
        chain[new] = chain[old]
    return chain


def _body_motion(move: Float, both: NDArray[np.bool_]) -> Float:
    """(L,1,2) median motion of a body's sure joints; 0 where none is sure."""
    counted = both.any(1)
    body = np.zeros((len(move), 1, 2))
    body[counted] = np.nanmedian(np.where(both[counted, :, None], move[counted], np.nan), axis=1, keepdims=True)
    return body


def _odd_bones(
    labels: KeypointSet, xy: Float, sure: NDArray[np.bool_], chain: Rows
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(N,E) limbs much longer than this person's usual, or than their other side; and (N,E) which were looked at.

    Limbs seen from the front look shorter than they are, never longer: only too long ones tell. Looked at are arms,
    legs and flanks; what joins left to right turns with the body, and a face is too small to measure.
    """
    edges, mirror = labels.skeleton.edge_index, labels.skeleton.mirror
    face = np.array([bool(_FACE & set(canonical(name).split("_"))) for name in labels.skeleton.keypoints])
    across = mirror[edges[:, 0]] == edges[:, 1]
    edges = edges[~across & ~face[edges].any(1)]
    valid = sure[:, edges[:, 0]] & sure[:, edges[:, 1]]
    length = np.linalg.norm(xy[:, edges[:, 0]] - xy[:, edges[:, 1]], axis=-1)
    usual = np.full(length.shape, np.nan)
    for name in np.unique(chain):
        of = chain == name
        if of.sum() >= 5:
            kept = np.where(valid[of], length[of], np.nan)
            seen = np.isfinite(kept).sum(0) >= 5
            usual[np.ix_(of, seen)] = np.nanmedian(kept[:, seen], axis=0)
    odd = length > _ELONGATED * np.maximum(usual, 1.0)
    place = {tuple(sorted(edge)): number for number, edge in enumerate(edges.tolist())}
    other = [place.get(tuple(sorted((int(mirror[a]), int(mirror[b])))), number) for number, (a, b) in enumerate(edges)]
    reference = np.where(valid, length, 0).max(axis=1, keepdims=True, initial=0)
    # Two limbs that both look short say nothing: the longer one must be a good part of the body.
    odd |= valid[:, other] & (length > _LOPSIDED * length[:, other]) & (length > 0.5 * reference)
    return odd & valid, valid


def _swapped(
    labels: KeypointSet, xy: Float, both: NDArray[np.bool_], before: Rows, after: Rows, scale: Float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(L,Q) left-right pairs that change places over a link, and (L,Q) which were looked at."""
    skeleton = labels.skeleton
    left = np.array([skeleton.index(a) for a, _ in skeleton.pairs], np.int64)
    right = np.array([skeleton.index(b) for _, b in skeleton.pairs], np.int64)
    old, new = xy[before] / scale[..., None], xy[after] / scale[..., None]

    def distance(a: NDArray[np.int64], b: NDArray[np.int64]) -> Float:
        return np.asarray(np.linalg.norm(old[:, a] - new[:, b], axis=-1))

    kept = distance(left, left) + distance(right, right)
    crossed = distance(left, right) + distance(right, left)
    apart = np.linalg.norm(old[:, left] - old[:, right], axis=-1)
    valid = both[:, left] & both[:, right] & (apart > 0.06)
    return (kept > 2 * crossed) & (kept - crossed > 0.1), valid


def _opposed(
    labels: KeypointSet, xy: Float, sure: NDArray[np.bool_], size: Float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(N,) eyes that say the opposite of the shoulders about which side is left; and (N,) where both are sure."""
    wanted = ("left_eye", "right_eye", "left_shoulder", "right_shoulder")
    names = [canonical(name) for name in labels.skeleton.keypoints]
    if not set(wanted) <= set(names):
        return np.zeros(len(xy), bool), np.zeros(len(xy), bool)
    le, re, ls, rs = (names.index(name) for name in wanted)
    eyes, shoulders = (xy[:, le, 0] - xy[:, re, 0]) / size, (xy[:, ls, 0] - xy[:, rs, 0]) / size
    clear = (np.abs(eyes) > 0.03) & (np.abs(shoulders) > 0.1)
    return eyes * shoulders < 0, clear & sure[:, [le, re, ls, rs]].all(1)


def _twice(labels: KeypointSet, rows: Rows, frame: Rows) -> NDArray[np.bool_]:
    """(N,) rows that another row of the same frame repeats."""
    found = np.zeros(len(rows), bool)
    for group in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(frame)) + 1):
        if len(group) < 2:
            continue
        part = rows[group]
        seen = (labels.score[part] >= SURE).astype(np.float64)
        like = oks(labels.xy[part], seen, labels.area[part], labels.xy[part], np.asarray(labels.skeleton.sigmas))
        found[group] = (like - np.eye(len(group)) * 2 > _TWICE).any(1)
    return found


def _note_jitter(
    signs: dict[Sign, float], xy: Float, sure: NDArray[np.bool_], size: Float, before: Rows, after: Rows
) -> None:
    """Mean excess of the joints' second difference over their first one, in body sizes.

    Of noise the second difference is the larger one (by the root of 3), of smooth motion the first.
    """
    following = np.full(len(xy), -1)
    following[before] = after
    first = np.flatnonzero((following >= 0) & (following[np.maximum(following, 0)] >= 0))
    if not len(first):
        return
    middle = following[first]
    last = following[middle]
    valid = sure[first] & sure[middle] & sure[last]
    come, go = xy[middle] - xy[first], xy[last] - xy[middle]
    speed = (np.linalg.norm(come, axis=-1) + np.linalg.norm(go, axis=-1)) / 2
    shaking = np.clip(np.linalg.norm(go - come, axis=-1) - speed, 0, None) / size[middle][:, None]
    if valid.any():
        signs[Sign.JITTER] = float(np.minimum(shaking, 0.5)[valid].mean())


def _robust_z(signs: Mapping[str, Mapping[Sign, float]]) -> dict[str, dict[Sign, float]]:
    """How far each number stands out: (value - median) / spread.

    The spread is the largest of 1.4826 x the median absolute deviation, the distance from the median to the 85th
    percentile (in standard deviations of a normal distribution: a sign that many sound videos show in part, such as
    gaps where people walk out of the picture, must not bury the others) and the sign's smallest spread.
    """
    result: dict[str, dict[Sign, float]] = {name: {} for name in signs}
    for sign in Sign:
        having: Sequence[str] = [name for name in signs if sign in signs[name]]
        if not having:
            continue
        values = np.array([signs[name][sign] for name in having])
        middle, high = (float(v) for v in np.quantile(values, (0.5, 0.85)))
        spread = max(1.4826 * float(np.median(np.abs(values - middle))), (high - middle) / 1.0364, sign.spread)
        for name, value in zip(having, values, strict=True):
            result[name][sign] = float((value - middle) / spread)
    return result
