"""The second pass over a finished run: who is who, with what came later in view.

Tracklets are cut where nobody can have moved so far, linked over gaps by motion and build from both sides, all links
chosen together; short gaps are filled, people that are hardly ever seen are set aside, and every row says how sure its
id is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posepipe.geometry import iou
from posepipe.skeleton import COCO17, Skeleton
from posepipe.tracking import links
from posepipe.tracking.tracklets import Rows, find_ends, gather
from posepipe.types import FrameResult, Poses, Refinement, Tracks

__all__ = ["RefineSettings", "refine"]

Int = NDArray[np.int64]
Array = NDArray[np.float64]

# Risk that a person is mistaken for another, in a frame in which two touch (IoU above this) and over a frame in which a
# track saw nobody; and how sure a row is far from most of its track, and amid it. Of a grid, what was likeliest on the
# sequences that eval/track.py names as fitted on.
_TOUCH, _TOUCH_RISK, _MISS_RISK = 0.3, 0.01, 0.06
_LEAST_SURE, _MOST_SURE = 0.6, 0.94


@dataclass(frozen=True)
class RefineSettings:
    """What the second pass may do.

    Attributes
    ----------
    max_gap
        Most frames over which two tracklets are joined.
    link
        Least likelihood of a link.
    max_fill
        Most missing frames of a gap that is filled in.
    least_rows
        A person is set aside who is seen in fewer frames.
    faint_rows, least_score
        And one who is seen in fewer frames than this, and whose detections score on average less than this share of
        what detections of confirmed people usually score in this run (median).
    """

    max_gap: int = 90
    link: float = 0.35
    max_fill: int = 5
    least_rows: int = 5
    faint_rows: int = 60
    least_score: float = 0.9


@dataclass(frozen=True)
class _Verdict:
    """For each row: its final id, whether it is a person, when that person came first, and how sure the id is."""

    track_id: Int
    confirmed: NDArray[np.bool_]
    begin: Int
    confidence: Array


@dataclass(frozen=True)
class _Fill:
    """A row to be filled in: between which rows, how far along (0..1), and of what time."""

    before: int
    after: int
    share: float
    time: int


def refine(
    frames: Iterable[FrameResult], skeleton: Skeleton = COCO17, settings: RefineSettings | None = None
) -> Iterator[FrameResult]:
    """Go over a finished run once more.

    Every row that the tracker gave comes back in its place, with ``tracks.refinement`` beside it: its final id in
    ``track_id``, the tracker's own in ``refinement.raw_id``. Rows that were filled in follow them. A run that was
    refined already is refined from what its tracker said, so that nothing changes.

    Parameters
    ----------
    frames
        The results in order of time. They are iterated three times: a list or :class:`posepipe.io.records.Records`.
    skeleton
        What the poses consist of.
    settings
        None means the defaults.
    """
    settings = settings or RefineSettings()
    rows = gather(frames, skeleton)
    verdict = _judge(rows, settings)
    fills = defaultdict(list)
    for fill in _gaps(rows, verdict, settings.max_fill):
        fills[fill.time].append(fill)
    ends = _poses_at(frames, rows, {end for group in fills.values() for f in group for end in (f.before, f.after)})
    order = np.lexsort((rows.line, rows.time))
    begins = np.searchsorted(rows.time[order], np.arange(len(rows.camera) + 1))
    time = 0
    for result in frames:
        if result.skipped:
            yield result
            continue
        here = order[begins[time] : begins[time + 1]]
        tracks = _rewritten(result.tracks, rows, verdict, here)
        added = [_filled(fill, rows, verdict, ends, skeleton) for fill in fills[time]]
        yield FrameResult(
            result.frame_index, result.pts, _joined([tracks, *added]), result.actions, result.skipped, result.cut
        )
        time += 1


def _judge(rows: Rows, settings: RefineSettings) -> _Verdict:
    """Who is who."""
    starts = rows.starts
    begin, size = starts[:-1], np.diff(starts)
    if not len(begin):
        return _Verdict(rows.raw_id, rows.confirmed, rows.time, rows.score)
    real = np.maximum.reduceat(rows.confirmed.astype(np.int64), begin) > 0
    first, last = find_ends(rows, last=False), find_ends(rows, last=True)
    pairs = links.candidates(first, last, settings.max_gap)
    pairs = pairs[real[pairs].all(1)]
    likely = links.likelihood(links.features(first, last, pairs))
    taken = links.solve(pairs, likely, settings.link)
    chain = _chains(len(begin), pairs[taken], rows.time[begin])
    risk = np.zeros(len(begin))
    risk[pairs[taken, 1]] = -np.log(likely[taken])
    seen, score = np.bincount(chain, size), np.bincount(chain, np.add.reduceat(rows.score, begin))
    usual = float(np.median(rows.score[rows.confirmed])) if rows.confirmed.any() else 0.0
    faint = score < settings.least_score * usual * seen
    ghost = (seen < settings.least_rows) | (faint & (seen < settings.faint_rows))
    person = real & ~ghost[chain]
    came = np.full(len(begin), np.iinfo(np.int64).max)
    np.minimum.at(came, chain, rows.time[begin])
    piece = rows.tracklet
    confidence = _confidence(rows, chain[piece], risk, person[piece])
    return _Verdict(_ids(chain, rows.raw_id[begin])[piece], person[piece], came[chain][piece], confidence)


def _chains(count: int, joined: Int, time: Int) -> Int:
    """(N,) the first tracklet of the chain that each one is in; ``joined`` (L,2) says which goes on in which."""
    chain = np.arange(count)
    before = np.full(count, -1)
    before[joined[:, 1]] = joined[:, 0]
    for one in np.argsort(time, kind="stable"):
        if before[one] >= 0:
            chain[one] = chain[before[one]]
    return chain


def _ids(chain: Int, raw_id: Int) -> Int:
    """(N,) final id of each tracklet: the raw id of its chain's first, or a new one where that is taken."""
    heads = np.unique(chain)
    _, first = np.unique(raw_id[heads], return_index=True)
    final = np.zeros(len(chain), np.int64)
    again = np.delete(np.arange(len(heads)), first)
    final[heads] = raw_id[heads]
    final[heads[again]] = raw_id.max() + 1 + np.arange(len(again))
    return final[chain]


