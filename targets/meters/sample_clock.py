"""When samples of a fixed rate were taken, judged by when they arrived."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_FORGET = 1e-4
"""Part of the delay's spread by which the anchor may move in a second: clocks drift by 50 ppm."""


class SampleClock:
    """Numbers of samples to times: evenly spaced, and following this computer's clock.

    Samples can arrive late, never early: of all pieces, the one that came with the least
    delay tells where the samples lie. As the two clocks drift apart, that knowledge ages.

    Args:
        period_s: Between two samples.
    """

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._anchor_s: float | None = None
        self._seen_s = 0.0
        self._next = 0

    def times(self, n: int, n_dropped: int, arrived_s: float) -> NDArray[np.float64]:
        """Return the times of the next samples.

        Args:
            n: How many samples arrived.
            n_dropped: How many were lost before them; they keep their place.
            arrived_s: When.

        Returns:
            Shape ``(n,)``.
        """
        first = self._next + n_dropped
        self._next = first + n
        anchor_s = arrived_s - self._period_s * self._next
        if self._anchor_s is None:
            self._anchor_s = anchor_s
        else:
            aged_s = self._anchor_s + _FORGET * (arrived_s - self._seen_s)
            self._anchor_s = min(aged_s, anchor_s)
        self._seen_s = arrived_s
        return np.asarray(self._anchor_s + self._period_s * np.arange(first, first + n))
