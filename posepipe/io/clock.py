"""Presentation times in seconds that grow whatever a file says."""

from __future__ import annotations

from fractions import Fraction

__all__ = ["Clock"]

_DAY_S = 86_400


class Clock:
    """Seconds of frames from their ticks.

    Parameters
    ----------
    base
        Seconds of a tick.
    period
        Seconds that a frame is usually shown.
    start
        Seconds on the container's clock that become 0.

    Attributes
    ----------
    mended
        Frames whose time was not after the frame before, and was changed.
    leaps
        Times that a frame came more than a day after the one before.
    """

    def __init__(self, base: Fraction, period: Fraction, start: Fraction) -> None:
        self._base, self._period, self._start = base, period, start
        self._last: Fraction | None = None
        self.mended = self.leaps = 0

    def seconds(self, ticks: int | None) -> float:
        """Time of the next frame.

        One that is not after the frame before is put a tick after it where it repeats or lies a little back; where
        time leaps back (files strung together), the clock goes on from the frame before.
        """
        last = self._last
        if ticks is None:
            now = Fraction(0) if last is None else last + self._period
        else:
            now = ticks * self._base - self._start
        if last is not None and now <= last:
            self.mended += 1
            if last - now > 1:
                self._start -= last + self._period - now
                now = last + self._period
            else:
                now = last + min(self._base, self._period)
        self.leaps += last is not None and now - last > _DAY_S
        self._last = now
        return float(now)
