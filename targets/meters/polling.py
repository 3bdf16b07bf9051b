"""Sensors that are read again and again, at moments that no periodic load can follow."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np

from targets.meters._types import MeterError, PowerSamples

JITTER = 0.5
"""Part of the period by which the time between two readings varies, to either side."""

_PIECE_S = 0.1


def jittered_steps(period_s: float, rng: np.random.Generator) -> Iterator[float]:
    """Yield times between readings, uniform between half the period and one and a half.

    A load that repeats itself in a fraction of the period would, read in equal steps, be met
    at the same part each time. The error of a mean of ``n`` such readings shrinks with
    ``1 / sqrt(n)``; that of equal steps does not shrink.

    References:
        Shapiro and Silverman (1960), Alias-free sampling of random noise, J. SIAM 8(2).
        doi:10.1137/0108013
    """
    while True:
        yield period_s * rng.uniform(1 - JITTER, 1 + JITTER)


def poll(
    read_w: Callable[[], float],
    period_s: float,
    closed: threading.Event,
    rng: np.random.Generator | None = None,
) -> Iterator[PowerSamples]:
    """Read a power until closed, at random times that are a period apart on average.

    Args:
        read_w: Reads the power; may raise `MeterError`.
        period_s: Mean time between two readings.
        closed: Set, from any thread, to end it.
        rng: Of the times.

    Yields:
        What was read since the piece before, a piece at least every 0.2 s: an empty one
        where the next reading is further away.
    """
    steps = jittered_steps(period_s, np.random.default_rng() if rng is None else rng)
    times: list[float] = []
    powers: list[float] = []
    due = told = time.monotonic()
    while not closed.is_set():
        now = time.monotonic()
        if now - told >= _PIECE_S:
            told = now
            yield PowerSamples(np.array(times), np.array(powers), np.zeros(len(times), np.uint8))
            times, powers = [], []
        elif now < due:
            closed.wait(min(due, told + _PIECE_S) - now)
        else:
            times.append(now)
            powers.append(read_w())
            # the middle of the reading, during which the sensor was asked
            times[-1] = (now + time.monotonic()) / 2
            # what comes too late is not made up for: steps would become equal
            due = max(due + next(steps), time.monotonic())


def checked_period_s(period_s: float, least_s: float = 0.0) -> float:
    """Return a mean time between readings that a sensor can keep.

    Raises:
        MeterError: If it is not positive, or shorter than the time between two new values.
    """
    if not 0 < period_s < float("inf"):
        raise MeterError(f"period_s: wanted seconds above 0, got {period_s:g}")
    if period_s < least_s:
        raise MeterError(
            f"period_s: wanted at least {least_s:g}, in which the sensor has a new value, "
            f"got {period_s:g}"
        )
    return period_s
