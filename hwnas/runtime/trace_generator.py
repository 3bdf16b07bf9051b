"""Made-up traces of always-on sensing: events come in rare bursts, with more inferences in them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwnas.battery import DAY_S
from hwnas.errors import UserError
from hwnas.runtime.trace import MAX_GAP_S, Trace

_MEAN_TEMPERATURE_C, _TEMPERATURE_SWING_C = 20.0, 8.0
_WARMEST_S = 15 * 3600.0
_MAX_TIMES = 20_000_000


@dataclass(frozen=True)
class SensingDay:
    """What a trace is made from.

    Args:
        interval_s: From one inference to the next where there is only background.
        burst_interval_s: The same within bursts, as what wakes the device wakes it more often
            then; ``interval_s`` is a multiple of it.
        bursts_per_day: Bursts of events that begin in a day, on average.
        burst_s: How long one lasts, on average; exponentially distributed.
        night_share: Rate of bursts from 22:00 to 6:00, relative to that of the day.
        days: How long the trace is; the first begins at midnight.

    Raises:
        UserError: If a value is out of its range.
    """

    interval_s: float = 5.0
    burst_interval_s: float = 1.0
    bursts_per_day: float = 20.0
    burst_s: float = 60.0
    night_share: float = 0.1
    days: float = 1.0

    def __post_init__(self) -> None:
        for name in ("interval_s", "burst_interval_s", "burst_s", "days"):
            if not 0 < getattr(self, name) < np.inf:
                raise UserError(f"{name}: wanted more than 0. Got {getattr(self, name):g}.")
        longest_s = min(MAX_GAP_S, self.days * DAY_S / 2)
        if self.interval_s > longest_s:
            raise UserError(f"interval_s: wanted at most {longest_s:g}. Got {self.interval_s:g}.")
        if not math.isclose(self.stride * self.burst_interval_s, self.interval_s):
            raise UserError(
                f"interval_s: wanted a multiple of burst_interval_s, {self.burst_interval_s:g}. "
                f"Got {self.interval_s:g}."
            )
        if self.days * DAY_S / self.burst_interval_s > _MAX_TIMES:
            raise UserError(
                f"burst_interval_s: wanted at most {_MAX_TIMES:,} of them in {self.days:g} days. "
                f"Got {self.burst_interval_s:g}."
            )
        if not 0 <= self.bursts_per_day <= DAY_S:
            raise UserError(
                f"bursts_per_day: wanted from 0 to {DAY_S:g}. Got {self.bursts_per_day:g}."
            )
        if not 0 <= self.night_share <= 1:
            raise UserError(f"night_share: wanted from 0 to 1. Got {self.night_share:g}.")

    @property
    def stride(self) -> int:
        """How many inferences there are in a burst for one of background."""
        return round(self.interval_s / self.burst_interval_s)


def trace(out: Path, day: SensingDay, seed: int = 0) -> Trace:
    """Write a made-up trace as CSV, and return it.

    Args:
        out: File that does not exist yet.
        day: What it is made from.
        seed: Of the random bursts.

    Raises:
        UserError: If the file exists or cannot be written.
    """
    made = generate_trace(day, seed)
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(made.to_csv())
    except FileExistsError:
        raise UserError(f"{out}: exists. Choose another name, or remove it.") from None
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror})") from None
    return made


def generate_trace(day: SensingDay, seed: int) -> Trace:
    """Return a trace: the same for the same seed.

    Bursts begin by a Poisson process whose rate is that of the day or the night, drawn by
    thinning; the temperature goes up and down once a day and is warmest at 15:00.

    Args:
        day: What it is made from.
        seed: Of the random bursts.

    References:
        Lewis & Shedler (1979), Simulation of nonhomogeneous Poisson processes by thinning,
        Sec. 1. doi:10.1002/nav.3800260304
    """
    rng = np.random.default_rng(seed)
    time_s = np.arange(0.0, day.days * DAY_S, day.burst_interval_s)
    event = _in_bursts(time_s, day, rng)
    kept = event | (np.arange(len(time_s)) % day.stride == 0)
    time_s, event = time_s[kept], event[kept]
    swing = np.cos(2 * np.pi * (time_s - _WARMEST_S) / DAY_S)
    return Trace(
        time_s,
        event,
        temperature_c=_MEAN_TEMPERATURE_C + _TEMPERATURE_SWING_C * swing,
    )


def _in_bursts(
    time_s: NDArray[np.float64], day: SensingDay, rng: np.random.Generator
) -> NDArray[np.bool_]:
    # a third of a day is night: the mean rate is that of the day times this
    mean_share = (2 + day.night_share) / 3
    busiest_per_day = day.bursts_per_day / mean_share
    begin_s = rng.uniform(0, day.days * DAY_S, rng.poisson(busiest_per_day * day.days))
    hour = begin_s % DAY_S / 3600
    night = (hour < 6) | (hour >= 22)
    kept = rng.random(len(begin_s)) < np.where(night, day.night_share, 1.0)
    event = np.zeros(len(time_s), dtype=np.bool_)
    start_s = begin_s[kept]
    end_s = start_s + rng.exponential(day.burst_s, len(start_s))
    for first, last in np.searchsorted(time_s, np.stack([start_s, end_s], axis=1)):
        event[first:last] = True
    return event
