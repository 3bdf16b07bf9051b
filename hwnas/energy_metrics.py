"""What joules and watts mean to a user: rates, currents, duty cycles, thermal headroom."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", float, NDArray[np.float64])
"""A number, or an array of them: formulas hold for either, element by element."""

_SHARE_TOLERANCE = 1e-6  # shares are written with few digits


@dataclass(frozen=True)
class Mode:
    """A state of a device in its duty cycle.

    Args:
        share: Of the time, from 0 to 1.
        power_w: Mean power drawn meanwhile.
    """

    share: float
    power_w: float


def inferences_per_joule(energy_j: Number) -> Number:
    """Return how many inferences one joule pays for, ``1 / E``, in 1/J.

    A figure only means something beside the boundary of ``E``: above idle
    (``inference_net``), with idle power (``inference_gross``), or with sensor, radio
    and sleep (``system``).

    Args:
        energy_j: Of one inference, joules.

    Raises:
        ValueError: If it is not a positive number.
    """
    return 1 / positive(energy_j, "energy of an inference", "J")


def average_current_a(power_w: float, voltage_v: float) -> float:
    """Return the mean current, ``I = P / V``, in amperes.

    Args:
        power_w: Mean power, watts.
        voltage_v: Supply voltage at the point where the power was taken, volts.

    Raises:
        ValueError: If the power is negative or the voltage not positive.
    """
    return not_negative(power_w, "power", "W") / positive(voltage_v, "voltage", "V")


def accuracy_per_milliamp(accuracy: float, power_w: float, voltage_v: float) -> float:
    """Return accuracy in percent per mean current in mA, in %/mA.

    ``100 accuracy / (1000 P / V)``. It grows with the voltage it is stated at and with
    what the mean is taken over, so that both belong beside it.

    Args:
        accuracy: Fraction from 0 to 1.
        power_w: Mean power, watts.
        voltage_v: Supply voltage, volts.

    Raises:
        ValueError: If a value is out of its range, or there is no current.
    """
    current_ma = 1e3 * average_current_a(power_w, voltage_v)
    return 100 * fraction(accuracy, "accuracy") / positive(current_ma, "current", "mA")


def average_power_w(
    modes: Sequence[Mode], event_energy_j: float = 0.0, event_rate_hz: float = 0.0
) -> float:
    """Return the mean power of a duty cycle, ``sum_i f_i P_i + E_event * rate``, in watts.

    Args:
        modes: Whose shares ``f_i`` add up to 1.
        event_energy_j: Of one event that no mode includes, such as a wake-up, joules.
        event_rate_hz: How often it happens, 1/s.

    Raises:
        ValueError: If shares do not add up to 1, or a value is out of its range.
    """
    total = sum(fraction(mode.share, "share of a mode") for mode in modes)
    if abs(total - 1) > _SHARE_TOLERANCE:
        raise ValueError(f"shares of the modes: wanted a sum of 1. Got {total:g}.")
    modes_w = sum(mode.share * not_negative(mode.power_w, "power", "W") for mode in modes)
    return modes_w + not_negative(event_energy_j, "energy of an event", "J") * not_negative(
        event_rate_hz, "rate", "Hz"
    )


def periodic_power_w(
    energy_j: Number,
    latency_s: Number,
    interval_s: Number,
    *,
    sleep_power_w: float = 0.0,
    event_energy_j: float = 0.0,
) -> Number:
    """Return the mean power of a device that wakes, infers and sleeps again, in watts.

    ``(E + E_event) / T + (1 - t / T) P_sleep``: a duty cycle of two modes, inferring for the
    share ``t / T`` of the time and sleeping, with one event in every interval.

    Args:
        energy_j: Gross energy ``E`` of one inference, joules.
        latency_s: Its time ``t``, seconds; that of the device when it is warm.
        interval_s: From one inference to the next, ``T``, seconds.
        sleep_power_w: Between inferences, watts.
        event_energy_j: Spent beside each inference: waking, sensor, radio, joules.

    Raises:
        ValueError: If inferences follow faster than they end, or a value is out of range.
    """
    positive(latency_s, "latency", "s")
    share = latency_s / positive(interval_s, "interval", "s")
    if np.any(share > 1):
        row = np.argmax(share)
        raise ValueError(
            f"an inference every {np.ravel(interval_s)[row]:g} s: wanted at most that long for "
            f"one. Got {np.ravel(latency_s)[row]:g} s. Choose a longer interval."
        )
    spent_j = not_negative(energy_j, "energy of an inference", "J") + not_negative(
        event_energy_j, "energy of an event", "J"
    )
    return spent_j / interval_s + (1 - share) * not_negative(sleep_power_w, "power", "W")


def hottest_c(device_state: Mapping[str, object]) -> float | None:
    """Return the highest temperature in a recorded device state, in Celsius, if there is one.

    Args:
        device_state: As a `Measurement` holds it: before the samples, and after them.
    """
    seen = (device_state.get(key) for key in ("temperature_c", "after_temperature_c"))
    return max((float(t) for t in seen if isinstance(t, int | float)), default=None)


def thermal_headroom_k(limit_c: float, hottest_c: float) -> float:
    """Return how far the hottest temperature seen stays below a limit, in kelvin.

    Negative where the limit was exceeded.

    Args:
        limit_c: Highest temperature allowed, Celsius.
        hottest_c: Highest temperature seen while measuring, Celsius.

    Raises:
        ValueError: If either is not a number.
    """
    return finite(limit_c, "temperature limit", "C") - finite(hottest_c, "temperature", "C")


def finite(value: float, name: str, unit: str) -> float:
    """Return a number.

    Raises:
        ValueError: If it is infinite or none.
    """
    if not math.isfinite(value):
        raise ValueError(f"{name}: wanted a number of {unit}. Got {value:g}.")
    return value


def positive(value: Number, name: str, unit: str) -> Number:
    """Return a number, or numbers, above 0.

    Raises:
        ValueError: If one is not.
    """
    if not np.all(np.isfinite(value) & (np.asarray(value) > 0)):
        raise ValueError(f"{name}: wanted more than 0 {unit}. Got {_least(value):g}.")
    return value


def not_negative(value: Number, name: str, unit: str) -> Number:
    """Return a number, or numbers, of 0 or more.

    Raises:
        ValueError: If one is not.
    """
    if not np.all(np.isfinite(value) & (np.asarray(value) >= 0)):
        raise ValueError(f"{name}: wanted at least 0 {unit}. Got {_least(value):g}.")
    return value


def _least(value: float | NDArray[np.float64]) -> float:
    """Return the least number that is finite, unless one is not."""
    values = np.ravel(value)
    strange = values[~np.isfinite(values)]
    return float(strange[0] if len(strange) else values.min())


def fraction(value: float, name: str) -> float:
    """Return a number from 0 to 1.

    Raises:
        ValueError: If it is not.
    """
    if not 0 <= value <= 1:
        raise ValueError(f"{name}: wanted 0 to 1. Got {value:g}.")
    return value
