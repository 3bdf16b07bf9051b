"""Replay a trace through the governor: what a device would do, and for how long.

An inference takes its operating point's mean energy and time, and is as right as an answer model
says. So every figure is a prediction.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hwnas.battery import DAY_S, battery_days
from hwnas.energy_metrics import periodic_power_w
from hwnas.product_config import ProductConfig
from hwnas.runtime.answer_models import AnswerModel
from hwnas.runtime.governor import Governor
from hwnas.runtime.operating_points import OperatingPoint
from hwnas.runtime.policy import ScalingPolicy
from hwnas.runtime.signals import DeviceState, EventMonitor, Signals
from hwnas.runtime.trace import Trace

_FULL = math.nextafter(1.0, 0.0)
_BATTERY = Signals._fields.index("battery_level")


@dataclass(frozen=True)
class Outcome:
    """What a device does under a policy: predicted means until its battery is empty.

    Args:
        mode_shares: Share of inferences at each operating point used.
        accuracy: Share of all inferences that are right.
        event_accuracy: Of those that show an event; ``None`` where the trace has none.
        inference_j_per_day: Energy of the network alone, joules a day.
        mode_changes_per_day: Changes of the operating point.
        average_power_w: Of the whole product, however it is supplied; ``None`` without one.
        battery_days: How long a charge lasts; ``None`` without a battery, or where nothing
            ever empties it.
    """

    mode_shares: Mapping[str, float]
    accuracy: float
    event_accuracy: float | None
    inference_j_per_day: float
    mode_changes_per_day: float
    average_power_w: float | None = None
    battery_days: float | None = None


def simulate_policy(
    trace: Trace,
    policy: ScalingPolicy,
    points: Mapping[str, OperatingPoint],
    answers: AnswerModel,
    product: ProductConfig | None = None,
) -> Outcome:
    """Replay a trace until the battery is empty.

    A battery falls slowly against the trace, and what a policy does depends on its level only
    by the thresholds of rules. So the trace is replayed once between each two of them, and
    each stretch lasts as long as its share of the charge pays for the power drawn in it. While
    the device is charging, nothing is drawn from the battery and nothing is stored.

    Args:
        trace: To replay.
        policy: Whose operating points are all in ``points``.
        points: By name.
        answers: Which inferences are right.
        product: What surrounds the network; rules on the battery need one with a battery.
    """
    replay = _Replay(trace, policy, points, answers, product)
    if product is None or product.battery is None:
        return replay.stretch(None).outcome
    marks = [1.0, *_battery_thresholds(policy), 0.0]
    stretches: list[_Stretch] = []
    days: list[float] = []
    for high, low in itertools.pairwise(marks):
        # conditions that hold of a full battery begin before its level falls
        stretch = replay.stretch(_FULL if high == 1 else (high + low) / 2)
        battery = product.battery.battery
        if stretch.drawn_w + battery.self_discharge_w <= 0:
            # the level stays here for ever
            return stretch.outcome
        stretches.append(stretch)
        days.append((high - low) * float(battery_days(battery, stretch.drawn_w)))
    return _joined(stretches, days)


def _battery_thresholds(policy: ScalingPolicy) -> list[float]:
    """Return the battery levels at which a falling level changes a condition, descending."""
    found = {
        trigger.leave if trigger.rising else trigger.enter
        for rule in policy.rules
        for trigger in rule.when.triggers
        if trigger.signal == _BATTERY
    }
    return sorted((level for level in found if 0 < level < 1), reverse=True)


@dataclass(frozen=True)
class _Stretch:
    """One replay, and the mean power that it draws from the battery."""

    outcome: Outcome
    drawn_w: float


@dataclass
class _Replay:
    """Replays a trace again and again with one governor, as a device lives on."""

    trace: Trace
    policy: ScalingPolicy
    points: Mapping[str, OperatingPoint]
    answers: AnswerModel
    product: ProductConfig | None
    _governor: Governor = field(init=False)
    _monitor: EventMonitor = field(init=False, default_factory=EventMonitor)
    _offset_s: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        energies_j = {name: point.energy_j for name, point in self.points.items()}
        start_s = float(self.trace.time_s[0])
        self._governor = Governor(self.policy, energies_j, start_s=start_s)

    def stretch(self, battery_level: float | None) -> _Stretch:
        """Replay the trace once, the battery at one level."""
        names = list(self.points)
        modes, right, changes = self._live(battery_level)
        used = np.array([names.index(mode) for mode in modes])
        at = list(self.points.values())
        energy_j = np.array([p.energy_j for p in at])[used]
        latency_s = np.array([p.latency_s for p in at])[used]
        days = self.trace.duration_s / DAY_S
        power_w = drawn_w = None
        if self.product is not None:
            power_w, drawn_w = self._powers_w(self.product, energy_j, latency_s)
        events = self.trace.event
        outcome = Outcome(
            mode_shares={
                name: float(np.mean(used == k)) for k, name in enumerate(names) if name in modes
            },
            accuracy=float(right.mean()),
            event_accuracy=float(right[events].mean()) if events.any() else None,
            inference_j_per_day=float(energy_j.sum()) / days,
            mode_changes_per_day=changes / days,
            average_power_w=power_w,
        )
        return _Stretch(outcome, drawn_w or 0.0)

    def _live(self, battery_level: float | None) -> tuple[list[str], NDArray[np.float64], int]:
        """Return each inference's operating point and how right it is, and how many changes."""
        governor, monitor, points = self._governor, self._monitor, self.points
        modes, right, changes = [], [], 0
        for row, (now_s, is_event, device) in enumerate(self._rows(battery_level)):
            changes += governor.decide(now_s, monitor.signals(now_s, device)) is not None
            mode = governor.mode
            answer = self.answers.answer(mode, row, is_event)
            modes.append(mode)
            right.append(answer.right)
            governor.spend(points[mode].energy_j)
            monitor.answered(now_s, answer.active, answer.confidence)
        self._offset_s += self.trace.duration_s
        return modes, np.array(right), changes

    def _rows(self, battery_level: float | None) -> list[tuple[float, bool, DeviceState]]:
        trace = self.trace
        n = len(trace.time_s)
        unknown = [None] * n
        charging = unknown if trace.charging is None else trace.charging.tolist()
        celsius = unknown if trace.temperature_c is None else trace.temperature_c.tolist()
        devices = [DeviceState(battery_level, c, t) for c, t in zip(charging, celsius, strict=True)]
        times = (trace.time_s + self._offset_s).tolist()
        return list(zip(times, trace.event.tolist(), devices, strict=True))

    def _powers_w(
        self, product: ProductConfig, energy_j: NDArray[np.float64], latency_s: NDArray[np.float64]
    ) -> tuple[float, float]:
        """Return the mean power of the product, and what of it the battery supplies."""
        intervals_s = self.trace.intervals_s
        power_w = periodic_power_w(
            energy_j,
            latency_s,
            # one that takes longer than its interval is followed by the next at once
            np.maximum(intervals_s, latency_s),
            sleep_power_w=product.sleep_power_w,
            event_energy_j=product.event_energy_j,
        )
        taken_j = power_w * intervals_s
        charging = self.trace.charging
        drawn_j = taken_j if charging is None else taken_j[~charging]
        duration_s = self.trace.duration_s
        return float(np.sum(taken_j)) / duration_s, float(np.sum(drawn_j)) / duration_s


def _joined(stretches: Sequence[_Stretch], days: Sequence[float]) -> Outcome:
    """Return the means over a whole charge, each stretch weighted by how long it lasts."""
    weights = np.asarray(days) / sum(days)
    outcomes = [s.outcome for s in stretches]

    def mean(values: Sequence[float | None]) -> float:
        return float(weights @ np.array(values, dtype=np.float64))

    names = dict.fromkeys(name for o in outcomes for name in o.mode_shares)
    some_events = outcomes[0].event_accuracy is not None
    return Outcome(
        mode_shares={n: mean([o.mode_shares.get(n, 0.0) for o in outcomes]) for n in names},
        accuracy=mean([o.accuracy for o in outcomes]),
        event_accuracy=mean([o.event_accuracy for o in outcomes]) if some_events else None,
        inference_j_per_day=mean([o.inference_j_per_day for o in outcomes]),
        mode_changes_per_day=mean([o.mode_changes_per_day for o in outcomes]),
        average_power_w=mean([o.average_power_w for o in outcomes]),
        battery_days=sum(days),
    )
