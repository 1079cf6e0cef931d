"""H.264 video that plays everywhere, with real times, and that survives a kill."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from numpy.typing import NDArray

from posepipe.errors import OutputError
from posepipe.io.atomic import atomic_path, output_errors

__all__ = ["VideoWriter"]

_TICKS = 90_000  # the time base of MPEG: 11 microseconds
_ENCODERS = ("libx264", "h264_videotoolbox", "h264_mf", "h264_nvenc", "libopenh264")
# A picture leaves the encoder a few pictures after it came, without being stored out of order: what a kill loses.
_X264 = {"crf": "23", "preset": "veryfast", "bf": "0", "rc-lookahead": "5", "g": "120"}
_THREADS = 4
_BITS_PER_PIXEL = 0.15
_MOST = 16384  # px of a side that x264 takes
# The first fragment keeps its time, too; by default the muxer would begin at 0.
_FRAGMENTS = {
    "movflags": "empty_moov+default_base_moof+frag_every_frame+frag_discont",
    "avoid_negative_ts": "disabled",
    "flush_packets": "1",
}
_BT709, _BT601_MATRIX = 1, 6
_BT709_FROM_HEIGHT = 577


class VideoWriter:
    """Write RGB frames to an mp4 (H.264, yuv420p) with their own times.

    While frames come the file is ``<name>.part.mp4``, in fragments, and can be played up to the last fragment even if
    the process is killed. :meth:`close` copies it, without encoding again, to a plain mp4 whose index stands first.

    Parameters
    ----------
    path
        The mp4 file.
    width, height
        Size in px. An odd size is widened by a row or column of the last pixels; a frame of another size is fitted in.
        What is larger than H.264 encoders take, 16384 px a side, is made smaller.

    Raises
    ------
    OutputError
        No encoder, no space, no permission.
    """

    def __init__(self, path: str | Path, width: int, height: int) -> None:
        self.path = Path(path)
        self.part = self.path.with_name(f"{self.path.stem}.part{self.path.suffix}")
        self.frames = 0
        shrink = min(1.0, _MOST / max(width, height))
        width, height = (max(1, round(side * shrink)) for side in (width, height))
        self._size = (width, height)
        high = height >= _BT709_FROM_HEIGHT or width >= 1280
        self._colours = Colorspace.ITU709 if high else Colorspace.ITU601
        self._reformatter = VideoReformatter()
        encoder = _encoder()
        with self._errors():
            self.part.write_bytes(b"")  # FFmpeg would find out with the first frame only that it cannot
            self._container = av.open(str(self.part), "w", format="mp4", options=_FRAGMENTS)
        self._stream = _add_stream(self._container, encoder, width + width % 2, height + height % 2, high)
        self._last = -1
        self._open = True

    def write(self, image: NDArray[np.uint8], pts: float) -> None:
        """Append a frame.

        Parameters
        ----------
        image
            (H,W,3) uint8 RGB.
        pts
            Seconds, larger than that of the frame before.
        """
        ticks = max(round(pts * _TICKS), self._last + 1)
        rgb = av.VideoFrame.from_ndarray(self._fit(image), format="rgb24")
        frame = self._reformatter.reformat(
            rgb,
            format="yuv420p",
            dst_colorspace=self._colours,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
        )
        frame.pts, frame.time_base = ticks, Fraction(1, _TICKS)
        self._last = ticks
        with self._errors():
            self._container.mux(self._stream.encode(frame))
        self.frames += 1

    def close(self) -> None:
        """Finish the file; a second call does nothing. Without a frame no file is left."""
        if not self._open:
            return
        self._open = False
        try:
            with self._errors():
                if self.frames:
                    self._container.mux(self._stream.encode(None))
        finally:
            with self._errors():
                self._container.close()
        if self.frames:
            with self._errors(), atomic_path(self.path) as unfinished:
                _remux(self.part, unfinished)
        with output_errors(self.part):
            self.part.unlink(missing_ok=True)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _fit(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The frame at the size of the video: shrunk or grown to fit, centred on black, made even."""
        width, height = self._size
        if image.shape[:2] != (height, width):
            scale = min(width / image.shape[1], height / image.shape[0])
            size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
            inner = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
            left, top = (width - size[0]) // 2, (height - size[1]) // 2
            image = np.zeros((height, width, 3), np.uint8)
            image[top : top + size[1], left : left + size[0]] = inner
        if width % 2 or height % 2:
            image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        return np.ascontiguousarray(image)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            with output_errors(self.path):
                yield
        except av.FFmpegError as error:
            why = getattr(error, "strerror", None) or error
            full = getattr(error, "errno", None) == errno.ENOSPC
            hint = "Free some space" if full else "What was recorded stays"
            raise OutputError(f"cannot write {self.path}: {why}", hint=f"{hint}; --no-video does without") from error


def _encoder() -> str:
    for name in _ENCODERS:
        with suppress(av.FFmpegError, ValueError):
            av.Codec(name, "w")
            return name
    raise OutputError("this PyAV has no H.264 encoder", hint="Install PyAV from its wheel, or use --no-video")


def _add_stream(container: Any, encoder: str, width: int, height: int, high: bool) -> Any:
    stream = container.add_stream(encoder, rate=30, options=_X264 if encoder == "libx264" else {})
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.time_base = Fraction(1, _TICKS)
    coder = stream.codec_context
    coder.time_base = Fraction(1, _TICKS)
    coder.thread_count = _THREADS
    coder.color_primaries = coder.color_trc = _BT709
    coder.colorspace = _BT709 if high else _BT601_MATRIX
    coder.color_range = ColorRange.MPEG.value
    if encoder != "libx264":
        coder.bit_rate = int(_BITS_PER_PIXEL * 30 * width * height)
        coder.max_b_frames = 0
    return stream


def _remux(source: Path, target: Path) -> None:
    """Copy a video, packet by packet, into an mp4 whose index stands before the pictures."""
    with av.open(f"file:{source}") as part, av.open(str(target), "w", options={"movflags": "faststart"}) as whole:
        stream = whole.add_stream_from_template(part.streams.video[0])
        before: int | None = None
        for packet in part.demux(part.streams.video[0]):
            if not packet.size or packet.dts is None:
                continue
            # Counts for the last one only: it is shown as long as the one before it.
            packet.duration = packet.dts - before if before is not None else _TICKS // 25
            before = packet.dts
            packet.stream = stream
            whole.mux(packet)
