"""Measure a model at every operating point of a target: latency and energy against clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import targets
from hwnas.candidate_energy import measured_energy_metrics, modelled_energy_metrics
from hwnas.device_points import NO_ENERGY, OpenTarget, energy_model_at
from hwnas.errors import UserError
from hwnas.front import Metric
from hwnas.measuring import MeasuredModel, failure_error, read_onnx
from hwnas.progress import ProgressReporter, SilentProgress
from latency_predictors import modelled_energy
from targets import Artifact, EnergyConfig, Failure, MeasureConfig, Target, TargetSpec
from targets.operating_points import OperatingPoint, at_point, operating_points, refusal

_FROM_POWER = "active_power_w of the operating point x measured latency"


@dataclass(frozen=True)
class PointResult:
    """What a model costs at one operating point.

    Args:
        point: Where; ``None`` for the target as it is described, without a point.
        measured: Its costs; ``None`` where the point was refused.
        refused: Why nothing was measured at it; one line.
    """

    point: OperatingPoint | None
    measured: MeasuredModel | None = None
    refused: str | None = None

    @property
    def state(self) -> Mapping[str, str | int | float | None]:
        """Of the device while it was measured."""
        return self.measured.measurement.device_state if self.measured else {}

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready row; without costs where the point was refused."""
        row: dict[str, Any] = {
            "point": self.point.name if self.point else None,
            "requested_khz": self.point.clock_khz if self.point else None,
            "refused": self.refused,
        }
        if self.measured is None:
            return row
        reached = {
            "reached_khz": self.state.get("after_clock_khz"),
            "power_mode": self.state.get("power_mode"),
        }
        return {**row, **reached, **self.measured.to_dict()}


@dataclass(frozen=True)
class Pick:
    """The operating point that is best in some respect.

    Args:
        point: Its name.
        not_told_apart: Others, whose intervals overlap with its.
    """

    point: str
    not_told_apart: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {"point": self.point, "not_told_apart": list(self.not_told_apart)}


@dataclass(frozen=True)
class FrequencySweep:
    """A model's costs at the operating points of a target.

    Args:
        target: Name of the target.
        as_configured: Without a point: the device as its description leaves it.
        points: One result per point.
    """

    target: str
    as_configured: PointResult
    points: tuple[PointResult, ...]

    @property
    def least_energy(self) -> Pick | None:
        """The point of least gross energy per inference, if energies of one kind are known."""
        energies = {
            name: measured.metrics["energy_j"]
            for name, measured in self._compared.items()
            if "energy_j" in measured.metrics
        }
        kinds = {metric.provenance for metric in energies.values()}
        return _least(energies) if len(kinds) == 1 else None

    @property
    def fastest(self) -> Pick | None:
        """The point of least median latency."""
        return _least({name: _latency(found) for name, found in self._compared.items()})

    @property
    def _compared(self) -> dict[str, MeasuredModel]:
        """What was measured at a point, at a speed that the device kept."""
        return {
            result.point.name: result.measured
            for result in self.points
            if result.point and result.measured and not result.measured.measurement.disturbed
        }

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        picks = {"least_energy": self.least_energy, "fastest": self.fastest}
        return {
            "target": self.target,
            "as_configured": self.as_configured.to_dict(),
            "points": [result.to_dict() for result in self.points],
            **{name: pick.to_dict() if pick else None for name, pick in picks.items()},
        }


def sweep_frequency(
    target: str,
    model: Path,
    *,
    config: MeasureConfig = MeasureConfig(),
    energy: EnergyConfig = EnergyConfig(),
    seed: int = 0,
    create: OpenTarget = targets.create,
    progress: ProgressReporter | None = None,
) -> FrequencySweep:
    """Measure a model at every operating point of a target, in random order.

    The clock is pinned for each measurement alone and put back after it: see
    `targets.cpu_clock.pinned`. What was measured at a point before, in the same way, comes
    from the target's cache, so that an interrupted sweep continues where it stopped.

    Args:
        target: Name of a target, or a path to its YAML file.
        model: ONNX file with static shapes.
        config: How to time it.
        energy: How to measure its energy, where the target has power meters.
        seed: Of the order, so that a device that warms up looks like no effect of its clock.
        create: Makes a target of a description.
        progress: Told of every point.

    Raises:
        UserError: If the model cannot be read or compiled, there are no points, or the
            target replays a recording.
        UnreachableError: If the target does not answer.
    """
    graph = read_onnx(model)
    try:
        spec = targets.load_spec(target)
    except ValueError as error:
        raise UserError(str(error)) from None
    if spec.recording is not None:
        raise UserError(
            f"target {spec.name!r}: a recording cannot be measured at other operating points. "
            "Sweep the target it was recorded on"
        )
    with create(spec) as opened:
        artifact = opened.compile(graph)
        if isinstance(artifact, Failure):
            raise failure_error(artifact, str(model))
        bench = _Bench(artifact, config, energy)
        first = bench.measure(opened, None, fresh=True)
    if isinstance(first, Failure):
        raise failure_error(first, str(model))
    points = operating_points(spec, first.state)
    if not points:
        raise UserError(
            f"target {spec.name!r}: no operating points: the device has no cpufreq. "
            "Describe some in its YAML file, such as operating_points: "
            "[{name: slow, clock_khz: 600000}]"
        )
    return FrequencySweep(
        spec.name, first, _measure_all(spec, points, bench, create, seed, progress)
    )


