"""Random devices with the meters people have, for `targets.energy_simulation`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from targets.energy_simulation import SimulatedBench, SimulatedLoad, SimulatedMeter
from targets.meters import MeterInfo


@dataclass(frozen=True)
class MeterKind:
    """A kind of meter and the devices it is used on.

    Args:
        info: Its properties.
        idle_w: Between which idle powers its devices lie.
        noise: Largest standard deviation of a sample, relative to idle power.
        clock_known: Whether its clock is this computer's.
    """

    info: MeterInfo
    idle_w: tuple[float, float]
    noise: float = 0.02
    clock_known: bool = True


def _info(rail: str, **properties: object) -> MeterInfo:
    defaults: dict[str, object] = {
        "rail": rail,
        "scope": rail,
        "range_w": None,
        "offset_error_w": 0.0,
        "averages": True,
        "polled": False,
        "bandwidth_hz": 1.0,
    }
    return MeterInfo(**defaults | properties)  # type: ignore[arg-type]


KINDS: Mapping[str, MeterKind] = {
    "RAPL": MeterKind(
        _info("rapl", update_period_s=1e-3, resolution=61e-6, gain_error=0.01, counts=True),
        (3.0, 30.0),
    ),
    "NVML": MeterKind(
        _info("nvml", update_period_s=0.1, resolution=1e-3, gain_error=0.01, counts=True),
        (10.0, 60.0),
    ),
    "INA226, averaging": MeterKind(
        _info("ina226", update_period_s=0.02, resolution=2.5e-3, gain_error=0.005, polled=True),
        (0.5, 5.0),
    ),
    "INA3221, instantaneous": MeterKind(
        _info(
            "ina3221",
            update_period_s=0.01,
            resolution=8e-3,
            gain_error=0.01,
            averages=False,
            polled=True,
        ),
        (1.0, 8.0),
    ),
    "Pi 5 PMIC": MeterKind(
        _info(
            "pmic",
            update_period_s=0.1,
            resolution=5e-3,
            gain_error=0.02,
            averages=False,
            polled=True,
        ),
        (1.5, 4.0),
        noise=0.01,
    ),
    "PPK2, 1 ms means": MeterKind(
        _info("ppk2", update_period_s=1e-3, resolution=1e-6, gain_error=0.01), (1e-3, 0.3)
    ),
    "LPM01A, 1 kHz": MeterKind(
        _info("lpm01a", update_period_s=1e-3, resolution=1e-7, gain_error=0.02), (1e-4, 0.05)
    ),
    "Joulescope, 1 ms means": MeterKind(
        _info("joulescope", update_period_s=1e-3, resolution=1e-8, gain_error=0.003), (1e-3, 3.0)
    ),
    "recorded file, clock unknown": MeterKind(
        _info("file", update_period_s=0.01, resolution=1e-4, gain_error=0.01),
        (0.1, 5.0),
        clock_known=False,
    ),
    "instants at a fixed rate": MeterKind(
        _info("instants", update_period_s=0.01, resolution=1e-4, gain_error=0.01, averages=False),
        (0.1, 5.0),
    ),
}
"""Meters by name; figures of the order that their makers state, a PPK2 as compared with a better
meter once."""


def random_bench(kind: MeterKind, rng: np.random.Generator) -> SimulatedBench:
    """Return a random device with a meter of a kind.

    Everything is drawn at random within what is met: latency from 30 us to 200 ms, power
    above idle from a third to five times of it, bursts, jitter, leakage up to 5 % of idle
    power with a time constant of 10 to 60 s, a wandering idle power, the meter's gain within
    its limits, noise, clock offset up to 20 ms (1 s where it is unknown) and skew up to 50 ppm,
    dropped samples up to 1 %, and a register that wraps now and then.
    """
    idle_w = _log_uniform(rng, *kind.idle_w)
    load = SimulatedLoad(
        latency_s=_log_uniform(rng, 3e-5, 0.2),
        idle_w=idle_w,
        dynamic_w=idle_w * _log_uniform(rng, 1 / 3, 5.0),
        burst_share=rng.uniform(0.2, 0.9),
        jitter=rng.uniform(0, 0.01),
        leak_w=idle_w * rng.uniform(0, 0.05),
        leak_s=rng.uniform(10, 60),
        idle_walk_w=idle_w * rng.uniform(0, 0.005),
    )
    info = kind.info
    clock_s = 0.02 if kind.clock_known else 1.0
    meter = SimulatedMeter(
        replace(info, range_w=100 * idle_w),
        gain=1 + info.gain_error * rng.uniform(-1, 1),
        noise_w=idle_w * rng.uniform(0, kind.noise),
        clock_offset_s=rng.uniform(-clock_s, clock_s),
        clock_skew=rng.uniform(-5e-5, 5e-5),
        clock_known=kind.clock_known,
        dropped=0.0 if info.counts else rng.uniform(0, 0.01),
        wrap_j=_log_uniform(rng, 50 * idle_w, 1e5 * idle_w),
    )
    return SimulatedBench(load, [meter], rng)


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
