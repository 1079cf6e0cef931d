"""What people use elsewhere, made from frame results: a table, tracks, pose streams, COCO results.

Only confirmed people are exported. Every file is written row by row and appears whole or not at all; docs/formats.md
describes each one.
"""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posepipe.errors import InputError
from posepipe.io.atomic import atomic_path
from posepipe.io.schema import dump, parse, skeleton_from_json, skeleton_to_json
from posepipe.skeleton import COCO17, Skeleton
from posepipe.types import FrameResult, PoseStream

__all__ = ["pose_streams", "read_streams", "write_coco", "write_csv", "write_mot", "write_streams"]

_STREAMS, _VERSION = "posepipe.streams", 1
_CHUNK = 1 << 14
_HINT = "It was not written by posepipe, or was changed since"


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


def pose_streams(frames: Iterable[FrameResult], skeleton: Skeleton = COCO17) -> list[PoseStream]:
    """The pose streams of all confirmed people, by id; frames in which a person was not seen are absent from theirs."""
    rows = [_rows(result, len(skeleton)) for result in frames]
    table = np.concatenate(rows) if rows else np.zeros(0, _row_type(len(skeleton)))
    return list(_streams(table[np.argsort(table["track_id"], kind="stable")], skeleton))


def write_streams(path: str | Path, frames: Iterable[FrameResult], skeleton: Skeleton = COCO17) -> None:
    """Write ``streams.npz``: the pose stream of every confirmed person, sorted by id and time.

    Rows wait in a temporary file, so that memory does not grow with the length of the video. Parameters and errors as
    for :func:`write_csv`.
    """
    kind = _row_type(len(skeleton))
    with atomic_path(path) as unfinished, TemporaryFile(dir=unfinished.parent) as spool:
        for result in frames:
            spool.write(_rows(result, len(skeleton)).tobytes())
        count = spool.tell() // kind.itemsize
        spool.flush()
        table = np.memmap(spool, kind, "r", shape=(count,)) if count else np.zeros(0, kind)
        order = np.argsort(table["track_id"], kind="stable")
        with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            ids, starts = np.unique(table["track_id"][order], return_index=True)
            about = {"schema": _STREAMS, "version": _VERSION, "skeleton": skeleton_to_json(skeleton)}
            _store(archive, "about", np.array(dump(about)))
            _store(archive, "keypoints", np.array(skeleton.keypoints))
            _store(archive, "track_id", ids)
            _store(archive, "offsets", np.append(starts, count).astype(np.int64))
            for name in ("frame_index", "pts", "xy", "score", "boxes", "seen"):
                _store(archive, name, table, order, name)


def read_streams(path: str | Path) -> list[PoseStream]:
    """Read ``streams.npz`` back; nothing in it is ever run.

    Raises
    ------
    InputError
        The file cannot be read or is not what :func:`write_streams` writes.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            about = parse(str(data["about"][()]))
            if about.get("schema") != _STREAMS or about.get("version") != _VERSION:
                raise ValueError("it holds no streams of a version that is known here")
            skeleton = skeleton_from_json(about["skeleton"])
            ids, offsets = data["track_id"], data["offsets"].tolist()
            names = ("frame_index", "pts", "xy", "score", "boxes", "seen")
            columns = {name: data[name] for name in names}
        if len(offsets) != len(ids) + 1 or offsets != sorted(offsets) or offsets[0] != 0:
            raise ValueError("its offsets do not fit its tracks")
        if any(len(column) != offsets[-1] for column in columns.values()):
            raise ValueError("its columns differ in length")
        return [
            PoseStream(int(i), skeleton=skeleton, **{name: column[a:b] for name, column in columns.items()})
            for i, a, b in zip(ids, offsets[:-1], offsets[1:], strict=True)
        ]
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}", hint="Check the path") from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, zipfile.BadZipFile, EOFError) as error:
        raise InputError(f"{path} holds no pose streams: {error}", hint=_HINT) from error


def _confirmed(result: FrameResult) -> list[int]:
    return [int(i) for i in np.flatnonzero(result.tracks.confirmed)]


def _row_type(joints: int) -> np.dtype[Any]:
    return np.dtype(
        [
            ("track_id", np.int64),
            ("frame_index", np.int64),
            ("pts", np.float64),
            ("xy", np.float32, (joints, 2)),
            ("score", np.float32, (joints,)),
            ("boxes", np.float32, (4,)),
            ("seen", np.bool_),
        ]
    )


def _rows(result: FrameResult, joints: int) -> NDArray[Any]:
    """Confirmed people of a frame as rows of ``_row_type``."""
    tracks, keep = result.tracks, result.tracks.confirmed
    rows = np.zeros(int(keep.sum()), _row_type(joints))
    rows["track_id"] = tracks.track_id[keep]
    rows["frame_index"], rows["pts"], rows["seen"] = result.frame_index, result.pts, True
    rows["xy"], rows["score"] = tracks.poses.xy[keep], tracks.poses.score[keep]
    rows["boxes"] = tracks.poses.boxes[keep]
    return rows


def _streams(table: NDArray[Any], skeleton: Skeleton) -> Iterator[PoseStream]:
    """One stream for each run of equal ids in a table that is sorted by id."""
    ids, starts = np.unique(table["track_id"], return_index=True)
    for i, rows in zip(ids, np.split(table, starts[1:]), strict=False):
        columns = {name: rows[name] for name in ("frame_index", "pts", "xy", "score", "boxes", "seen")}
        yield PoseStream(int(i), skeleton=skeleton, **columns)


def _store(
    archive: zipfile.ZipFile, name: str, table: NDArray[Any], order: NDArray[np.int64] | None = None, field: str = ""
) -> None:
    """Add an array, or a column of a table in the given order, piece by piece; the bytes do not depend on the clock."""
    # ZipInfo stands for the year 1980, not for now.
    info = zipfile.ZipInfo(f"{name}.npy")
    info.compress_type = zipfile.ZIP_DEFLATED
    with archive.open(info, "w", force_zip64=True) as file:
        if order is None:
            np.lib.format.write_array(file, table, allow_pickle=False)
            return
        kind, inner = table.dtype[field].base, table.dtype[field].shape
        head = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": (len(order), *inner)}
        np.lib.format.write_array_header_1_0(file, head)
        for start in range(0, len(order), _CHUNK):
            file.write(np.ascontiguousarray(table[order[start : start + _CHUNK]][field]).tobytes())
