"""Pose streams in files: ``streams.npz`` and ``streams.csv``, raw and as wanted, and back.

Only confirmed people are exported. Rows wait in a temporary file and people are worked on one by one, so that memory
grows with the longest stream, not with the video.
"""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from posepipe.errors import InputError
from posepipe.io.atomic import atomic_path
from posepipe.io.npz import DAMAGED_NPZ
from posepipe.io.schema import dump, parse, skeleton_from_json, skeleton_to_json
from posepipe.skeleton import COCO17, Skeleton
from posepipe.streams.kinematics import COLUMNS, STATES, transitions
from posepipe.streams.shaping import ShapedStream, Wanted, shape
from posepipe.types import FrameResult, PoseStream

__all__ = [
    "pose_streams",
    "read_streams",
    "read_streams_and_skeleton",
    "save_streams",
    "spooled_streams",
    "write_streams",
    "write_streams_csv",
]

_STREAMS, _VERSION = "posepipe.streams", 1
_CHUNK = 1 << 14
_COLUMNS = ("frame_index", "pts", "xy", "score", "boxes", "seen")
_HINT = "It was not written by posepipe, or was changed since"
_AS_THEY_ARE = Wanted()


def pose_streams(frames: Iterable[FrameResult], skeleton: Skeleton = COCO17) -> list[PoseStream]:
    """The pose streams of all confirmed people, by id; frames in which a person was not seen are absent from theirs."""
    rows = [_rows(result, len(skeleton)) for result in frames]
    table = np.concatenate(rows) if rows else np.zeros(0, _row_type(len(skeleton)))
    return list(_streams(table, skeleton))


@contextmanager
def spooled_streams(frames: Iterable[FrameResult], skeleton: Skeleton = COCO17) -> Iterator[Iterator[PoseStream]]:
    """As :func:`pose_streams`, one after another; the rows of all of them wait in a temporary file, not in memory."""
    with TemporaryFile() as spool:
        yield _spooled(frames, skeleton, spool)


