"""Damaged .npz files: whatever NumPy and zipfile make of them, each reader says that its file is none."""

from __future__ import annotations

import io
import re
import zipfile

import numpy as np
import pytest
from results import result

from posepipe.datasets.actions_npz import read_action_npz
from posepipe.datasets.boxes import read_teacher
from posepipe.datasets.frame_pack import FramePack
from posepipe.datasets.people import teacher_people
from posepipe.datasets.visibility import read_visibility
from posepipe.errors import InputError
from posepipe.io.streams import pose_streams, read_streams, write_streams
from posepipe.io.volumes import read_heatmaps, write_heatmaps
from posepipe.skeleton import COCO17
from posepipe.volumes.clips import HeatmapRecipe, heatmap_clips

FRAMES = [result(i, ids=(1, 2)) for i in range(12)]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Whole files, by the reader that takes them."""
    folder = tmp_path_factory.mktemp("whole")
    write_streams(folder / "streams.npz", FRAMES)
    recipe = HeatmapRecipe(frames=4)
    write_heatmaps(folder / "heatmaps.npz", heatmap_clips(pose_streams(FRAMES), recipe), recipe, COCO17)
    return {"streams": folder / "streams.npz", "heatmaps": folder / "heatmaps.npz"}


READERS = {"streams": read_streams, "heatmaps": read_heatmaps}


def stored(data: bytes) -> bytes:
    """The same archive without compression, where damage reaches the arrays' own headers."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(zipfile.ZipInfo(name), old.read(name))
    return out.getvalue()


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """A few bytes changed, about a member's or an array's header as often as anywhere; one in eight is cut short."""
    if rng.random() < 1 / 8:
        return data[: rng.integers(len(data))]
    some = bytearray(data)
    marks = [found.start() for found in re.finditer(b"PK|NUMPY|descr", data)]
    low, high = 0, len(data)
    if rng.random() < 0.7:
        low = marks[rng.integers(len(marks))]
        high = min(low + 80, len(data))
    for place in rng.integers(low, high, rng.integers(1, 4)):
        some[place] = rng.integers(256)
    return bytes(some)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("kind", list(READERS))
def test_a_damaged_file_is_refused_by_its_name_or_read_as_it_was(tmp_path, files, kind, packed):
    data, rng = files[kind].read_bytes(), np.random.default_rng(20)
    data = data if packed else stored(data)
    path, refused = tmp_path / "some.npz", list[str]()
    for _ in range(300):
        path.write_bytes(damaged(data, rng))
        try:
            READERS[kind](path)
        except InputError as error:
            refused.append(str(error))
    assert len(refused) > 100
    assert all("some.npz" in text for text in refused)


def with_header(header: bytes) -> bytes:
    """An .npz whose arrays all have this header."""
    out = io.BytesIO()
    array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"\0" * 64
    names = ("about", "names", "image", "image_id", "box", "data", "owner")
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(f"{name}.npy", array)
    return out.getvalue()


def patched(data: bytes, place: int, value: bytes) -> bytes:
    """With a field of every member's two headers replaced: ``place`` counts from the version that it needs."""
    some = bytearray(data)
    for mark, start in ((b"PK\x03\x04", 4), (b"PK\x01\x02", 6)):
        at = data.find(mark)
        while at >= 0:
            some[at + start + place : at + start + place + len(value)] = value
            at = data.find(mark, at + 4)
    return bytes(some)


def plain() -> bytes:
    return with_header(b"{'descr': '<i8', 'fortran_order': False, 'shape': (8,), }")


BROKEN = {
    "header without end": with_header(b"{'descr': '<i8', 'fortran_order': False, 'shape': (8L, "),
    "more than any memory": with_header(b"{'descr': '<i8', 'fortran_order': False, 'shape': (1152921504606846,), }"),
    "more than an integer": with_header(
        b"{'descr': '<i8', 'fortran_order': False, 'shape': (99999999999999999999,), }"
    ),
    "other version": patched(plain(), 0, b"\xff\x00"),
    "encrypted": patched(plain(), 2, b"\x01\x00"),
    "other compression": patched(plain(), 4, b"\x63\x00"),
    "bad deflate": patched(plain(), 4, b"\x08\x00"),
    "bad lzma": patched(plain(), 4, b"\x0e\x00"),
    "bad bzip2": patched(plain(), 4, b"\x0c\x00"),
}


@pytest.mark.parametrize("broken", list(BROKEN))
@pytest.mark.parametrize(
    "read",
    [
        read_streams, read_heatmaps, read_visibility, read_teacher, read_action_npz, FramePack,
        lambda path: teacher_people(path, path.parent),
    ],
)  # fmt: skip
def test_every_reader_refuses_what_numpy_or_zipfile_cannot_take(tmp_path, read, broken):
    path = tmp_path / "some.npz"
    path.write_bytes(BROKEN[broken])
    with pytest.raises(InputError, match=r"some\.npz"):
        read(path)
