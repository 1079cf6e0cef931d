from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest
from fakes import picture

from posepipe.run.feed import AHEAD, Feed, Interrupted, Stop
from posepipe.types import Frame


class Reader:
    """Frames that count how many were taken."""

    live = False

    def __init__(self, count: int, error: Exception | None = None, wait: threading.Event | None = None) -> None:
        self.count, self.error, self.wait = count, error, wait
        self.taken = 0

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self.count):
            self.taken += 1
            yield Frame(index, index / 10, picture(index))
        if self.wait is not None:
            self.wait.wait()
        if self.error is not None:
            raise self.error


def test_every_frame_comes_once_in_order_and_can_be_taken_for_drawing() -> None:
    feed = Feed(Reader(20), Stop())
    for index, frame in enumerate(feed):
        assert frame.index == index
        if index >= 3:
            assert feed.take().index == index - 3
    assert feed.close()
    assert feed.decoding[1] == 20


def test_it_decodes_a_little_ahead_and_no_more() -> None:
    reader = Reader(100)
    feed = Feed(reader, Stop())
    frames = iter(feed)
    for given in range(1, 30):
        next(frames)
        time.sleep(0.005)
        # Those that wait, and the one in the thread's hand.
        assert reader.taken <= given + AHEAD + 1
    assert feed.close()


def test_a_limit_is_not_overrun() -> None:
    reader = Reader(100)
    feed = Feed(reader, Stop(), 5)
    assert [f.index for f in feed] == [0, 1, 2, 3, 4]
    assert reader.taken == 5


def test_an_error_of_the_reader_comes_after_its_frames() -> None:
    feed = Feed(Reader(3, OSError("gone")), Stop())
    seen = []
    with pytest.raises(OSError, match="gone"):
        seen.extend(frame.index for frame in feed)
    assert feed.decoding[1] == 3
    assert feed.close()


def test_a_wish_to_stop_is_heard_while_the_reader_hangs() -> None:
    stop, wait = Stop(), threading.Event()
    feed = Feed(Reader(1, wait=wait), stop)
    frames = iter(feed)
    next(frames)
    threading.Timer(0.2, lambda: setattr(stop, "signum", signal.SIGTERM)).start()
    start = time.monotonic()
    with pytest.raises(Interrupted, match="SIGTERM") as caught:
        next(frames)
    assert caught.value.exit_code == 143
    assert not feed.close()
    assert time.monotonic() - start < 4
    wait.set()


def test_closing_early_ends_the_thread() -> None:
    before = set(threading.enumerate())
    feed = Feed(Reader(10**9), Stop())
    next(iter(feed))
    assert feed.close()
    assert set(threading.enumerate()) <= before


def test_the_first_signal_is_a_wish_and_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with Stop().on_signals() as stop:
        stop.check()
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Interrupted, match="SIGINT") as caught:
            stop.check()
    assert caught.value.exit_code == 130
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_outside_the_main_thread_no_handler_is_touched() -> None:
    seen = []

    def use() -> None:
        with Stop().on_signals() as stop:
            seen.append(stop.signum)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert seen == [None]
