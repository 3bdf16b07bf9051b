"""The nouns of an energy measurement: how it is taken, its trials, and what came out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from targets._types import Artifact, Provenance
    from targets.meters import MeterInfo


@dataclass(frozen=True)
class EnergyConfig:
    """How the energy of one inference is measured: see docs/energy.md.

    Args:
        trials: Least number of trials, at least 2.
        max_trials: Trials are added up to this many while an interval is wider than wanted.
        relative_error: Wanted half-width of the 95 % interval relative to the energy, the
            meters' own accuracy apart: how well another measurement would agree.
        max_relative_error: Of the whole interval: how well the truth is known.
        min_window_s: Least length of a trial's loop of inferences.
        min_samples: Of the meter, in a trial's window; the window grows until it has them.
        idle_s: Length of the idle window before and after each trial; it is the cooldown, too.
        max_idle_drift: Largest change of idle power across a trial, relative to it.
        warmup_s: Least time of inferences before a trial's window.
        max_warmup_s: The warm-up goes on until the latency is steady, but not longer.
        seed: Of the order of trials.
    """

    trials: int = 5
    max_trials: int = 15
    relative_error: float = 0.03
    max_relative_error: float = 0.25
    min_window_s: float = 10.0
    min_samples: int = 200
    idle_s: float = 10.0
    max_idle_drift: float = 0.03
    warmup_s: float = 5.0
    max_warmup_s: float = 60.0
    seed: int = 0


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class EnergyTrial:
    """One loop of inferences between two idle windows.

    Args:
        latency_s: Mean time of an inference in the loop.
        n_inferences: In the loop.
        window_s: Of the loop that counted.
        active_power_w: Mean power in that window.
        idle_before_w: Idle power before the loop, led on to where it began.
        idle_after_w: After the loop, led back to where it ended.
        idle_power_w: Between the two, at the middle of the window.
        active_error_w: Standard error of ``active_power_w``, from the scatter of samples.
        idle_error_w: Of ``idle_power_w``.
        clock_offset_s: By which the meters' clocks were found to be late, and were corrected.
        peak_power_w: Largest power seen in the window.
        throttled: Whether the device changed its speed meanwhile.
    """

    latency_s: float
    n_inferences: int
    window_s: float
    active_power_w: float
    idle_before_w: float
    idle_after_w: float
    idle_power_w: float
    peak_power_w: float
    active_error_w: float = 0.0
    idle_error_w: float = 0.0
    clock_offset_s: float = 0.0
    throttled: bool = False

    @property
    def gross_j(self) -> float:
        """Energy of one inference, ``P_active * t``."""
        return self.active_power_w * self.latency_s

    @property
    def net_j(self) -> float:
        """Energy above idle, ``(P_active - P_idle) * t``."""
        return (self.active_power_w - self.idle_power_w) * self.latency_s


@dataclass(frozen=True)
class EnergyMeasurement:
    """Measured energy of one artifact.

    Args:
        target: Name of the target.
        model_sha256: Of the ONNX model measured.
        artifact_sha256: Of the artifact measured.
        gross_j: Energy of one inference, idle power included (``inference_gross``).
        net_j: Above idle (``inference_net``); ``None`` where it could not be measured
            as well as wanted.
        net_refused: Why not.
        idle_power_w: Of the device, between trials.
        active_power_w: While it runs inferences.
        peak_power_w: Largest power seen.
        peak_bandwidth_hz: Of the meter that saw it: shorter peaks are flattened.
        trials: That counted.
        sustained: Trials in which the device throttled; they do not count.
        meters: What measured it; their powers add up.
        config: How it was measured.
        provenance: ``measured``, or ``emulated`` where the device or its meter is.
        device_state: As in `Measurement`.
        measured_at: ISO 8601 time, UTC.
    """

    target: str
    model_sha256: str
    artifact_sha256: str
    gross_j: Interval
    net_j: Interval | None
    net_refused: str | None
    idle_power_w: Interval
    active_power_w: Interval
    peak_power_w: float
    peak_bandwidth_hz: float
    trials: tuple[EnergyTrial, ...]
    sustained: tuple[EnergyTrial, ...]
    meters: tuple[MeterInfo, ...]
    config: EnergyConfig
    provenance: Provenance
    device_state: Mapping[str, str | int | float | None] = field(default_factory=dict)
    measured_at: str = ""

    @property
    def scope(self) -> str:
        """What the meters include, for people."""
        return " + ".join(meter.scope for meter in self.meters)

    @property
    def voltage_v(self) -> float | None:
        """Supply voltage, where one meter alone knows it."""
        return self.meters[0].voltage_v if len(self.meters) == 1 else None


EnergyObserver: TypeAlias = "Callable[[Artifact, EnergyTrial], None]"
"""Told of every trial that counts, and of those in which the device throttled."""
