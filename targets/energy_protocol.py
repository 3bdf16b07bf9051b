"""How the energy of an inference is measured, whatever the device and its meters are.

See docs/energy.md. A trial is: idle, inferences until the latency is steady, a window of
inferences that counts, idle. Powers are means over times well inside of these, so that
neither clocks nor the ends of a meter's periods matter; the energy of an inference is power
times its mean time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from targets._types import FailureStage
from targets.energy_measurement import EnergyConfig, EnergyTrial
from targets.energy_statistics import Energies, energies, half_width, scatters
from targets.meters import MeterError, MeterInfo
from targets.power_trace import PowerTrace, Span, align, align_to_marks

MOST_WINDOW_S = 300.0
"""A meter that needs longer windows than this is refused."""

_BLOCK_S = 0.2
_SETTLE_S = 0.5
_CLOCK_SEARCH_S = 2.0
_STEADY = 0.01
_STEADY_S = 5.0
_THROTTLED = 0.03
_SATURATED = 0.98
_LEAST_PHASES = 3.0
_MOST_LOST = 3
_NORMAL_95 = 1.96
_RANGING_MARGIN = 0.7
"""Part of the wanted error that windows are made long enough for: the rest is for what a
single run does not show."""


@dataclass(frozen=True)
class Loop:
    """Inferences run one after the other without a pause.

    Args:
        span: From the first to the last, by the clock of the meters' traces.
        latency_s: Mean time of an inference in each block.
        n_per_block: Inferences in a block.
    """

    span: Span
    latency_s: tuple[float, ...]
    n_per_block: int


class Device(Protocol):
    """A device with one model loaded, and its meters."""

    def probe(self) -> Sequence[float]:
        """Return the times of some single inferences."""
        ...

    def start_meters(self) -> None:
        """Record from now on."""
        ...

    def stop_meters(self) -> Sequence[PowerTrace]:
        """Return what was recorded, one trace per meter.

        Raises:
            MeterError: If a meter failed meanwhile.
        """
        ...

    def idle(self, seconds: float) -> Span:
        """Do nothing for a while, and ask nothing of the device."""
        ...

    def run(self, n_per_block: int, n_blocks: int) -> Loop:
        """Run inferences."""
        ...

    def throttled(self) -> bool:
        """Whether the device says that it slowed down since it was opened."""
        ...


class TrialLostError(RuntimeError):
    """The device got lost in the middle of a trial: another try may work.

    Args:
        reason: One line.
        stage: What it was doing.
    """

    def __init__(self, reason: str, stage: FailureStage) -> None:
        super().__init__(reason)
        self.stage: FailureStage = stage


@dataclass
class Candidate:
    """One model in the course of its measurement.

    Args:
        open: Loads it on the device for one trial, which should take no longer than so many
            seconds; may raise `TrialLostError`.
        trials: That count.
        sustained: In which the device throttled.
        window_s: Length of its windows that count; as the ranging run found it.
        hidden_step_w: Resolution of the meters that averaging does not even out.
        refused: Why it cannot be measured, if so.
        stage: What that happened at.
        unsteady: Trials thrown away because the idle power changed.
        lost: Trials lost with the device.
    """

    open: Callable[[float], AbstractContextManager[Device]]
    trials: list[EnergyTrial] = field(default_factory=list)
    sustained: list[EnergyTrial] = field(default_factory=list)
    window_s: float | None = None
    hidden_step_w: float = 0.0
    refused: str | None = None
    stage: FailureStage = "meter"
    unsteady: int = 0
    lost: int = 0


class EnergyProtocol:
    """Measures candidates trial by trial, in random order.

    Args:
        meters: What measures; their powers add up.
        config: How to measure.

    Raises:
        MeterError: If the meters cannot be used together.
    """

    def __init__(self, meters: Sequence[MeterInfo], config: EnergyConfig) -> None:
        rails = [meter.rail for meter in meters]
        if twice := {rail for rail in rails if rails.count(rail) > 1}:
            raise MeterError(
                f"meters: {', '.join(sorted(twice))} is measured by two meters, "
                "and their powers would be added",
                "remove one",
            )
        for meter in meters:
            if whole := set(meter.branch_of) & set(rails):
                raise MeterError(
                    f"meters: {meter.rail} is a branch of {whole.pop()}, "
                    "and their powers would be added",
                    "remove the branch",
                )
        if config.trials < 2:
            raise MeterError(f"energy: wanted at least 2 trials, got {config.trials}")
        self._meters = tuple(meters)
        self._config = config
        self._rng = np.random.default_rng(config.seed)

    @property
    def window_s(self) -> float:
        """Length of the window that counts, for the slowest meter.

        The longest of ``min_window_s``, ``min_samples`` update periods, and
        ``2 * update period / relative_error``.
        """
        config = self._config
        return max(
            config.min_window_s,
            *(config.min_samples * m.update_period_s for m in self._meters if not m.counts),
            *(2 * m.update_period_s / config.relative_error for m in self._meters),
        )

    def _trial_s(self, window_s: float) -> float:
        return 2 * (self._idle_s(window_s) + _SETTLE_S) + self._config.max_warmup_s + window_s

    def _idle_s(self, window_s: float) -> float:
        return max(self._config.idle_s, window_s / 2)

    def measure(
        self,
        candidates: Sequence[Candidate],
        observer: Callable[[int, EnergyTrial], None] = lambda index, trial: None,
    ) -> list[Energies]:
        """Measure until every candidate is known as well as wanted, or is refused.

        Args:
            candidates: What to measure; their trials are kept in them.
            observer: Told of every trial with its candidate's index.

        Returns:
            One result per candidate; where ``gross_refused`` is set, nothing was measured.
        """
        if (window_s := self.window_s) > MOST_WINDOW_S:
            slowest = max(self._meters, key=lambda m: m.update_period_s)
            reason = (
                f"{slowest.rail}: a value every {slowest.update_period_s:g} s needs windows of "
                f"{window_s:.0f} s; the longest is {MOST_WINDOW_S:.0f} s"
            )
            return [Energies(None, None, reason, reason) for _ in candidates]
        while wanted := [i for i, c in enumerate(candidates) if self._wants_more(c)]:
            for index in self._rng.permutation(wanted):
                self._trial(int(index), candidates[index], observer)
        return [self._result(candidate) for candidate in candidates]

    def _wants_more(self, candidate: Candidate) -> bool:
        config = self._config
        n = len(candidate.trials)
        if candidate.refused or n + len(candidate.sustained) >= config.max_trials:
            return False
        if n < config.trials:
            return True
        found = self._energies(candidate)
        return bool(found.gross_refused or found.net_refused) and self._can_improve(candidate)

    def _can_improve(self, candidate: Candidate) -> bool:
        """Whether the trials' scatter, which more of them make smaller, is what is wide."""
        config, n = self._config, len(candidate.trials)
        for found in scatters(candidate.trials):
            scatter = half_width(found)
            shrunk = scatter * math.sqrt(n / config.max_trials)
            if config.relative_error < scatter and shrunk < 2 * config.relative_error:
                return True
        return False

    def _energies(self, candidate: Candidate) -> Energies:
        return energies(candidate.trials, self._meters, self._config, candidate.hidden_step_w)

    def _result(self, candidate: Candidate) -> Energies:
        reason = candidate.refused
        if reason is None and len(candidate.trials) < 2:
            reason = (
                f"the device throttled in {len(candidate.sustained)} of "
                f"{len(candidate.sustained) + len(candidate.trials)} trials: "
                "cool it, or lower its clock"
            )
        if reason is not None:
            return Energies(None, None, reason, reason)
        return self._energies(candidate)

    def _trial(
        self, index: int, candidate: Candidate, observer: Callable[[int, EnergyTrial], None]
    ) -> None:
        try:
            with candidate.open(self._trial_s(candidate.window_s or self.window_s)) as device:
                trial = self._measured_trial(candidate, device)
        except MeterError as error:
            candidate.refused = f"{error}. {error.fix}" if error.fix else str(error)
            return
        except TrialLostError as error:
            candidate.lost += 1
            if candidate.lost >= _MOST_LOST:
                candidate.refused, candidate.stage = str(error), error.stage
            return
        if candidate.window_s is None:
            candidate.window_s = self._ranged_window_s(trial)
            if candidate.window_s > self.window_s:
                return
        if abs(trial.idle_after_w - trial.idle_before_w) > (
            self._config.max_idle_drift * trial.idle_power_w + self._offset_w()
        ):
            candidate.unsteady += 1
            if candidate.unsteady >= self._config.trials:
                candidate.refused = (
                    f"idle power drifts: {trial.idle_before_w:.3g} W before a trial, "
                    f"{trial.idle_after_w:.3g} W after it: let the device warm up, and stop "
                    "what else runs on it"
                )
            return
        (candidate.sustained if trial.throttled else candidate.trials).append(trial)
        observer(index, trial)

    def _ranged_window_s(self, trial: EnergyTrial) -> float:
        """Return how long windows must be for the trials' mean to be as sure as wanted.

        The standard error of a mean falls with the square root of the time.
        """
        config = self._config
        net_w = abs(trial.active_power_w - trial.idle_power_w)
        error = math.hypot(trial.active_error_w, trial.idle_error_w) / max(net_w, 1e-12)
        wanted = _RANGING_MARGIN * config.relative_error * math.sqrt(config.trials)
        needed_s = self.window_s * (_NORMAL_95 * error / wanted) ** 2
        return min(max(self.window_s, needed_s), MOST_WINDOW_S)

    def _offset_w(self) -> float:
        """Return a change of idle power that the meters cannot tell from none."""
        return sum(2 * m.resolution for m in self._meters if not m.counts)

    def _measured_trial(self, candidate: Candidate, device: Device) -> EnergyTrial:
        latency_s = np.asarray(device.probe())
        typical_s = float(np.median(latency_s))
        self._require_phases(typical_s, _spread(latency_s) / typical_s)
        window_s = candidate.window_s or self.window_s
        idle_s = self._idle_s(window_s) + _SETTLE_S
        n_per_block = max(1, round(_BLOCK_S / typical_s))
        block_s = n_per_block * typical_s
        device.start_meters()
        before = device.idle(idle_s)
        warmup = self._warm_up(device, n_per_block, block_s)
        guard_s = self._guard_s()
        n_blocks = math.ceil((window_s + 2 * guard_s) / block_s)
        loop = device.run(n_per_block, n_blocks)
        after = device.idle(idle_s)
        traces = device.stop_meters()
        busy = Span(warmup.span.start_s, loop.span.end_s)
        # the device rests a moment after loading, and after the loop, before it is idle
        idle_before = Span(before.start_s + _SETTLE_S, busy.start_s)
        idle_after = Span(busy.end_s + _SETTLE_S, after.end_s)
        parts = [
            _powers(trace, loop.span, busy, idle_before, idle_after, guard_s) for trace in traces
        ]
        candidate.hidden_step_w = max(candidate.hidden_step_w, sum(p.hidden_step_w for p in parts))
        return EnergyTrial(
            latency_s=float(np.mean(loop.latency_s)),
            n_inferences=loop.n_per_block * len(loop.latency_s),
            window_s=loop.span.inside(guard_s).length_s,
            active_power_w=sum(p.active_w for p in parts),
            idle_before_w=sum(p.before_w for p in parts),
            idle_after_w=sum(p.after_w for p in parts),
            idle_power_w=sum(p.idle_w for p in parts),
            peak_power_w=sum(p.peak_w for p in parts),
            active_error_w=math.hypot(*(p.active_error_w for p in parts)),
            idle_error_w=math.hypot(*(p.idle_error_w for p in parts)),
            clock_offset_s=max((p.offset_s for p in parts), key=abs),
            throttled=device.throttled() or _slows_down(loop.latency_s),
        )

    def _guard_s(self) -> float:
        return max(0.05, *(2 * meter.update_period_s for meter in self._meters))

    def _warm_up(self, device: Device, n_per_block: int, block_s: float) -> Loop:
        """Run until the latency is steady."""
        config = self._config
        n_blocks = max(1, math.ceil(config.warmup_s / block_s))
        first = loop = device.run(n_per_block, n_blocks)
        while (
            loop.span.end_s - first.span.start_s < config.max_warmup_s
            and _slope(loop, _STEADY_S) > _STEADY
        ):
            loop = device.run(n_per_block, n_blocks)
        return first

    def _require_phases(self, latency_s: float, jitter: float) -> None:
        """Refuse a meter whose instants may always meet the same part of an inference.

        The phase at which instants a fixed time apart meet an inference wanders only by
        the jitter of its length: over a window of n inferences by ``jitter * sqrt(n)`` of one.
        """
        for meter in self._meters:
            if meter.averages or meter.polled or meter.update_period_s < latency_s / 10:
                continue
            n = self.window_s / latency_s
            if jitter * math.sqrt(n) < _LEAST_PHASES:
                raise MeterError(
                    f"{meter.rail}: shows the power at instants {meter.update_period_s:g} s apart, "
                    f"which may always meet the same part of an inference of {latency_s:.3g} s",
                    "use a meter that averages, or one of at least 10 samples per inference",
                )


