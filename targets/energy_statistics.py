"""From trials to energies with intervals, or to the reason why there are none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from targets.energy_measurement import EnergyConfig, EnergyTrial, Interval
from targets.meters import MeterInfo

_NORMAL_95 = 1.96
_EARLY_CONFIDENCE = 0.97
"""Of the trials' scatter: looking after every trial whether the interval is narrow enough
favours moments when it is so by luck, which costs about as much as this adds to 95 %."""


@dataclass(frozen=True)
class Energies:
    """What trials say together; a field is ``None`` where that is not as sure as wanted.

    Args:
        gross_j: Energy of an inference.
        net_j: Above idle.
        gross_refused: Why there is no ``gross_j``.
        net_refused: Why there is no ``net_j``.
    """

    gross_j: Interval | None
    net_j: Interval | None
    gross_refused: str | None
    net_refused: str | None


def energies(
    trials: Sequence[EnergyTrial],
    meters: Sequence[MeterInfo],
    config: EnergyConfig,
    hidden_step_w: float = 0.0,
) -> Energies:
    """Join trials that were not throttled, at least two.

    The value is the median of the trials. Its 95 % interval joins the t-interval of
    their mean with what no repetition shows: gain and offset errors of the meters and
    their resolution, taken as uniform within their limits, and, for the net energy,
    a quarter of what the idle power changed by.

    Args:
        trials: Not throttled.
        meters: Their powers add up.
        config: How sure is wanted.
        hidden_step_w: Resolution that averaging does not even out: see `hidden_step_w`.

    References:
        JCGM 100:2008, Evaluation of measurement data: Guide to the expression of
        uncertainty in measurement, Sec. 4.3.7, 5.1.2 and G.3.
    """
    latency_s = float(np.median([t.latency_s for t in trials]))
    active_w = float(np.median([t.active_power_w for t in trials]))
    net_w = float(np.median([t.active_power_w - t.idle_power_w for t in trials]))
    gain = max(m.gain_error for m in meters)
    offset_w = sum(m.offset_error_w for m in meters)
    drift_w = float(np.mean([abs(t.idle_after_w - t.idle_before_w) for t in trials])) / 4
    gross = _Quantity(
        "gross energy",
        [t.gross_j for t in trials],
        _gross_error_j(trials),
        [hidden_step_w / 2 * latency_s],
        [gain * active_w * latency_s, offset_w * latency_s],
    )
    net = _Quantity(
        "net energy",
        [t.net_j for t in trials],
        _net_error_j(trials),
        [hidden_step_w * latency_s, drift_w * latency_s],
        [gain * abs(net_w) * latency_s],
    )
    gross_refused = gross.refused(config)
    net_refused = gross_refused or _negative(net.whole) or net.refused(config)
    return Energies(
        None if gross_refused else gross.whole,
        None if net_refused else net.whole,
        gross_refused,
        net_refused,
    )


@dataclass(frozen=True)
class _Quantity:
    """An energy as trials give it, and what its interval is made of.

    Args:
        name: For messages.
        values: One per trial.
        error: Standard error of each.
        conditions: Limits of errors that another measurement would not show the same.
        accuracy: Limits of the meters' errors, which are the same in all measurements.
    """

    name: str
    values: Sequence[float]
    error: float
    conditions: Sequence[float]
    accuracy: Sequence[float]

    @property
    def whole(self) -> Interval:
        """Its interval, with everything that is known to be wrong with it."""
        return interval(self.values, self.error, [*self.conditions, *self.accuracy])

    def refused(self, config: EnergyConfig) -> str | None:
        """Return why it is not known well enough, if so."""
        repeated = half_width(interval(self.values, self.error, self.conditions))
        if repeated > config.relative_error:
            return (
                f"{self.name} repeats to {repeated:.1%} only, {config.relative_error:.1%} was "
                "wanted: use longer windows, more trials, or a finer meter"
            )
        whole = half_width(self.whole)
        if whole > config.max_relative_error:
            return (
                f"{self.name} is known to {whole:.1%} only with this meter, "
                f"{config.max_relative_error:.1%} was wanted: compare it with a better one and "
                "state its gain_error, or use that one"
            )
        return None


def scatters(trials: Sequence[EnergyTrial]) -> tuple[Interval, Interval]:
    """Return gross and net energy with the part of their intervals that more trials narrow."""
    return (
        interval([t.gross_j for t in trials], _gross_error_j(trials)),
        interval([t.net_j for t in trials], _net_error_j(trials)),
    )


def interval(values: Sequence[float], error: float = 0.0, limits: Sequence[float] = ()) -> Interval:
    """Return the median of repeated values with a 95 % interval.

    A few values that happen to be close do not make them sure: their scatter is taken
    to be at least what is known of each.

    Args:
        values: At least two.
        error: Standard error of each, as far as it is known from itself.
        limits: Half-widths of uniform distributions of errors that all values share.
    """
    from scipy.stats import t

    n = len(values)
    quantile = float(t.ppf(0.5 + _EARLY_CONFIDENCE / 2, n - 1))
    scatter = max(quantile * float(np.std(values, ddof=1)), _NORMAL_95 * error) / np.sqrt(n)
    shared = _NORMAL_95 * float(np.sqrt(sum(limit**2 for limit in limits) / 3))
    half = float(np.hypot(scatter, shared))
    mean, median = float(np.mean(values)), float(np.median(values))
    return Interval(median, min(mean - half, median), max(mean + half, median))


def typical(trials: Sequence[EnergyTrial], value: Callable[[EnergyTrial], float]) -> Interval:
    """Return a power of trials with the interval of their scatter."""
    return interval([value(trial) for trial in trials])


def _gross_error_j(trials: Sequence[EnergyTrial]) -> float:
    return _quadratic_mean([t.active_error_w * t.latency_s for t in trials])


def _net_error_j(trials: Sequence[EnergyTrial]) -> float:
    """Return the standard error of a trial's net energy, as far as trials know it themselves.

    An idle power that wanders at random, known at both ends of a loop, is in the middle of it
    uncertain by half of the standard deviation of its change across the loop.
    """
    wander_w = _quadratic_mean([t.idle_after_w - t.idle_before_w for t in trials]) / 2
    return float(
        np.hypot(
            _quadratic_mean([t.active_error_w * t.latency_s for t in trials]),
            _quadratic_mean([np.hypot(t.idle_error_w, wander_w) * t.latency_s for t in trials]),
        )
    )


def _quadratic_mean(values: Sequence[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def half_width(found: Interval) -> float:
    """Return the half-width of an interval relative to its value; infinite at 0."""
    half = (found.high - found.low) / 2
    return half / abs(found.value) if found.value else float("inf")


def _negative(net: Interval) -> str | None:
    if net.value > 0:
        return None
    return (
        "the device drew more power idle than running inferences: something else ran on it, "
        "or the meter's clock is wrong"
    )
