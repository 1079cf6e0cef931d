"""Whether a container is whole, seen from its structure alone.

Demuxers read over what is missing or garbled. The outermost structure of a file says where it should end, and Matroska
often carries checksums, so that a file that was cut, and one that was changed, can be told from a whole one.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

__all__ = ["Fault", "find_fault", "missing_index"]

_BLOCK = 1 << 14
_SEGMENT, _CLUSTER, _CRC = 0x18538067, 0x1F43B675, 0xBF
_INSIDE = frozenset(
    (
        *(0x1A45DFA3, _SEGMENT, 0x114D9B74, 0x1549A966, 0x1654AE6B, _CLUSTER, 0x1C53BB6B, 0x1941A469, 0x1043A770),
        *(0x1254C367, 0xEC, _CRC),  # so far the file and its segment; what follows is inside clusters
        *(0xE7, 0x5854, 0xA7, 0xAB, 0xA3, 0xA0, 0xAF),
    )
)


@dataclass(frozen=True)
class Fault:
    """What is wrong: ``cut`` where the end is missing, else something inside is garbled; ``what`` for people."""

    cut: bool
    what: str


def find_fault(path: Path, formats: tuple[str, ...]) -> Fault | None:
    """The first fault in the structure of a file, or None where there is none or the format is not known here.

    Parameters
    ----------
    path
        The file.
    formats
        FFmpeg's names of its format: Matroska and WebM, MP4 and QuickTime, AVI, FLV, MPEG-TS are known.
    """
    with path.open("rb", buffering=4096) as file:
        size = file.seek(0, 2)
        if "matroska" in formats:
            return _matroska(file, size)
        if "mp4" in formats:
            return _boxes_fault(file, 0, size)
        if "avi" in formats:
            return _avi(file, size)
        if "flv" in formats:
            return _flv(file, size)
        if "mpegts" in formats:
            return _transport_stream(file, size)
    return None


def missing_index(path: Path) -> bool:
    """Whether this is an MP4 or QuickTime file that lacks its index, without which no picture can be found."""
    with path.open("rb") as file:
        kinds = [kind for kind, _, _, _ in _boxes(file, 0, file.seek(0, 2))]
    return b"ftyp" in kinds[:1] and b"moov" not in kinds


def _matroska(file: BinaryIO, size: int) -> Fault | None:
    position = 0
    while position < size:
        file.seek(position)
        head = file.read(12)
        kind, used = _vint(head, 0, keep_marker=True)
        length, end = _vint(head, used, keep_marker=False)
        if kind not in _INSIDE and size - position >= 12:
            return Fault(False, f"the structure of the file is garbled at byte {position}")
        if not used or end == used:
            return Fault(True, "its last element is cut")
        unknown = length == (1 << 7 * (end - used)) - 1
        after = position + end + length
        if kind in (_SEGMENT, _CLUSTER):
            if not unknown and after > size:
                return Fault(True, f"{after - size} bytes are missing at its end")
            if not unknown and kind == _CLUSTER and not _checksum_holds(file, position + end, length):
                return Fault(False, f"a checksum is wrong between bytes {position} and {after}")
            position += end
        elif unknown or after > size:
            return Fault(True, "its last element is cut")
        else:
            position = after
    return None


def _vint(data: bytes, start: int, keep_marker: bool) -> tuple[int, int]:
    """An EBML number of variable length and the place after it (``start`` itself where there is none)."""
    if start >= len(data) or not data[start]:
        return 0, start
    count = 9 - data[start].bit_length()
    if start + count > len(data):
        return 0, start
    value = int.from_bytes(data[start : start + count], "big")
    return value if keep_marker else value & ((1 << 7 * count) - 1), start + count


def _checksum_holds(file: BinaryIO, position: int, length: int) -> bool:
    """Whether the checksum that may stand first in an element fits the rest of it; True where there is none."""
    file.seek(position)
    head = file.read(6)
    if length < 6 or head[:2] != bytes((_CRC, 0x84)):
        return True
    left, checksum = length - 6, 0
    while left > 0:
        chunk = file.read(min(left, 1 << 20))
        if not chunk:
            return True
        checksum = zlib.crc32(chunk, checksum)
        left -= len(chunk)
    return checksum == int.from_bytes(head[2:], "little")


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int, int]]:
    """Kind, start, start of the content and end of the boxes of MP4 and QuickTime that lie one after another."""
    position = start
    while position + 8 <= end:
        file.seek(position)
        head = file.read(16)
        length, kind, inner = int.from_bytes(head[:4], "big"), head[4:8], 8
        if length == 1:
            length, inner = int.from_bytes(head[8:16], "big"), 16
        elif length == 0:
            length = end - position
        yield kind, position, position + inner, position + length
        if length < inner:
            return
        position += length


def _boxes_fault(file: BinaryIO, start: int, size: int) -> Fault | None:
    """Fault of the outermost boxes and, in fragmented files, of those that list a fragment's samples."""
    end = start
    for kind, begin, content, end in _boxes(file, start, size):
        if end < content or not all(32 <= byte < 127 or byte == 0xA9 for byte in kind):
            return Fault(False, f"the structure of the file is garbled at byte {begin}")
        if end > size:
            return Fault(True, f"{end - size} bytes are missing at its end")
        if kind in (b"moof", b"traf"):
            kinds = [inner for inner, _, _, _ in _boxes(file, content, end)]
            whole = (b"traf" in kinds) if kind == b"moof" else (b"tfhd" in kinds and b"trun" in kinds)
            if not whole or _boxes_fault(file, content, end) is not None:
                return Fault(False, f"the structure of the file is garbled after byte {begin}")
    return Fault(True, "its last element is cut") if end < size else None


