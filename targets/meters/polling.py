"""Sensors that are read again and again, at moments that no periodic load can follow."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np

from targets.meters._types import PowerSamples

JITTER = 0.5
"""Part of the period by which the time between two readings varies, to either side."""

_PIECE_S = 0.1


def poll(
    read_w: Callable[[], float], period_s: float, rng: np.random.Generator | None = None
) -> Iterator[PowerSamples]:
    """Read a power for ever, at random times that are a period apart on average.

    A load that repeats itself in a fraction of the period would, read in equal steps, be met
    at the same part each time.

    Args:
        read_w: Reads the power; may raise `MeterError`.
        period_s: Mean time between two readings.
        rng: Of the times.
    """
    rng = np.random.default_rng() if rng is None else rng
    times: list[float] = []
    powers: list[float] = []
    due = told = time.monotonic()
    while True:
        before = time.monotonic()
        powers.append(read_w())
        times.append((before + time.monotonic()) / 2)
        if times[-1] - told >= _PIECE_S or period_s >= _PIECE_S:
            told = times[-1]
            yield PowerSamples(np.array(times), np.array(powers), np.zeros(len(times), np.uint8))
            times, powers = [], []
        due += period_s * rng.uniform(1 - JITTER, 1 + JITTER)
        # what comes too late is not made up for: steps would become equal
        due = max(due, time.monotonic())
        time.sleep(due - time.monotonic() if due > time.monotonic() else 0.0)
