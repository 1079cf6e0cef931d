"""What people use elsewhere, made from frame results: a table, tracks, COCO results.

Only confirmed people are exported. Every file is written row by row and appears whole or not at all; docs/formats.md
describes each one.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from posepipe.io.atomic import atomic_path
from posepipe.skeleton import COCO17, Skeleton
from posepipe.types import Action, FrameResult

__all__ = ["write_actions", "write_coco", "write_csv", "write_mot"]


def write_csv(path: str | Path, frames: Iterable[FrameResult], skeleton: Skeleton = COCO17) -> None:
    """Write the tidy table ``poses.csv``: one row for each person in each frame.

    Parameters
    ----------
    path
        The file.
    frames
        Results in order of time.
    skeleton
        Names the columns; that of the frames.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    joints = [f"{name}_{part}" for name in skeleton.keypoints for part in ("x", "y", "score")]
    with atomic_path(path) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["frame", "time_s", "track_id", "x1", "y1", "x2", "y2", "score", *joints])
        for result in frames:
            poses = result.tracks.poses
            for i in _confirmed(result):
                box = [f"{v:.2f}" for v in poses.boxes[i].tolist()]
                cells = [
                    _joint_cells(xy, s) for xy, s in zip(poses.xy[i].tolist(), poses.score[i].tolist(), strict=True)
                ]
                head = [result.frame_index, f"{result.pts:.6f}", int(result.tracks.track_id[i])]
                table.writerow([*head, *box, f"{poses.box_score[i]:.3f}", *(cell for joint in cells for cell in joint)])


def _joint_cells(xy: Sequence[float], score: float) -> tuple[str, str, str]:
    # A missing joint has coordinates in memory, but no one should plot them.
    return (f"{xy[0]:.2f}", f"{xy[1]:.2f}", f"{score:.3f}") if score > 0 else ("", "", "0.000")


def write_mot(path: str | Path, frames: Iterable[FrameResult]) -> None:
    """Write ``tracks.txt`` in the format of MOTChallenge: frame from 1, id, the tracker's box as x, y, w, h, score.

    Pixels are counted from 0, as everywhere here and in most trackers. Raises :class:`OutputError`.
    """
    with atomic_path(path) as unfinished, unfinished.open("w", encoding="utf-8", newline="\n") as file:
        for result in frames:
            tracks = result.tracks
            for i in _confirmed(result):
                x1, y1, x2, y2 = tracks.boxes[i].tolist()
                place = f"{x1:.2f},{y1:.2f},{x2 - x1:.2f},{y2 - y1:.2f}"
                score = tracks.poses.box_score[i]
                file.write(f"{result.frame_index + 1},{tracks.track_id[i]},{place},{score:.3f},-1,-1,-1\n")


def write_coco(path: str | Path, frames: Iterable[FrameResult]) -> None:
    """Write ``coco_results.json``, COCO keypoint results that pycocotools loads: ``image_id`` is the frame's index.

    ``score`` is the box score times the mean score of the joints that were found, the usual ranking of COCO
    (Xiao, Wu, Wei 2018). Raises :class:`OutputError`.
    """
    with atomic_path(path) as unfinished, unfinished.open("w", encoding="utf-8", newline="\n") as file:
        separator = "[\n"
        for result in frames:
            for i in _confirmed(result):
                file.write(separator + json.dumps(_coco_row(result, i), separators=(",", ":"), allow_nan=False))
                separator = ",\n"
        file.write("[]\n" if separator == "[\n" else "\n]\n")


def write_actions(path: str | Path, video: str, spans: Iterable[Action]) -> None:
    """Write ``actions.csv``: one row for each action of each person, in order of time.

    ``score`` is the mean probability of the label over the span; empty where the label says that nothing is known.
    Raises :class:`OutputError`.
    """
    with atomic_path(path) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["video", "person", "label", "start_s", "end_s", "score"])
        for span in spans:
            score = f"{span.probs[span.label_id]:.3f}" if span.label_id >= 0 else ""
            table.writerow([video, span.track_id, span.label, f"{span.start_s:.3f}", f"{span.end_s:.3f}", score])


def _coco_row(result: FrameResult, i: int) -> dict[str, Any]:
    poses = result.tracks.poses
    x1, y1, x2, y2 = poses.boxes[i].astype(float)
    joints = np.concatenate([poses.xy[i], poses.score[i][:, None]], 1).astype(float)
    found = poses.score[i][poses.score[i] > 0]
    score = float(poses.box_score[i]) * (float(found.mean()) if len(found) else 0.0)
    return {
        "image_id": result.frame_index,
        "category_id": 1,
        "track_id": int(result.tracks.track_id[i]),
        "bbox": [round(float(v), 2) for v in (x1, y1, x2 - x1, y2 - y1)],
        "keypoints": np.round(joints, 3).ravel().tolist(),
        "score": round(score, 4),
    }


def _confirmed(result: FrameResult) -> list[int]:
    return [int(i) for i in np.flatnonzero(result.tracks.confirmed)]