def _avi(file: BinaryIO, size: int) -> Fault | None:
    file.seek(4)
    end = 8 + int.from_bytes(file.read(4), "little")
    return Fault(True, f"{end - size} bytes are missing at its end") if end > size else None


def _flv(file: BinaryIO, size: int) -> Fault | None:
    """Tags lie one after another, each with its length before and after it; the last length may be absent."""
    file.seek(5)
    position = int.from_bytes(file.read(4), "big") + 4
    while position < size:
        file.seek(position + 1)
        position += 11 + int.from_bytes(file.read(3), "big")
        if position > size:
            return Fault(True, f"{position - size} bytes are missing at its end")
        position += 4
    return None


def _transport_stream(file: BinaryIO, size: int) -> Fault | None:
    """Every packet begins with a mark, and every picture with a start code (ISO 13818-1)."""
    file.seek(0)
    head = file.read(4096)
    for length, offset in ((188, 0), (192, 4), (204, 0)):
        if all(byte == 0x47 for byte in head[offset::length]):
            break
    else:
        return None
    carries: dict[int, bool] = {}
    for start in range(0, size - length + 1, _BLOCK * length):
        file.seek(start)
        data = np.frombuffer(file.read(_BLOCK * length), np.uint8)
        packets = data[: len(data) // length * length].reshape(-1, length)[:, offset : offset + 188]
        lost = packets[:, 0] != 0x47
        lost |= _start_lost(packets, carries)
        if lost.any():
            return Fault(False, f"the structure of the file is garbled at byte {start + int(lost.argmax()) * length}")
    return Fault(True, "its last packet is cut") if size % length else None


def _start_lost(packets: NDArray[np.uint8], carries: dict[int, bool]) -> NDArray[np.bool_]:
    """(P,) packets that should start a picture or a sound and do not.

    ``carries`` remembers for each program id whether its first unit began with a start code; tables do not.
    """
    program = (packets[:, 1].astype(np.int64) & 0x1F) << 8 | packets[:, 2]
    begins = (packets[:, 1] & 0x40 > 0) & (packets[:, 3] & 0x10 > 0)
    extra = np.where(packets[:, 3] & 0x20 > 0, packets[:, 4].astype(np.int64) + 1, 0)
    places = np.minimum(4 + extra, 185)[:, None] + np.arange(3)
    coded = (np.take_along_axis(packets, places, axis=1) == (0, 0, 1)).all(axis=1)
    for row in np.unique(program[begins], return_index=True)[1]:
        first = int(np.flatnonzero(begins)[row])
        carries.setdefault(int(program[first]), bool(coded[first]))
    expected = np.isin(program, [key for key, value in carries.items() if value])
    return np.asarray(begins & expected & ~coded)
