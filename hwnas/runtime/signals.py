"""What a scaling policy sees of the device and of the last answers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

ACTIVITY_TIME_CONSTANT_S = 15.0
_RECENT_ANSWERS = 8


@dataclass(frozen=True, slots=True)
class DeviceState:
    """What only the device knows; ``None`` where it has no such sensor.

    Args:
        battery_level: Share of the battery that is left, from 0 to 1.
        charging: Whether it is supplied from outside.
        temperature_c: Of the chip or its surroundings, degrees Celsius.

    Raises:
        ValueError: If a value is outside of `SIGNAL_RANGES`, or no number.
    """

    battery_level: float | None = None
    charging: bool | None = None
    temperature_c: float | None = None

    def __post_init__(self) -> None:
        for name in ("battery_level", "charging", "temperature_c"):
            value = getattr(self, name)
            low, high = SIGNAL_RANGES[name]
            if value is not None and not low <= value <= high:
                raise ValueError(f"{name}: wanted {low:g} to {high:g}. Got {value}.")


class Signals(NamedTuple):
    """All that rules ask for, in the order of `SIGNAL_RANGES`; ``None`` where unknown."""

    battery_level: float | None = None
    charging: float | None = None
    temperature_c: float | None = None
    activity_per_min: float | None = None
    confidence: float | None = None


SIGNAL_RANGES: dict[str, tuple[float, float]] = {
    "battery_level": (0.0, 1.0),
    "charging": (0.0, 1.0),
    # of any electronics: a threshold outside is one in another unit
    "temperature_c": (-60.0, 150.0),
    "activity_per_min": (0.0, math.inf),
    "confidence": (0.0, 1.0),
}
"""Least and largest value of each signal."""

SMOOTHED = frozenset({"activity_per_min", "confidence"})
"""Signals that come ever closer to the ends of their ranges and need not reach them."""

UNKNOWN = DeviceState()


def busiest_rate_per_min(interval_s: float) -> float:
    """Return what activity comes to, just before an answer, with an event in every answer.

    The sum of ``60 exp(-k d / T) / T`` over ``k = 1, 2, ...`` answers of interval d ago, see
    `EventMonitor`: a geometric series. Nearly 60 / d where d is much less than T.

    Args:
        interval_s: From one answer to the next.
    """
    return 60 / (ACTIVITY_TIME_CONSTANT_S * math.expm1(interval_s / ACTIVITY_TIME_CONSTANT_S))


class EventMonitor:
    """Activity and confidence of the last answers, at a constant cost per answer.

    The rate weights an event of age ``a`` by ``exp(-a / T) / T`` with T of 15 s, the
    confidence an answer ``k`` answers ago by ``(1 - w)^k`` with ``w = 1 / 8``.
    """

    def __init__(self) -> None:
        self._rate_per_s = 0.0
        self._at_s = 0.0
        self._confidence: float | None = None

    def answered(self, now_s: float, events: float, confidence: float | None) -> None:
        """Take note of an answer.

        Args:
            now_s: When, seconds of a clock that never goes back.
            events: How many events it was: 1, 0 for background, or what is expected.
            confidence: Of the answer, from 0 to 1, where it is known; what is no finite
                number has no part in the mean.
        """
        self._rate_per_s = self._decayed(now_s) + events / ACTIVITY_TIME_CONSTANT_S
        self._at_s = now_s
        if confidence is None or not math.isfinite(confidence):
            return
        if self._confidence is None:
            self._confidence = confidence
        else:
            self._confidence += (confidence - self._confidence) / _RECENT_ANSWERS

    def signals(self, now_s: float, device: DeviceState) -> Signals:
        """Return all signals at a time."""
        return Signals(
            device.battery_level,
            device.charging,
            device.temperature_c,
            60 * self._decayed(now_s),
            self._confidence,
        )

    def _decayed(self, now_s: float) -> float:
        age_s = max(0.0, now_s - self._at_s)
        return self._rate_per_s * math.exp(-age_s / ACTIVITY_TIME_CONSTANT_S)
