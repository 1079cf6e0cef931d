"""The rows of a finished run as tracklets: what each raw track saw, cut where it cannot have been one person."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posepipe.skeleton import COCO17, Skeleton
from posepipe.types import FrameResult, Tracks

__all__ = ["Ends", "Rows", "find_ends", "gather"]

Int = NDArray[np.int64]
Array = NDArray[np.float64]

# Where a tracklet stands, and how fast it moves, is read from this many of its outermost frames.
_WINDOW = 15
# A speed read from n rows counts as n / (n + this).
_DOUBT = 4.0
# Least score of a keypoint that a bone may end in.
_JOINT = 0.3
# A jump: centres further apart than this in heights, plus as much again for each frame between.
_JUMP, _JUMP_FRAME = 1.0, 0.35
_JUMP_SIZE = 1.2
# People seen in two frames from which the camera's shift between them is read.
_WITNESSES = 4


@dataclass(frozen=True)
class Rows:
    """Everything the trackers saw, by track and time.

    Attributes
    ----------
    time, line
        (R,) int64: place among the frames that were looked at, and row in its frame.
    raw_id, confirmed, score
        (R,) of the tracker and the detector.
    boxes
        (R,4) float64 xyxy px: the tracker's.
    bones
        (R,B) float64 px: length of each limb; NaN where one of its ends was not found.
    shot
        (R,) int64 number of the shot.
    camera
        (T,2) float64 px: how far the picture has moved since the first frame, for each time.
    tracklet
        (R,) int64 which piece of which track, from 0, in the order of the rows.
    """

    time: Int
    line: Int
    raw_id: Int
    confirmed: NDArray[np.bool_]
    score: Array
    boxes: Array
    bones: Array
    shot: Int
    camera: Array
    tracklet: Int

    def __len__(self) -> int:
        return len(self.time)

    @property
    def starts(self) -> Int:
        """(N+1,) the row with which each tracklet begins, and the number of rows."""
        count = int(self.tracklet[-1]) + 1 if len(self) else 0
        return np.searchsorted(self.tracklet, np.arange(count + 1)).astype(np.int64)


def gather(frames: Iterable[FrameResult], skeleton: Skeleton = COCO17) -> Rows:
    """The rows of a run as its tracker left them: what an earlier second pass added is left out."""
    parts: list[tuple[Array, ...]] = []
    time = shot = 0
    for result in frames:
        shot += result.cut
        if result.skipped:
            continue
        parts.append(_frame_rows(result.tracks, time, shot, skeleton))
        time += 1
    if not parts:
        parts = [_frame_rows(Tracks.empty(skeleton), 0, 0, skeleton)]
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    order = np.lexsort((columns[0], columns[2]))
    frame, line, raw_id, confirmed, score, boxes, bones, shots = (column[order] for column in columns)
    jump = np.r_[False, (raw_id[1:] != raw_id[:-1]) | (shots[1:] != shots[:-1]) | _jumps(frame, boxes)]
    tracklet = np.cumsum(jump)
    camera = _camera(frame, boxes, raw_id, time)
    return Rows(
        time=frame.astype(np.int64),
        line=line.astype(np.int64),
        raw_id=raw_id.astype(np.int64),
        confirmed=confirmed.astype(bool),
        score=score,
        boxes=boxes,
        bones=bones,
        shot=shots.astype(np.int64),
        camera=camera,
        tracklet=tracklet,
    )


def _frame_rows(tracks: Tracks, time: int, shot: int, skeleton: Skeleton) -> tuple[Array, ...]:
    """Columns of the observed people of a frame."""
    seen = np.flatnonzero(tracks.seen)
    known = tracks.refinement
    raw_id = tracks.track_id if known is None else known.raw_id
    confirmed = tracks.confirmed if known is None else known.raw_confirmed
    first, second = skeleton.edge_index.T
    xy, found = tracks.poses.xy[seen].astype(np.float64), tracks.poses.score[seen] >= _JOINT
    length = np.linalg.norm(xy[:, first] - xy[:, second], axis=-1)
    bones = np.where(found[:, first] & found[:, second] & (length > 1), length, np.nan)
    same = np.ones(len(seen))
    columns = (time * same, seen, raw_id[seen], confirmed[seen], tracks.poses.box_score[seen])
    rows = tuple(np.asarray(column, np.float64) for column in columns)
    return (*rows, tracks.boxes[seen].astype(np.float64), bones, shot * same)


def _jumps(time: Array, boxes: Array) -> NDArray[np.bool_]:
    """(R-1,) whether two rows of a track that follow one another are too far apart, or too unlike, for one person."""
    centre, height = (boxes[:, :2] + boxes[:, 2:]) / 2, np.maximum(boxes[:, 3] - boxes[:, 1], 1.0)
    far = np.linalg.norm(np.diff(centre, axis=0), axis=1) / np.maximum(height[1:], height[:-1])
    grown = np.abs(np.diff(np.log(height)))
    return np.asarray((far > _JUMP + _JUMP_FRAME * np.abs(np.diff(time))) | (grown > _JUMP_SIZE))


def _camera(time: Array, boxes: Array, raw_id: Array, frames: int) -> Array:
    """(T,2) px: the shift that most people share from frame to frame, summed up."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    follows = np.flatnonzero((raw_id[1:] == raw_id[:-1]) & (np.diff(time) == 1))
    step, when = centre[follows + 1] - centre[follows], time[follows + 1].astype(np.int64)
    shift = np.zeros((max(frames, 1), 2))
    order = np.argsort(when, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(when[order])) + 1):
        if len(rows) >= _WITNESSES:
            shift[when[rows[0]]] = np.median(step[rows], axis=0)
    return np.cumsum(shift, axis=0)


