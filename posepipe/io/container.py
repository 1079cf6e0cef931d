"""Frames out of a video file or a stream, by FFmpeg (PyAV).

Time: a frame's ``pts`` is its own presentation time in the container minus the container's start, so that 0 is where
players start. Containers without presentation times (AVI) and raw streams get, in presentation order, the times at
which their packets are stored.

Damage: FFmpeg repairs what it can without a word. A file is therefore first decoded strictly; at the first complaint
it is opened again, decoded leniently from the start, in one thread so that the result is the same each time, and goes
on with the frame that is next. The lenient frames are FFmpeg's best guesses, and the file is reported as damaged.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import Colorspace, VideoReformatter
from numpy.typing import NDArray

from posepipe.errors import InputError
from posepipe.io.clock import Clock
from posepipe.io.reader import VideoInfo, VideoReader, check_size, display_matrix, size_guard, upright
from posepipe.io.structure import find_fault, missing_index
from posepipe.types import Frame

__all__ = ["ContainerReader", "without_secrets"]

# These coders split their work in a way that gives the same pictures each time; others are decoded in one thread.
_THREADED = ("h264", "hevc", "vp9", "av1", "libdav1d", "mjpeg", "prores")
# As many on every machine, so that a file is decoded in the same way on every machine.
_THREADS = 4
_NO_PTS = ("avi", "h264", "hevc", "m4v", "mpegvideo")
_NETWORK = "http,https,httpproxy,tls,tcp,udp,rtp,rtsp,rtmp,rtmps,srt,crypto"
_TIMEOUT_S = 10.0
_LIVE = ("rtsp://", "rtsps://", "rtmp://", "rtmps://", "udp://", "rtp://", "srt://")
_UNSPECIFIED = 2
_BT709_FROM_HEIGHT = 577


class _Pass:
    """One way through a container: opened, looked at, demuxed and decoded."""

    def __init__(self, url: str, name: str, max_pixels: int, strict: bool, local: bool) -> None:
        limits = size_guard(max_pixels)
        options = {**limits, "protocol_whitelist": "file" if local else _NETWORK}
        if url.startswith("rtsp"):
            options["rtsp_transport"] = "tcp"
        self.container = av.open(url, options=options, timeout=None if local else _TIMEOUT_S)
        videos = [s for s in self.container.streams.video if not _is_cover(s)]
        if not videos:
            self.container.close()
            raise InputError(f"{name} holds no video", hint="It may be sound only; name a file with pictures")
        self.stream = videos[0]
        coder = self.stream.codec_context
        if coder is None:
            self.container.close()
            raise InputError(f"no decoder for the video in {name}", hint="Convert it to H.264 first")
        check_size(name, coder.width, coder.height, max_pixels)
        threads = _THREADS if coder.name in _THREADED else 1
        if strict or not local:
            coder.thread_count, coder.thread_type = threads, "FRAME" if threads > 1 else "NONE"
        else:
            coder.thread_count, coder.thread_type = 1, "NONE"
        coder.options = {**limits, "err_detect": "explode"} if strict else limits
        self.strict = strict
        self.formats = tuple(self.container.format.name.split(","))
        self.packets = self.given = self.errors = self.corrupt = 0
        self.last_end: int | None = None
        self.broke_off: str | None = None

    def frames(self) -> Iterator[tuple[av.VideoFrame, int | None]]:
        """Frames in presentation order with their time in ticks; ends at the first complaint where ``strict``."""
        stored: list[int] = []
        by_order = bool(set(self.formats) & set(_NO_PTS))
        for packet in self._packets():
            if packet is not None and packet.dts is not None:
                heapq.heappush(stored, packet.dts)
            try:
                frames = self.stream.codec_context.decode(packet)
            except av.FFmpegError:
                self.errors += 1
                if self.strict:
                    return
                if stored:
                    heapq.heappop(stored)
                continue
            for frame in frames:
                slot = heapq.heappop(stored) if stored else None
                if frame.is_corrupt:
                    self.corrupt += 1
                self.given += 1
                yield frame, slot if by_order or frame.pts is None else frame.pts

    def _packets(self) -> Iterator[Any]:
        """Packets that hold something, then None, which makes the decoder give what it holds back."""
        packets = self.container.demux(self.stream)
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError as error:
                self.broke_off = _why(error)
                packet = None
            if packet is None:
                yield None
                return
            if not packet.size:
                continue  # an empty one stands for a repeated picture, or for the end; decoders take it as the end
            self.corrupt += packet.is_corrupt
            self.packets += not getattr(packet, "is_discard", False)
            if packet.pts is not None:
                self.last_end = max(self.last_end or 0, packet.pts + (packet.duration or 0))
            yield packet


class ContainerReader(VideoReader):
    """Frames of a video file, or of an address that FFmpeg can open.

    Parameters
    ----------
    source
        A file, or an address with ``://``.
    max_pixels
        Larger pictures are refused before anything is decoded.

    Raises
    ------
    InputError
        Nothing can be decoded, or the pictures are too large.
    """

    def __init__(self, source: Path | str, max_pixels: int) -> None:
        self._path = source if isinstance(source, Path) else None
        self._url = str(source) if self._path is None else f"file:{source}"
        self._name = self._path.name if self._path is not None else without_secrets(self._url)
        self._max_pixels = max_pixels
        self.live = self._url.lower().startswith(_LIVE)
        self._reformatter = VideoReformatter()
        self._pass = self._open(strict=self._path is not None)
        self._decoded = self._decode()
        first = next(self._decoded, None)
        if first is None:
            self._pass.container.close()
            raise InputError(
                f"no picture of {self._name} can be decoded", hint="The file broke off or is damaged; get it anew"
            )
        self._clock = _clock(self._pass, first[1])
        image, turn = self._picture(first[0])
        self._first = (image, first[1])
        self.info = self._inform(image, turn)
        super().__init__()

    def close(self) -> None:
        """Let go of the file or the address."""
        super().close()
        self._decoded = iter(())
        self._pass.container.close()

    def _open(self, strict: bool) -> _Pass:
        try:
            return _Pass(self._url, self._name, self._max_pixels, strict, self._path is not None)
        except (av.FFmpegError, ValueError) as error:
            what, hint = f"cannot read {self._name} as a video: {_why(error)}", "Name a video that a player can play"
            if self._path is not None and missing_index(self._path):
                what = f"{self._name} has no index (moov): its recording was never finished"
                hint = "A tool such as untrunc may mend it with the help of a whole file from the same camera"
            elif self._path is None:
                hint = "Check the address, and that this computer can reach it"
            raise InputError(what, hint=hint) from error

    def _inform(self, image: NDArray[np.uint8], turn: int) -> VideoInfo:
        stream, container = self._pass.stream, self._pass.container
        rate = stream.average_rate or stream.guessed_rate
        seconds = _declared_seconds(stream)
        if seconds is None and container.duration is not None and not self.live:
            seconds = Fraction(container.duration, 1_000_000)
        return VideoInfo(
            name=self._name,
            width=image.shape[1],
            height=image.shape[0],
            fps=float(rate) if rate else None,
            rotation=turn,
            frames_declared=_declared_frames(stream, self._pass.formats),
            duration_s=float(seconds) if seconds is not None else None,
            codec=stream.codec_context.name,
        )

    def _read(self) -> Iterator[Frame]:
        image, ticks = self._first
        del self._first
        yield Frame(0, self._clock.seconds(ticks), image)
        for index, (picture, ticks) in enumerate(self._decoded, 1):
            yield Frame(index, self._clock.seconds(ticks), self._picture(picture)[0])
        self._judge()

    def _decode(self) -> Iterator[tuple[av.VideoFrame, int | None]]:
        yield from self._pass.frames()
        strict = self._pass
        if not strict.strict or not (strict.errors or strict.given < strict.packets):
            return
        strict.container.close()
        self._pass = self._open(strict=False)
        repaired = 0
        for count, pair in enumerate(self._pass.frames()):
            if count < strict.given:
                continue
            repaired += 1
            yield pair
        self._pass.errors += strict.errors
        if repaired and not self._pass.errors:
            self._pass.errors = 1

    def _judge(self) -> None:
        """Say at the end how whole the source was."""
        way = self._pass
        fault = find_fault(self._path, way.formats) if self._path is not None else None
        if way.broke_off is not None:
            self._fault("truncated", f"reading broke off: {way.broke_off}")
        cut = fault is not None and fault.cut
        complete = _is_complete(way, self.info, cut)
        if complete is False or (cut and (complete is None or way.errors or way.corrupt)):
            count = f"{way.given} of {self.info.frames_declared}" if self.info.frames_declared else f"{way.given}"
            what = fault.what if fault is not None and cut else "it ends before its declared end"
            self._fault("truncated", f"the file broke off after {count} frames: {what}")
        if fault is not None and not fault.cut:
            self._fault("damaged", fault.what)
        if way.errors or way.corrupt:
            self._fault("damaged", "some pictures are damaged or lost; those after them may be repaired guesses")
        if self._clock.leaps:
            self._fault("damaged", f"time leaps ahead by more than a day {self._clock.leaps} times")
        if self._clock.mended:
            self._fault("damaged", f"{self._clock.mended} frames had no time after the one before, and were given one")

    def _picture(self, frame: av.VideoFrame) -> tuple[NDArray[np.uint8], int]:
        """RGB, upright, with the turn that was applied."""
        # Untagged pictures are taken as players do: larger than standard definition means BT.709.
        guess = Colorspace.ITU709 if frame.height >= _BT709_FROM_HEIGHT or frame.width >= 1280 else Colorspace.ITU601
        space = guess if frame.colorspace == _UNSPECIFIED else None
        rgb = self._reformatter.reformat(frame, format="rgb24", src_colorspace=space)
        return upright(np.asarray(rgb.to_ndarray(), np.uint8), _matrix(frame))


def _clock(way: _Pass, first: int | None) -> Clock:
    """The clock of a stream; 0 is where the first of the file's streams starts."""
    base = way.stream.time_base or Fraction(1, 1000)
    starts = [s.start_time * s.time_base for s in _timed(way.container) if s.start_time is not None and s.time_base]
    start = min([*starts, *([] if first is None else [first * base])], default=Fraction(0))
    return Clock(base, _period(way.stream), start)


