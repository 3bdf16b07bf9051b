"""Was the device itself while something was measured, and did it stay so?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from targets._types import Flag
from targets.cpu_clock import Pin
from targets.device_state import State

LEAST_CLOCK = 0.98
"""A clock below this part of what was pinned has been throttled."""

DRIFT = 0.03
"""Slowing down, from the first third of the samples to the last, that is drift."""

_THROTTLED_NOW = 0xF


def flags(
    latency_s: Sequence[float], pin: Pin, before: State, after: State, threads: int
) -> tuple[Flag, ...]:
    """Return the doubts about a measurement.

    Args:
        latency_s: Its samples, in the order they were taken.
        pin: What came of pinning the clock.
        before: State of the device before the samples.
        after: After them.
        threads: That an inference may use.
    """
    found: dict[Flag, bool] = {
        "clock_unknown": after.get("clock_khz") is None,
        "clock_unpinned": after.get("clock_khz") is not None and not after.get("clock_pinned"),
        "loaded": _is_loaded(before, threads),
        "throttled": _is_throttled(pin, after),
        "drifting": is_drifting(latency_s),
    }
    return tuple(flag for flag, raised in found.items() if raised)


def is_drifting(latency_s: Sequence[float]) -> bool:
    """Return whether the last third of the samples is slower than the first.

    Three quarters of the last third have to be `DRIFT` slower than the first third's
    median: a few slow samples, which a busy neighbour causes, are no drift.
    """
    n = len(latency_s) // 3
    if n == 0:
        return False
    first = float(np.median(latency_s[:n]))
    return float(np.quantile(latency_s[-n:], 0.25)) > (1 + DRIFT) * first


def _is_throttled(pin: Pin, after: State) -> bool:
    bits, clock = after.get("throttle_bits"), after.get("clock_khz")
    if isinstance(bits, str) and _number(bits) & _THROTTLED_NOW:
        return True
    wanted = max(pin.clock_khz.values(), default=0)
    return isinstance(clock, int) and clock < LEAST_CLOCK * wanted


def _number(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        return 0


def _is_loaded(before: Mapping[str, object], threads: int) -> bool:
    """Return whether more wanted to run, before, than leaves a core for each thread."""
    load, cores = before.get("load_average"), before.get("cores")
    if not isinstance(load, float) or not isinstance(cores, int):
        return False
    return load > max(cores - threads, 0) + 1