def _confidence(rows: Rows, chain: Int, link_risk: Array, person: NDArray[np.bool_]) -> Array:
    """(R,) chance that a row shows whom most rows of its chain show: it falls with the risks on the way to them."""
    risk = _TOUCH_RISK * _touching(rows, person)
    inside = np.r_[False, rows.tracklet[1:] == rows.tracklet[:-1]]
    risk[inside] += _MISS_RISK * (np.diff(rows.time)[inside[1:]] - 1)
    begin = rows.starts[:-1]
    risk[begin] += link_risk
    order = np.lexsort((rows.time, chain))
    sure = np.ones(len(rows))
    for one in np.split(order, np.flatnonzero(np.diff(chain[order])) + 1):
        way = np.cumsum(risk[one])
        sure[one] = np.exp(-np.abs(way - np.median(way)))
    return _LEAST_SURE + (_MOST_SURE - _LEAST_SURE) * sure


def _touching(rows: Rows, person: NDArray[np.bool_]) -> Array:
    """(R,) 1 where a person's box overlaps another person's in the same frame."""
    touch = np.zeros(len(rows))
    real = np.flatnonzero(person)
    order = real[np.argsort(rows.time[real], kind="stable")]
    for here in np.split(order, np.flatnonzero(np.diff(rows.time[order])) + 1):
        overlap = iou(rows.boxes[here], rows.boxes[here])
        np.fill_diagonal(overlap, 0)
        touch[here] = overlap.max(1, initial=0) > _TOUCH
    return touch