@dataclass(frozen=True)
class _Powers:
    active_w: float
    before_w: float
    after_w: float
    idle_w: float
    peak_w: float
    active_error_w: float
    idle_error_w: float
    offset_s: float
    hidden_step_w: float


def _powers(
    trace: PowerTrace, window: Span, busy: Span, before: Span, after: Span, guard_s: float
) -> _Powers:
    """Return what one meter says of a trial."""
    info = trace.info
    around = Span(before.start_s, after.end_s)
    search_s = min(_CLOCK_SEARCH_S, before.length_s / 2, after.length_s / 2)
    if info.markers and trace.marks:
        aligned, offset_s = align_to_marks(trace.checked(), window)
    else:
        aligned, offset_s = align(trace.checked(), busy, around, search_s)
    active = _part(aligned, window.inside(guard_s), "the window of inferences")
    idle_1 = _part(aligned, before.inside(guard_s), "the idle window before it")
    idle_2 = _part(aligned, after.inside(guard_s), "the idle window after it")
    peak_w = float(active.peak_w.max())
    if info.range_w is not None and peak_w > _SATURATED * info.range_w:
        raise MeterError(
            f"{info.rail}: {peak_w:.3g} W reaches the end of its range of {info.range_w:.3g} W",
            "choose a larger range, or another shunt",
        )
    before_w, after_w = idle_1.power_at(busy.start_s), idle_2.power_at(busy.end_s)
    middle = (window.start_s + window.end_s) / 2
    share = (middle - busy.start_s) / busy.length_s
    return _Powers(
        active.mean_power_w(),
        before_w,
        after_w,
        before_w + share * (after_w - before_w),
        peak_w,
        active.standard_error_w(),
        math.hypot(idle_1.standard_error_w(), idle_2.standard_error_w()) / 2,
        offset_s,
        _hidden_step_w(info, idle_1, active),
    )


