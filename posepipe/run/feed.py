"""Frames decoded ahead in a thread, and the wish to stop that signals make."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from queue import Empty, Full, Queue
from time import perf_counter
from types import FrameType

from posepipe.types import Frame

__all__ = ["AHEAD", "Feed", "Interrupted", "Stop"]

#: Decoded frames that wait at most; with the pipeline's chunk, eight frames are in memory.
AHEAD = 2
_POLL_S = 0.1
_JOIN_S = 2.0


class Interrupted(KeyboardInterrupt):
    """A signal wants the process to end. Like its base it passes by everything that handles errors."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.exit_code = 128 + signum  # what a shell expects of a process that a signal ended


class Stop:
    """Whether the user wants to stop: ``signum`` is the signal that said so, or None."""

    def __init__(self) -> None:
        self.signum: int | None = None

    def check(self) -> None:
        """Raise :class:`Interrupted` if there was a signal."""
        if self.signum is not None:
            raise Interrupted(self.signum)

    @contextmanager
    def on_signals(self) -> Iterator[Stop]:
        """Take SIGINT and SIGTERM as a wish to stop; the second one ends the process at once.

        Outside the main thread, where Python lets nobody handle signals, this does nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        wanted = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(s, self._handle) for s in wanted]
        try:
            yield self
        finally:
            for signum, handler in zip(wanted, before, strict=True):
                signal.signal(signum, handler)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is not None:
            os._exit(128 + signum)
        self.signum = signum


class Feed:
    """Iterate over a reader's frames, decoded ahead in a thread; keep those on their way for drawing.

    Raises :class:`Interrupted` between two frames once ``stop`` is wished for, even while the reader waits for a frame
    that does not come.

    Parameters
    ----------
    reader
        Frames; read in the thread until :meth:`close`.
    stop
        The wish to stop.
    limit
        Most frames to read.

    Attributes
    ----------
    live
        The reader is a camera or a stream: frames are worked on one by one.
    decoding
        Seconds spent in the reader, and frames read.
    """

    def __init__(self, reader: Iterable[Frame], stop: Stop, limit: int | None = None) -> None:
        self.live = bool(getattr(reader, "live", False))
        self.decoding = (0.0, 0)
        self._stop = stop
        self._waiting: Queue[Frame | BaseException | None] = Queue(AHEAD)
        self._on_the_way: deque[Frame] = deque()
        self._over = threading.Event()
        frames = islice(iter(reader), limit)
        self._thread = threading.Thread(target=self._decode, args=(frames,), name="decode", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Frame]:
        while True:
            item = self._next()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            self._on_the_way.append(item)
            yield item

    def take(self) -> Frame:
        """The oldest frame on its way, which is the one whose result has just come."""
        return self._on_the_way.popleft()

    def close(self) -> bool:
        """Stop decoding; False where the reader hangs and its thread had to be left alone."""
        self._over.set()
        self._thread.join(_JOIN_S)
        return not self._thread.is_alive()

    def _next(self) -> Frame | BaseException | None:
        while True:
            self._stop.check()
            try:
                return self._waiting.get(timeout=_POLL_S)
            except Empty:
                continue

    def _decode(self, frames: Iterator[Frame]) -> None:
        item: Frame | BaseException | None = None
        while not self._over.is_set():
            start = perf_counter()
            try:
                item = next(frames, None)
            except Exception as error:  # handed over: it is raised where the frames are wanted
                item = error
            if isinstance(item, Frame):
                seconds, count = self.decoding
                self.decoding = (seconds + perf_counter() - start, count + 1)
            self._put(item)
            if not isinstance(item, Frame):
                return

    def _put(self, item: Frame | BaseException | None) -> None:
        while not self._over.is_set():
            try:
                self._waiting.put(item, timeout=_POLL_S)
            except Full:
                continue
            return