def _period(stream: Any) -> Fraction:
    """How long a frame is shown, as far as the file tells."""
    return 1 / Fraction(stream.guessed_rate or stream.average_rate or 25)


def _timed(container: Any) -> list[Any]:
    return [*(s for s in container.streams.video if not _is_cover(s)), *container.streams.audio]


def _is_cover(stream: Any) -> bool:
    """Whether a stream is the still picture that music files carry."""
    return "attached_pic" in str(getattr(stream, "disposition", ""))


def _declared_frames(stream: Any, formats: tuple[str, ...]) -> int | None:
    """Frames that are stored and will be shown.

    An edit list in MP4 may leave out some of those that are stored; AVI counts those that repeat the one before, too,
    which are not stored and not in an index that reaches to the end.
    """
    if not stream.frames:
        return None
    index: Any = getattr(stream, "index_entries", ())
    if "mp4" in formats and len(index):
        return sum(not entry.is_discard for entry in index)
    if "avi" in formats and len(index) and index[-1].timestamp + 1 >= stream.frames:
        return len(index)
    return int(stream.frames)


def _declared_seconds(stream: Any) -> Fraction | None:
    if stream.duration and stream.time_base:
        return Fraction(stream.duration * stream.time_base)
    parts = stream.metadata.get("DURATION", "").split(":")
    try:
        hours, minutes, seconds = (Fraction(part) for part in parts)
    except ValueError:
        return None
    return hours * 3600 + minutes * 60 + seconds


