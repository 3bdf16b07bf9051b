"""A meter's stream, kept small: means and peaks of milliseconds instead of every sample."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from targets.meters._types import MeterInfo, PowerSamples

BIN_S = 1e-3
"""Meters of a higher rate are averaged over this."""

_LEAST_PIECE = 20_000


class Reduction:
    """Collects what a meter says.

    Args:
        info: Of the meter.
    """

    def __init__(self, info: MeterInfo) -> None:
        self._period_s = info.update_period_s
        self._averages = info.averages
        self._bins = self._period_s < BIN_S / 2
        self._waiting: list[PowerSamples] = []
        self._n_waiting = 0
        self._pieces: list[tuple[NDArray[np.float64], ...]] = []
        self._counts: list[tuple[float, float]] = []
        self._marks: list[float] = []
        self._marker = 0
        self._n_dropped = 0

    def add(self, samples: PowerSamples) -> None:
        """Add a piece of a sampler's stream."""
        self._n_dropped += samples.n_dropped
        self._add_marks(samples)
        self._waiting.append(samples)
        self._n_waiting += len(samples.t_s)
        if self._n_waiting >= _LEAST_PIECE:
            self._reduce(final=False)

    def add_count(self, t_s: float, joules: float) -> None:
        """Add a counter's reading."""
        self._counts.append((t_s, joules))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return ``start_s``, ``end_s``, ``power_w``, ``peak_w``, ``marks`` and ``n_dropped``."""
        if self._counts:
            t, joules = np.array(self._counts).T
            power = np.diff(joules) / np.diff(t)
            columns: tuple[NDArray[np.float64], ...] = (t[:-1], t[1:], power, power)
        else:
            self._reduce(final=True)
            pieces = zip(*self._pieces, strict=True)
            columns = tuple(np.concatenate(p) for p in pieces) or (np.empty(0),) * 4
        names = ("start_s", "end_s", "power_w", "peak_w")
        return {
            **dict(zip(names, columns, strict=True)),
            "marks": np.array(self._marks),
            "n_dropped": np.array(self._n_dropped),
        }

    def _add_marks(self, samples: PowerSamples) -> None:
        if not len(samples.marker):
            return
        levels = np.concatenate([[self._marker], samples.marker != 0]).astype(np.int8)
        self._marks += samples.t_s[np.flatnonzero(np.diff(levels))].tolist()
        self._marker = int(levels[-1])

    def _reduce(self, final: bool) -> None:
        """Average whole bins; the last one waits for the rest of it."""
        if not self._waiting:
            return
        t = np.concatenate([s.t_s for s in self._waiting])
        power = np.concatenate([s.power_w for s in self._waiting])
        self._waiting, self._n_waiting = [], 0
        half = self._period_s / 2 if self._averages else 0.0
        if not self._bins:
            self._pieces.append((t - half, t + half, power, power))
            return
        number = np.floor(t / BIN_S)
        if not final:
            whole = number < number[-1]
            rest = PowerSamples(t[~whole], power[~whole], np.empty(0, np.uint8))
            self._waiting, self._n_waiting = [rest], len(rest.t_s)
            t, power, number = t[whole], power[whole], number[whole]
        if not len(t):
            return
        first = np.flatnonzero(np.diff(number, prepend=number[0] - 1))
        last = np.append(first[1:], len(t)) - 1
        mean = np.add.reduceat(power, first) / np.diff(np.append(first, len(t)))
        peak = np.maximum.reduceat(power, first)
        self._pieces.append((t[first] - half, t[last] + half, mean, peak))
