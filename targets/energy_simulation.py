"""A device and its meter whose true energy is known: to prove how it is measured.

Time is virtual: a measurement of minutes takes milliseconds. The device draws an idle
power, leaks more as it warms up, and draws bursts within an inference; the meter samples,
averages, counts, rounds, drops samples, and has a clock of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from targets.energy_protocol import Loop
from targets.meters import MeterError, MeterInfo
from targets.power_trace import PowerTrace, Span

Array = NDArray[np.float64]
_POLL_S = 0.5
_PHASE_STEP_S = 1e-3


@dataclass(frozen=True)
class SimulatedLoad:
    """What a device draws.

    Args:
        latency_s: Of an inference.
        idle_w: Cold and idle.
        dynamic_w: Mean, above idle, while it runs inferences.
        burst_share: Part of an inference in which all of ``dynamic_w`` is drawn.
        jitter: Standard deviation of an inference's time relative to it.
        leak_w: More than cold, once warm.
        leak_s: Time constant of warming up and cooling down.
        idle_walk_w: Standard deviation of a slow change of the idle power in a minute.
    """

    latency_s: float
    idle_w: float
    dynamic_w: float
    burst_share: float = 0.5
    jitter: float = 0.003
    leak_w: float = 0.0
    leak_s: float = 30.0
    idle_walk_w: float = 0.0

    @property
    def net_j(self) -> float:
        """True energy of an inference above what the device would draw idle, as warm as it is."""
        return self.dynamic_w * self.latency_s


@dataclass(frozen=True)
class SimulatedMeter:
    """How a meter sees it.

    Args:
        info: What it says of itself.
        gain: True factor between what it shows and what is.
        offset_w: True error at no power.
        noise_w: Standard deviation of a sample.
        clock_offset_s: By how much its times are late.
        clock_skew: By how much its clock is fast, relative.
        clock_known: Whether its clock is taken for the caller's.
        dropped: Part of the samples that get lost.
        wrap_j: Where a counter's register starts again at 0.
        marked: Whether the device raises a marker input of it while a loop runs.
        unplugged_after_s: When it is unplugged, from the start of a recording.
    """

    info: MeterInfo
    gain: float = 1.0
    offset_w: float = 0.0
    noise_w: float = 0.0
    clock_offset_s: float = 0.0
    clock_skew: float = 0.0
    clock_known: bool = True
    dropped: float = 0.0
    wrap_j: float = 262_143.0
    marked: bool = False
    unplugged_after_s: float = float("inf")


@dataclass
class _Segment:
    start_s: float
    busy: bool
    warmth: float
    energy_j: float
    idle_w: float
    phase: Array | None = None


class SimulatedBench:
    """A device with its meters in virtual time: what an energy protocol measures.

    Args:
        load: What the device draws.
        meters: What sees it.
        rng: Of everything that is random.
    """

    def __init__(
        self, load: SimulatedLoad, meters: Sequence[SimulatedMeter], rng: np.random.Generator
    ) -> None:
        self.load, self.meters, self._rng = load, tuple(meters), rng
        self.now_s = float(rng.uniform(0, 1))
        self.window_j: list[float] = []
        self._segments = [_Segment(0.0, False, 0.0, 0.0, load.idle_w)]
        self._recording_from = 0.0

    @contextmanager
    def open(self, trial_s: float) -> Iterator[SimulatedBench]:
        """Load the model for a trial."""
        self._wait(float(self._rng.uniform(0.2, 1.0)))
        yield self

    def probe(self) -> list[float]:
        """Return the times of single inferences."""
        jitter = self.load.jitter * self._rng.standard_normal(100)
        return [float(t) for t in self.load.latency_s * (1 + jitter)]

    def start_meters(self) -> None:
        """Record from now on."""
        self._recording_from = self.now_s

    def stop_meters(self) -> list[PowerTrace]:
        """Return what each meter saw."""
        return [self._trace(meter) for meter in self.meters]

    def idle(self, seconds: float) -> Span:
        """Do nothing for a while."""
        start = self.now_s
        self._wait(seconds)
        return Span(start, self.now_s)

    def run(self, n_per_block: int, n_blocks: int) -> Loop:
        """Run inferences."""
        start = self._begin(True)
        latency_s = self.load.latency_s
        duration = n_per_block * n_blocks * latency_s
        phase = self._phases(duration)
        self._segments[-1].phase = phase
        self._wait(duration)
        drawn_j = float(self.energy(self.now_s) - self.energy(start))
        self.window_j.append(drawn_j / (n_per_block * n_blocks))
        self._begin(False)
        blocks = latency_s * (
            1 + self.load.jitter / np.sqrt(n_per_block) * self._rng.standard_normal(n_blocks)
        )
        return Loop(Span(start, self.now_s), tuple(blocks.tolist()), n_per_block)

    def throttled(self) -> bool:
        """Never."""
        return False

    def energy(self, t: Array | float) -> Array:
        """Return the true energy since the beginning of time."""
        return self._signal(np.asarray(t, float))[0]

    def power(self, t: Array | float) -> Array:
        """Return the true power at an instant."""
        return self._signal(np.asarray(t, float))[1]

    def _wait(self, seconds: float) -> None:
        self.now_s += seconds

    def _begin(self, busy: bool) -> float:
        """Begin another segment now."""
        last, load = self._segments[-1], self.load
        now = self.now_s
        energy = float(self.energy(now))
        target = 1.0 if last.busy else 0.0
        decay = np.exp(-(now - last.start_s) / load.leak_s)
        warmth = target + (last.warmth - target) * decay
        minutes = (now - last.start_s) / 60
        idle_w = last.idle_w + load.idle_walk_w * np.sqrt(minutes) * self._rng.standard_normal()
        self._segments.append(_Segment(now, busy, float(warmth), energy, float(idle_w)))
        return now

    def _phases(self, duration: float) -> Array:
        """Return by how many inferences the jitter has shifted the phase, every so often."""
        n = int(duration / _PHASE_STEP_S) + 2
        per_step = self.load.jitter * np.sqrt(_PHASE_STEP_S / self.load.latency_s)
        return np.cumsum(per_step * self._rng.standard_normal(n))

    def _signal(self, t: Array) -> tuple[Array, Array]:
        load = self.load
        starts = np.array([s.start_s for s in self._segments])
        which = np.maximum(np.searchsorted(starts, t, side="right") - 1, 0)
        energy, power = np.zeros_like(t), np.zeros_like(t)
        for index in np.unique(which):
            segment, here = self._segments[index], which == index
            passed = t[here] - segment.start_s
            target = 1.0 if segment.busy else 0.0
            decay = np.exp(-passed / load.leak_s)
            warm = target + (segment.warmth - target) * decay
            warm_s = target * passed + (segment.warmth - target) * load.leak_s * (1 - decay)
            e = segment.energy_j + segment.idle_w * passed + load.leak_w * warm_s
            p = segment.idle_w + load.leak_w * warm
            if segment.busy:
                phase = passed / load.latency_s
                if segment.phase is not None:
                    grid = _PHASE_STEP_S * np.arange(len(segment.phase))
                    phase = phase + np.interp(passed, grid, segment.phase)
                part = phase - np.floor(phase)
                share = load.burst_share
                bursts = np.floor(phase) * share + np.minimum(part, share)
                e = e + load.dynamic_w / share * load.latency_s * bursts
                p = p + np.where(part < share, load.dynamic_w / share, 0.0)
            energy[here], power[here] = e, p
        return energy, power

    def _trace(self, meter: SimulatedMeter) -> PowerTrace:
        if self.now_s - self._recording_from > meter.unplugged_after_s:
            raise MeterError(f"{meter.info.rail}: the meter was unplugged")
        trace = self._counted(meter) if meter.info.counts else self._sampled(meter)

        def seen(t: Array) -> Array:
            return t * (1 + meter.clock_skew) + meter.clock_offset_s

        return PowerTrace(
            meter.info,
            seen(trace.start_s),
            seen(trace.end_s),
            trace.power_w,
            trace.peak_w,
            marks=tuple(float(seen(np.asarray(t))) for t in self._edges() if meter.marked),
            n_dropped=trace.n_dropped,
            clock_error_s=0.0 if meter.clock_known else float("inf"),
        )

    def _edges(self) -> list[float]:
        """Return when loops began and ended since the meters were started."""
        return [s.start_s for s in self._segments if s.start_s >= self._recording_from]

    def _counted(self, meter: SimulatedMeter) -> PowerTrace:
        info, rng = meter.info, self._rng
        t = np.arange(self._recording_from + rng.uniform(0, _POLL_S), self.now_s, _POLL_S)
        updated = np.floor(t / info.update_period_s) * info.update_period_s
        joules = meter.gain * self.energy(updated) + meter.offset_w * updated
        ticks = np.floor(joules / info.resolution)
        register = ticks % np.floor(meter.wrap_j / info.resolution)
        steps = np.diff(register)
        steps[steps < 0] += np.floor(meter.wrap_j / info.resolution)
        power = steps * info.resolution / np.diff(t)
        return PowerTrace(info, t[:-1], t[1:], power, power)

    def _sampled(self, meter: SimulatedMeter) -> PowerTrace:
        info, rng = meter.info, self._rng
        period = info.update_period_s
        n = int((self.now_s - self._recording_from) / period * 1.2) + 2
        least, most = (0.5, 1.5) if info.polled else (1.0, 1.0)
        steps = rng.uniform(least * period, most * period, n)
        t = self._recording_from + rng.uniform(0, period) + np.cumsum(steps)
        t = t[t < self.now_s]
        if info.averages:
            start, end = t - period, t
            power = (self.energy(end) - self.energy(start)) / period
        else:
            start = end = t
            power = self.power(t)
        power = meter.gain * power + meter.offset_w + meter.noise_w * rng.standard_normal(len(t))
        power = np.round(power / info.resolution) * info.resolution
        kept = rng.random(len(t)) >= meter.dropped
        return PowerTrace(
            info, start[kept], end[kept], power[kept], power[kept], n_dropped=int((~kept).sum())
        )