def _gaps(rows: Rows, verdict: _Verdict, most: int) -> Iterator[_Fill]:
    """What is to be filled in, in order of the people."""
    real = np.flatnonzero(verdict.confirmed)
    order = real[np.lexsort((rows.time[real], verdict.track_id[real]))]
    a, b = order[:-1], order[1:]
    missing = rows.time[b] - rows.time[a] - 1
    short = (verdict.track_id[a] == verdict.track_id[b]) & (missing > 0) & (missing <= most)
    for before, after in zip(a[short].tolist(), b[short].tolist(), strict=True):
        start, steps = int(rows.time[before]), int(rows.time[after] - rows.time[before])
        for step in range(1, steps):
            yield _Fill(before, after, step / steps, start + step)


def _poses_at(frames: Iterable[FrameResult], rows: Rows, wanted: set[int]) -> dict[int, Poses]:
    """The poses of some rows."""
    places = defaultdict(list)
    for row in wanted:
        places[int(rows.time[row])].append(row)
    found: dict[int, Poses] = {}
    time = 0
    for result in frames:
        if result.skipped:
            continue
        for row in places.get(time, ()):
            found[row] = result.tracks.poses[rows.line[row : row + 1]]
        time += 1
    return found


def _rewritten(tracks: Tracks, rows: Rows, verdict: _Verdict, here: Int) -> Tracks:
    """The observed people of a frame with the verdict on them; ``here`` are their rows."""
    line = rows.line[here]
    return Tracks(
        poses=tracks.poses[line],
        boxes=tracks.boxes[line],
        track_id=verdict.track_id[here],
        confirmed=verdict.confirmed[here],
        age=(rows.time[here] - verdict.begin[here]).astype(np.int32),
        refinement=Refinement(
            rows.raw_id[here],
            rows.confirmed[here],
            verdict.confidence[here].astype(np.float32),
            np.ones(len(here), bool),
        ),
    )


def _filled(fill: _Fill, rows: Rows, verdict: _Verdict, ends: dict[int, Poses], skeleton: Skeleton) -> Tracks:
    """One person halfway between two rows; a keypoint is there where both rows have it."""
    a, b = ends[fill.before], ends[fill.after]

    def between(one: NDArray[np.floating], other: NDArray[np.floating]) -> NDArray[np.float32]:
        return np.asarray((1 - fill.share) * one + fill.share * other, np.float32)

    poses = Poses(
        between(a.xy, b.xy),
        np.minimum(a.score, b.score),
        between(a.boxes, b.boxes),
        np.minimum(a.box_score, b.box_score),
        skeleton,
    )
    one = slice(fill.before, fill.before + 1)
    sure = verdict.confidence[[fill.before, fill.after]].min(keepdims=True)
    return Tracks(
        poses=poses,
        boxes=between(rows.boxes[one], rows.boxes[fill.after][None]),
        track_id=verdict.track_id[one],
        confirmed=np.ones(1, bool),
        age=(fill.time - verdict.begin[one]).astype(np.int32),
        refinement=Refinement(np.zeros(1, np.int64), np.zeros(1, bool), sure.astype(np.float32), np.zeros(1, bool)),
    )


def _joined(parts: list[Tracks]) -> Tracks:
    """The people of all parts as one frame's."""
    if len(parts) == 1:
        return parts[0]

    def whole(owners: Iterable[object], *names: str) -> dict[str, Any]:
        return {name: np.concatenate([getattr(owner, name) for owner in owners]) for name in names}

    poses = [part.poses for part in parts]
    known = [part.refinement for part in parts if part.refinement is not None]
    return Tracks(
        poses=Poses(**whole(poses, "xy", "score", "boxes", "box_score"), skeleton=poses[0].skeleton),
        **whole(parts, "boxes", "track_id", "confirmed", "age"),
        refinement=Refinement(**whole(known, "raw_id", "raw_confirmed", "id_confidence", "seen")),
    )
