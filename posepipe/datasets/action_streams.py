"""From the pose streams of a run to the keypoints of a clip: of everybody in it, or of the one who acts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from posepipe.errors import InputError
from posepipe.io.records import read_records
from posepipe.io.streams import pose_streams, read_streams
from posepipe.skeleton import Skeleton
from posepipe.types import PoseStream

__all__ = ["People", "everybody", "main_actor", "streams_of"]

#: keypoints (P,T,K,2) px, scores (P,T,K) and frame numbers (T,)
People = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]


def streams_of(place: Path) -> list[PoseStream]:
    """The pose streams of a run: of its folder, its ``streams.npz`` or its ``records.jsonl``.

    Raises `InputError` where there are none, or the file is something else.
    """
    if not place.exists():
        raise InputError(f"there are no results of a run in {place}")
    if place.is_dir():
        found = [place / name for name in ("streams.npz", "records.jsonl") if (place / name).is_file()]
        if not found:
            raise InputError(f"{place} holds no results of a run", expected="streams.npz or records.jsonl")
        place = found[0]
    if place.suffix == ".jsonl":
        records = read_records(place)
        return pose_streams(records, records.skeleton)
    return read_streams(place)


def everybody(streams: Sequence[PoseStream], frames: NDArray[np.int64], skeleton: Skeleton) -> People:
    """The people who are in some of these frames (T,), which grow; in the others they are missing."""
    there = [s for s in streams if np.isin(s.frame_index, frames).any()]
    xy = np.zeros((len(there), len(frames), len(skeleton), 2), np.float32)
    score = np.zeros(xy.shape[:3], np.float32)
    for person, stream in enumerate(there):
        _, at, rows = np.intersect1d(frames, stream.frame_index, assume_unique=True, return_indices=True)
        xy[person, at], score[person, at] = stream.xy[rows], np.clip(stream.score[rows], 0, 1)
    return xy, score, frames


def main_actor(streams: Sequence[PoseStream]) -> People:
    """The one who takes up most of the picture over time, as one person through all frames in which there is a pose.

    A track that breaks off goes on with the next one that begins within a body height of its end.
    """
    size = [float(_area(s).sum()) for s in streams]
    chain = [streams[int(np.argmax(size))]]
    reach = float(np.median(chain[0].boxes[:, 3] - chain[0].boxes[:, 1]))
    for later in (True, False):
        while (following := _next(streams, chain[-1 if later else 0], reach, later=later)) is not None:
            chain.insert(len(chain) if later else 0, following)
    xy = np.concatenate([s.xy for s in chain])[None]
    score = np.concatenate([s.score for s in chain])[None]
    return np.asarray(xy), np.clip(score, 0, 1), np.concatenate([s.frame_index for s in chain])


def _next(streams: Sequence[PoseStream], stream: PoseStream, reach: float, *, later: bool) -> PoseStream | None:
    """The largest stream that begins after the end of one (or ends before its beginning), and near it."""
    border, end = (stream.frame_index[-1], -1) if later else (stream.frame_index[0], 0)
    near = []
    for other in streams:
        apart = other.frame_index[0] > border if later else other.frame_index[-1] < border
        if apart and np.linalg.norm(_middle(other, 0 if later else -1) - _middle(stream, end)) < reach:
            near.append((float(_area(other).sum()), other))
    return max(near, key=lambda pair: pair[0])[1] if near else None


def _middle(stream: PoseStream, row: int) -> NDArray[np.float32]:
    return np.asarray(stream.boxes[row].reshape(2, 2).mean(0))


def _area(stream: PoseStream) -> NDArray[np.float32]:
    return np.asarray((stream.boxes[:, 2:] - stream.boxes[:, :2]).prod(1))
