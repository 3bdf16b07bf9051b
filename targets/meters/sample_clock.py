"""When samples of a fixed rate were taken, judged by when they arrived."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

_MEMORY_S = 1.0
"""Of a second's arrivals, the one with the least delay counts."""

_FORTH = 2e-4
"""Part of the period by which samples may lie further apart: quartz clocks differ by 50 ppm."""

_BACK = 0.5
"""Part of the period by which they may lie closer together: less delay than ever before is
proof that the times so far were too late."""

_LATE_S = 10e-3
"""Where all arrivals of a second are later than this, samples are missing: a computer so busy is
not one to measure with. Fewer are a part in a thousand of the shortest window."""


class SampleClock:
    """Numbers of samples to times: evenly spaced, and following this computer's clock.

    Samples arrive late, never early: of all arrivals of the last second, the one with the least
    delay tells where the samples lie, and that delay is what all times are late by. Where this
    changes, the times move there in small steps, so that they always increase.

    After each arrival, `missing` is asked first, and then `times`.

    Args:
        period_s: Between two samples.
    """

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._memory_s = max(_MEMORY_S, 10 * period_s)
        self._arrivals: deque[tuple[float, float]] = deque()
        self._origin_s = 0.0
        self._end = 0

    def arrived(self, n: int, now_s: float) -> None:
        """Take note of an arrival.

        Args:
            n: Samples taken until then, those known to be lost included.
            now_s: When.
        """
        self._arrivals.append((now_s, now_s - n * self._period_s))
        while self._arrivals[0][0] < now_s - self._memory_s:
            self._arrivals.popleft()

    def missing(self, step: int = 1) -> int:
        """Return how many samples were lost unnoticed: none came in time for a second.

        They count as taken from now on.

        Args:
            step: They are a multiple of this.
        """
        if self._end == 0 or not self._arrivals:
            return 0
        if self._arrivals[-1][0] - self._arrivals[0][0] < 0.9 * self._memory_s:
            return 0
        late_s = self._least_s() - self._origin_s
        if late_s < max(_LATE_S, self._period_s):
            return 0
        n = step * round(late_s / self._period_s / step)
        self._arrivals = deque((t, offset - n * self._period_s) for t, offset in self._arrivals)
        return n

    def times(self, numbers: NDArray[np.int64], end: int) -> NDArray[np.float64]:
        """Return the middles of the periods that samples stand for.

        Args:
            numbers: Of the samples, shape ``(n,)``, increasing, none below those before.
            end: Number of the sample that comes next.

        Returns:
            Shape ``(n,)``, increasing.
        """
        if not self._arrivals:
            return np.empty(0)
        if self._end == 0:
            self._origin_s = self._least_s()
        steps = max(1, end - self._end)
        shift_s = self._least_s() - self._origin_s
        shift_s = min(
            max(shift_s, -_BACK * steps * self._period_s), _FORTH * steps * self._period_s
        )
        middle = numbers + 0.5
        times = self._origin_s + middle * self._period_s + shift_s * (middle - self._end) / steps
        self._origin_s += shift_s
        self._end = end
        return times

    def _least_s(self) -> float:
        return min(offset for _, offset in self._arrivals)