def _measure_all(
    spec: TargetSpec,
    points: Sequence[OperatingPoint],
    bench: _Bench,
    create: OpenTarget,
    seed: int,
    progress: ProgressReporter | None,
) -> tuple[PointResult, ...]:
    progress = progress or SilentProgress()
    progress.phase("operating points", len(points))
    results: dict[int, PointResult] = {}
    for index in np.random.default_rng(seed).permutation(len(points)):
        point = points[index]
        with create(at_point(spec, point)) as opened:
            found = bench.measure(opened, point)
        if isinstance(found, Failure):
            found = PointResult(point, refused=found.message)
        results[index] = found
        progress.advance(point.name)
    return tuple(results[index] for index in range(len(points)))


class _Bench:
    """Measures one artifact on a target that is described at a point."""

    def __init__(self, artifact: Artifact, config: MeasureConfig, energy: EnergyConfig) -> None:
        self._artifact, self._config, self._energy = artifact, config, energy
        self._began = datetime.now(UTC).isoformat(timespec="seconds")

    def measure(
        self, target: Target, point: OperatingPoint | None, *, fresh: bool = False
    ) -> PointResult | Failure:
        measurement = target.measure(self._artifact, self._config, fresh=fresh)
        if isinstance(measurement, Failure):
            return measurement
        refused = refusal(point, measurement.device_state)
        if refused and not fresh and measurement.measured_at < self._began:
            # recorded when it was not permitted; it may be by now
            return self.measure(target, point, fresh=True)
        if refused:
            return PointResult(point, refused=refused)
        measured = MeasuredModel(measurement)
        if target.spec.meters:
            return PointResult(point, self._with_energy(measured, target, point, fresh))
        return PointResult(point, _with_modelled_energy(measured, target.spec, point))

    def _with_energy(
        self, measured: MeasuredModel, target: Target, point: OperatingPoint | None, fresh: bool
    ) -> MeasuredModel:
        (found,) = target.measure_energy([self._artifact], self._energy, fresh=fresh)
        if isinstance(found, Failure):
            return replace(measured, energy_not_measured_because=found.message)
        if refused := refusal(point, found.device_state):
            if not fresh and found.measured_at < self._began:
                return self._with_energy(measured, target, point, fresh=True)
            return replace(measured, energy_not_measured_because=refused)
        measurement = replace(measured.measurement, energy=found)
        metrics = measured_energy_metrics([found], [1.0])
        del metrics["worst_energy_j"]  # one model has one path
        return MeasuredModel(measurement, metrics)


def _with_modelled_energy(
    measured: MeasuredModel, spec: TargetSpec, point: OperatingPoint | None
) -> MeasuredModel:
    model = None if point is None else energy_model_at(spec, point)
    if model is None:
        return replace(measured, energy_not_measured_because=NO_ENERGY)
    modelled = modelled_energy(measured.measurement.latency_median_s, (), model)
    metrics = modelled_energy_metrics([modelled], [1.0], _FROM_POWER)
    del metrics["worst_energy_j"]  # one model has one path
    return replace(measured, metrics=metrics)


def _latency(measured: MeasuredModel) -> Metric:
    measurement = measured.measurement
    low, high = measurement.latency_interval_s()
    return Metric(measurement.latency_median_s, measurement.provenance, low, high)


def _least(found: Mapping[str, Metric]) -> Pick | None:
    if not found:
        return None
    best = min(found, key=lambda name: found[name].value)
    high = found[best].upper_bound
    others = (name for name, m in found.items() if name != best and m.lower_bound <= high)
    return Pick(best, tuple(others))