def write_streams(
    path: str | Path, frames: Iterable[FrameResult], skeleton: Skeleton = COCO17, wanted: Wanted = _AS_THEY_ARE
) -> None:
    """Write ``streams.npz``: the pose stream of every confirmed person, sorted by id and time.

    Parameters
    ----------
    path
        The file.
    frames
        Results in order of time.
    skeleton
        That of the frames.
    wanted
        What the streams are to be.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    with atomic_path(path) as unfinished, TemporaryFile(dir=unfinished.parent) as spool:
        _write_npz(unfinished, _spooled(frames, skeleton, spool), skeleton, wanted)


def write_streams_csv(
    path: str | Path, frames: Iterable[FrameResult], skeleton: Skeleton = COCO17, wanted: Wanted = _AS_THEY_ARE
) -> None:
    """Write ``streams.csv``: one row for each person and frame, person by person; as :func:`write_streams`."""
    with atomic_path(path) as unfinished, TemporaryFile(dir=unfinished.parent) as spool:
        _write_csv(unfinished, _spooled(frames, skeleton, spool), skeleton, wanted)


def save_streams(path: str | Path, streams: Iterable[PoseStream], skeleton: Skeleton, wanted: Wanted) -> None:
    """Write streams that are at hand, as CSV where the name ends so and as npz elsewhere. Raises `OutputError`."""
    write = _write_csv if Path(path).suffix.lower() == ".csv" else _write_npz
    with atomic_path(path) as unfinished:
        write(unfinished, iter(streams), skeleton, wanted)


def read_streams(path: str | Path) -> list[PoseStream]:
    """Read the raw streams of ``streams.npz`` back; nothing in it is ever run.

    Raises
    ------
    InputError
        The file cannot be read or is not what :func:`write_streams` writes.
    """
    return read_streams_and_skeleton(path)[0]


def read_streams_and_skeleton(path: str | Path) -> tuple[list[PoseStream], Skeleton]:
    """As :func:`read_streams`, with the skeleton of the file, which tells it where it holds nobody too."""
    try:
        with np.load(path, allow_pickle=False) as data:
            about = parse(str(data["about"][()]))
            if about.get("schema") != _STREAMS or about.get("version") != _VERSION:
                raise ValueError("it holds no streams of a version that is known here")
            skeleton = skeleton_from_json(about["skeleton"])
            ids, offsets = data["track_id"], data["offsets"].tolist()
            columns = {name: data[name] for name in _COLUMNS}
        if len(offsets) != len(ids) + 1 or offsets != sorted(offsets) or offsets[0] != 0:
            raise ValueError("its offsets do not fit its tracks")
        if any(len(column) != offsets[-1] for column in columns.values()):
            raise ValueError("its columns differ in length")
        streams = [
            PoseStream(int(i), skeleton=skeleton, **{name: column[a:b] for name, column in columns.items()})
            for i, a, b in zip(ids, offsets[:-1], offsets[1:], strict=True)
        ]
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}", hint="Check the path") from error
    except DAMAGED_NPZ as error:
        raise InputError(f"{path} holds no pose streams: {error}", hint=_HINT) from error
    return streams, skeleton


def _row_type(joints: int, wanted: Wanted = _AS_THEY_ARE) -> np.dtype[Any]:
    kind: list[Any] = [
        ("track_id", np.int64),
        ("frame_index", np.int64),
        ("pts", np.float64),
        ("xy", np.float32, (joints, 2)),
        ("score", np.float32, (joints,)),
        ("boxes", np.float32, (4,)),
        ("seen", np.bool_),
    ]
    if wanted.smooth != "none":
        kind.append(("xy_smooth", np.float32, (joints, 2)))
    if wanted.kinematics:
        columns = (len(COLUMNS),)
        kind += [("kinematics", np.float32, columns), ("kinematics_known", np.bool_, columns), ("state", np.int8)]
    return np.dtype(kind)


def _rows(result: FrameResult, joints: int) -> NDArray[Any]:
    """Confirmed people of a frame as rows of ``_row_type``."""
    tracks, keep = result.tracks, result.tracks.confirmed
    rows = np.zeros(int(keep.sum()), _row_type(joints))
    rows["track_id"] = tracks.track_id[keep]
    rows["frame_index"], rows["pts"], rows["seen"] = result.frame_index, result.pts, tracks.seen[keep]
    rows["xy"], rows["score"] = tracks.poses.xy[keep], tracks.poses.score[keep]
    rows["boxes"] = tracks.poses.boxes[keep]
    return rows


def _spooled(frames: Iterable[FrameResult], skeleton: Skeleton, spool: IO[bytes]) -> Iterator[PoseStream]:
    """The streams of all frames, which wait in a file until the last one has come."""
    kind = _row_type(len(skeleton))
    for result in frames:
        spool.write(_rows(result, len(skeleton)).tobytes())
    yield from _streams(_table(spool, kind), skeleton)


def _table(spool: IO[bytes], kind: np.dtype[Any]) -> NDArray[Any]:
    """The rows that a file holds, without reading them into memory."""
    count = spool.tell() // kind.itemsize
    spool.flush()
    return np.memmap(spool, kind, "r", shape=(count,)) if count else np.zeros(0, kind)


def _streams(table: NDArray[Any], skeleton: Skeleton) -> Iterator[PoseStream]:
    """One stream for each id of a table that is in order of time."""
    order = np.argsort(table["track_id"], kind="stable")
    ids, starts = np.unique(table["track_id"][order], return_index=True)
    for i, rows in zip(ids, np.split(order, starts[1:]), strict=False):
        own = np.array(table[rows])
        yield PoseStream(int(i), skeleton=skeleton, **{name: own[name] for name in _COLUMNS})


def _shaped(streams: Iterator[PoseStream], wanted: Wanted) -> Iterator[ShapedStream]:
    for stream in streams:
        shaped = shape(stream, wanted)
        if shaped is not None:
            yield shaped


def _write_npz(path: Path, streams: Iterator[PoseStream], skeleton: Skeleton, wanted: Wanted) -> None:
    kind = _row_type(len(skeleton), wanted)
    ids, offsets = [], [0]
    with TemporaryFile(dir=path.parent) as spool:
        for shaped in _shaped(streams, wanted):
            spool.write(_shaped_rows(shaped, kind).tobytes())
            ids.append(shaped.stream.track_id)
            offsets.append(offsets[-1] + len(shaped.stream))
        table = _table(spool, kind)
        about: dict[str, Any] = {"schema": _STREAMS, "version": _VERSION, "skeleton": skeleton_to_json(skeleton)}
        if not wanted.plain:
            about["smooth"], about["rate"] = wanted.smooth, wanted.rate
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            if wanted.kinematics:
                about["columns"], about["states"] = list(COLUMNS), list(STATES)
            _store(archive, "about", np.array(dump(about)))
            _store(archive, "keypoints", np.array(skeleton.keypoints))
            _store(archive, "track_id", np.array(ids, np.int64))
            _store(archive, "offsets", np.array(offsets, np.int64))
            for name in (kind.names or ())[1:]:
                _store(archive, name, table, name)


def _shaped_rows(shaped: ShapedStream, kind: np.dtype[Any]) -> NDArray[Any]:
    """A stream and what is beside it as rows of ``kind``."""
    stream, body = shaped.stream, shaped.kinematics
    rows = np.zeros(len(stream), kind)
    rows["track_id"] = stream.track_id
    for name in _COLUMNS:
        rows[name] = getattr(stream, name)
    if shaped.smooth is not None:
        rows["xy_smooth"] = shaped.smooth
    if body is not None:
        rows["kinematics"], rows["kinematics_known"], rows["state"] = body.values, body.known, body.state
    return rows


def _store(archive: zipfile.ZipFile, name: str, table: NDArray[Any], field: str = "") -> None:
    """Add an array, or a column of a table piece by piece; the bytes do not depend on the clock."""
    # ZipInfo stands for the year 1980, not for now.
    info = zipfile.ZipInfo(f"{name}.npy")
    info.compress_type = zipfile.ZIP_DEFLATED
    with archive.open(info, "w", force_zip64=True) as file:
        if not field:
            np.lib.format.write_array(file, table, allow_pickle=False)
            return
        kind, inner = table.dtype[field].base, table.dtype[field].shape
        head = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": (len(table), *inner)}
        np.lib.format.write_array_header_1_0(file, head)
        for start in range(0, len(table), _CHUNK):
            file.write(np.ascontiguousarray(table[start : start + _CHUNK][field]).tobytes())


def _write_csv(path: Path, streams: Iterator[PoseStream], skeleton: Skeleton, wanted: Wanted) -> None:
    joints = [f"{name}_{part}" for name in skeleton.keypoints for part in ("x", "y", "score")]
    if wanted.smooth != "none":
        joints += [f"{name}_{part}_smooth" for name in skeleton.keypoints for part in ("x", "y")]
    body = [*COLUMNS, "state", "transition"] if wanted.kinematics else []
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["track_id", "frame", "time_s", "seen", "x1", "y1", "x2", "y2", *joints, *body])
        for shaped in _shaped(streams, wanted):
            rows.writerows(_csv_rows(shaped))


def _csv_rows(shaped: ShapedStream) -> Iterator[list[str]]:
    stream, body = shaped.stream, shaped.kinematics
    changes = transitions(stream, body.state) if body is not None else []
    at = {row: f"{before} to {after}" for row, before, after in changes}
    for t in range(len(stream)):
        cells = [str(stream.track_id), str(stream.frame_index[t]), f"{stream.pts[t]:.6f}", str(int(stream.seen[t]))]
        cells += [f"{v:.2f}" for v in stream.boxes[t].tolist()]
        there = (stream.score[t] > 0).tolist()
        for (x, y), score, found in zip(stream.xy[t].tolist(), stream.score[t].tolist(), there, strict=True):
            # A missing joint has coordinates in memory, but no one should plot them.
            cells += [f"{x:.2f}", f"{y:.2f}", f"{score:.3f}"] if found else ["", "", "0.000"]
        if shaped.smooth is not None:
            for (x, y), found in zip(shaped.smooth[t].tolist(), there, strict=True):
                cells += [f"{x:.2f}", f"{y:.2f}"] if found else ["", ""]
        if body is not None:
            values = zip(body.values[t].tolist(), body.known[t].tolist(), strict=True)
            cells += [f"{value:.3f}" if known else "" for value, known in values]
            cells += [STATES[body.state[t]], at.get(t, "")]
        yield cells