def _is_complete(way: _Pass, info: VideoInfo, cut: bool) -> bool | None:
    """Whether everything declared has come; None where nothing trustworthy is declared.

    A count is exact. Of a duration, one and a half frames may be missing, since not every writer counts how long the
    last frame is shown, and it may count from 0 or from the first frame; where the file is known to be cut, hardly
    anything may be missing, counted from the first. Other containers than these declare what the demuxer has guessed
    from the file's own end.
    """
    if info.frames_declared is not None:
        return way.packets >= info.frames_declared
    if not {"matroska", "flv"} & set(way.formats) or info.duration_s is None or way.last_end is None:
        return None
    stream = way.stream
    period = _period(stream)
    ticks = way.last_end - (stream.start_time or 0)
    length = (ticks if cut else max(ticks, way.last_end)) * (stream.time_base or Fraction(0))
    if length >= info.duration_s - (0.1 if cut else 1.5) * period:
        return True
    # The duration of the whole file may be that of its sound.
    return None if _declared_seconds(stream) is None and way.container.streams.audio else False


def _matrix(frame: av.VideoFrame) -> NDArray[np.int64] | None:
    try:
        return display_matrix(frame)
    except ValueError:  # beside data that this PyAV cannot show: the turn is still to be had, a mirroring is not
        a, b = {0: (1, 0), 90: (0, -1), -90: (0, 1)}.get(round(frame.rotation / 90) * 90, (-1, 0))
        return np.array([[a, b, 0], [-b, a, 0], [0, 0, 1]])


def without_secrets(url: str) -> str:
    """An address as it may be told: without user, password and query."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}"


def _why(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