def _part(trace: PowerTrace, span: Span, name: str) -> PowerTrace:
    part = trace.within(span)
    period_s = trace.info.update_period_s
    if len(part.power_w) < 2:
        raise MeterError(
            f"{trace.info.rail}: {len(part.power_w)} values in {name} of {span.length_s:.2g} s, "
            f"which is short for one every {period_s:.2g} s",
            "lengthen min_window_s and idle_s",
        )
    return part


def _hidden_step_w(info: MeterInfo, *parts: PowerTrace) -> float:
    """Return the resolution where the values scatter too little for averaging to even it out."""
    if info.counts:
        return 0.0
    scatter = min(float(np.std(part.power_w)) for part in parts)
    return info.resolution if scatter < info.resolution / 2 else 0.0


def _spread(values: NDArray[np.float64]) -> float:
    """Return the standard deviation of most values, by the median absolute deviation."""
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def _slope(loop: Loop, last_s: float) -> float:
    """Return by how much the latency rose over the last seconds, relative to it."""
    latency_s = np.asarray(loop.latency_s)
    n = max(2, round(last_s / (loop.n_per_block * float(latency_s.mean()))))
    recent = latency_s[-n:]
    if len(recent) < 4:
        return 0.0
    half = len(recent) // 2
    first, second = np.median(recent[:half]), np.median(recent[-half:])
    return float(abs(second - first) / first)


def _slows_down(latency_s: Sequence[float]) -> bool:
    """Whether the last tenth of a loop is slower than the first."""
    n = max(1, len(latency_s) // 10)
    first, last = np.median(latency_s[:n]), np.median(latency_s[-n:])
    return bool(last > (1 + _THROTTLED) * first)
