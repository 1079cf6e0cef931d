"""Clips made on the spot: every picture tells its number, however hard it is compressed, and every corner its place."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 160, 96
_BITS = 8
#: What stands in the corners: upper left red, upper right green, lower left blue; the lower right is grey.
CORNERS = ((220, 40, 40), (40, 200, 40), (40, 40, 220), (128, 128, 128))


def numbered(number: int, width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    """A picture with coloured corners and, in its middle, the number in eight black or white bars."""
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([90 + rows % 64, 90 + columns % 64, np.full_like(rows, 110)], -1).astype(np.uint8)
    high, wide = height // 4, width // 8
    for colour, top, left in zip(CORNERS, (True, True, False, False), (True, False, True, False), strict=True):
        image[slice(0, high) if top else slice(-high, None), slice(0, wide) if left else slice(-wide, None)] = colour
    for bit in range(_BITS):
        left = width // 5 + bit * (width * 3 // 5) // _BITS
        image[height * 3 // 8 : height * 5 // 8, left : left + (width * 3 // 5) // _BITS] = 235 * (number >> bit & 1)
    return image


def number_of(image: NDArray[np.uint8]) -> int:
    """The number that a picture shows."""
    height, width = image.shape[:2]
    step = (width * 3 // 5) // _BITS
    centres = [width // 5 + bit * (width * 3 // 5) // _BITS + step // 2 for bit in range(_BITS)]
    return sum((int(image[height // 2, x].mean()) > 117) << bit for bit, x in enumerate(centres))


def numbers(frames: Iterable[Any]) -> list[int]:
    """The numbers that frames show."""
    return [number_of(frame.image) for frame in frames]


def write_clip(
    path: Path,
    count: int = 24,
    *,
    codec: str = "libx264",
    rate: Fraction | int = 25,
    ticks: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    pix_fmt: str = "yuv420p",
    size: tuple[int, int] = (WIDTH, HEIGHT),
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    form: str | None = None,
) -> Path:
    """Write ``count`` numbered pictures at ``ticks`` of ``time_base``; without them, one after another at ``rate``."""
    base = time_base or 1 / Fraction(rate)
    with av.open(str(path), "w", format=form, options=container or {}) as output:
        stream: Any = output.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
        stream.codec_context.time_base = base
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(numbered(number, *size), format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = (number if ticks is None else ticks[number]), base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def write_sound(path: Path) -> Path:
    """A file with sound and without pictures."""
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 44100
        output.mux(stream.encode(sound))
        output.mux(stream.encode(None))
    return path


def lay(path: Path, matrix: Sequence[float]) -> None:
    """Overwrite the display matrix (a, b, c, d) of the first track of an mp4."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4
    start += 52 if data[start] == 1 else 40
    a, b, c, d = (round(v * 65536) for v in matrix)
    data[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(bytes(data))


def damage(data: bytes, kind: str, share: float) -> bytes:
    """``cut`` off at a share of the length, ``flip`` one bit there, or set 64 bytes to ``zero``."""
    at = int(len(data) * share)
    if kind == "cut":
        return data[:at]
    changed = bytearray(data)
    if kind == "flip":
        changed[at] ^= 0x10
    else:
        changed[at : at + 64] = bytes(len(changed[at : at + 64]))
    return bytes(changed)