@dataclass(frozen=True)
class Ends:
    """One end of each of N tracklets, looking inwards from its first or its last row.

    ``time`` (N,); ``centre`` (N,2) px with the camera's motion taken out, ``speed`` (N,2) px a frame, ``height`` (N,)
    px, ``bones`` (N,B) px with NaN where unknown, ``shot`` (N,).
    """

    time: Int
    centre: Array
    speed: Array
    height: Array
    bones: Array
    shot: Int


def find_ends(rows: Rows, *, last: bool) -> Ends:
    """The first or the last end of every tracklet."""
    starts = rows.starts
    centre = (rows.boxes[:, :2] + rows.boxes[:, 2:]) / 2 - rows.camera[rows.time]
    height = np.maximum(rows.boxes[:, 3] - rows.boxes[:, 1], 1.0)
    count = len(starts) - 1
    edge = starts[1:] - 1 if last else starts[:-1]
    place, speed, tall = np.zeros((count, 2)), np.zeros((count, 2)), np.ones(count)
    bones = np.full((count, rows.bones.shape[1]), np.nan)
    for n in range(count):
        part = slice(max(starts[n], starts[n + 1] - _WINDOW), starts[n + 1]) if last else None
        part = part or slice(starts[n], min(starts[n + 1], starts[n] + _WINDOW))
        time = (rows.time[part] - rows.time[edge[n]]).astype(np.float64)
        near = np.abs(time) <= _WINDOW
        time, where = time[near], centre[part][near]
        spread = ((time - time.mean()) ** 2).sum()
        if spread > 0:
            slope = ((time - time.mean())[:, None] * where).sum(0) / spread
            speed[n] = slope * len(time) / (len(time) + _DOUBT)
        place[n] = where.mean(0) - speed[n] * time.mean()
        tall[n] = np.median(height[part][near])
        bones[n] = _median(rows.bones[part][near])
    return Ends(rows.time[edge], place, speed, tall, bones, rows.shot[edge])


def _median(values: Array) -> Array:
    """Median of each column over what is known of it; NaN for columns of which nothing is."""
    known = ~np.isnan(values).all(0)
    middle = np.full(values.shape[1], np.nan)
    middle[known] = np.nanmedian(values[:, known], axis=0)
    return middle
