"""Calibrate predictors on a target: choose, measure, fit, report held-out agreement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from latency_predictors._types import Graph
from latency_predictors.coverage import covering_architectures, distinct_architectures
from latency_predictors.energy import modelled_energy
from latency_predictors.energy_fit import fit_energy_model
from latency_predictors.features import graph_macs
from latency_predictors.metrics import Agreement, agreement
from latency_predictors.operating_point import CLOCK_EXPONENTS, relative_clock
from latency_predictors.prior_residual import PriorResidualPredictor
from latency_predictors.target_predictors import METRICS, TargetPredictors
from search_spaces import Architecture, SearchSpace
from targets import (
    EnergyConfig,
    EnergyModel,
    Failure,
    MeasureConfig,
    Measurement,
    Provenance,
    Target,
    TargetSpec,
)

if TYPE_CHECKING:
    from torch import nn

    from targets._types import Flag

_LEAST_ARCHITECTURES = 8

CALIBRATION_ENERGY = EnergyConfig(
    trials=3, max_trials=9, relative_error=0.1, min_window_s=2.0, idle_s=2.0, warmup_s=1.0
)
"""How energies are measured for calibration: many architectures, each less surely than a
member of the front, as a predictor averages over them."""


class CalibrationError(RuntimeError):
    """Too few architectures could be measured to fit a predictor."""


class NotMeasuredError(ValueError):
    """Timings that no device showed, such as emulated ones, must not be learned from."""


@dataclass(frozen=True)
class MeasuredArchitecture:
    """An architecture with one measurement per stage."""

    architecture: Architecture
    graphs: tuple[Graph, ...]
    measurements: tuple[Measurement, ...]

    @property
    def latency_s(self) -> float:
        """Median latency of the path through every stage."""
        return sum(m.latency_median_s for m in self.measurements)

    @property
    def disturbed(self) -> bool:
        """Whether any stage was measured while the device changed its speed."""
        return any(m.disturbed for m in self.measurements)


Observer = Callable[[Architecture, "tuple[Measurement, ...] | Failure", int, int], None]
"""Called after every architecture with (architecture, result, done, total)."""


def calibrate(
    target: Target,
    space: SearchSpace,
    *,
    samples: int,
    held_out: int,
    seed: int,
    config: MeasureConfig = MeasureConfig(),
    energy: EnergyConfig = CALIBRATION_ENERGY,
    observer: Observer | None = None,
) -> TargetPredictors:
    """Measure architectures of a space on a target and learn its costs.

    ``samples`` architectures are chosen to cover the space; ``held_out`` more
    are drawn at random, as a search would meet them, and serve only to judge
    the predictors fitted to the former. The predictors returned are fitted to
    all of them. Measurements come from the target's cache where it has them,
    so an interrupted calibration continues where it stopped. What was throttled or
    drifting, repetitions notwithstanding, is left out and counted in the report.

    Args:
        target: Where to measure.
        space: What to measure.
        samples: Architectures to fit to.
        held_out: Architectures to judge on; 0 reports none.
        seed: Chooses architectures, order and weights.
        config: How to time.
        energy: How to measure energies, where the target has power meters; elsewhere they
            are modelled from the latencies.
        observer: Told of every result, for progress and logs.

    Raises:
        CalibrationError: If fewer than 8 architectures could be measured.
        NotMeasuredError: If the target's timings are emulated.
    """
    _require_measured(target.name, target.spec.provenance)
    rng = np.random.default_rng(seed)
    fitting = covering_architectures(space, samples, rng)
    chosen = {arch.arch_id for arch in fitting}
    pool = distinct_architectures(space, samples + held_out + len(chosen), rng)
    judging = [arch for arch in pool if arch.arch_id not in chosen][:held_out]
    # random order, so that a drift of the device does not look like an effect of size
    order = rng.permutation(len(fitting) + len(judging))
    everything = [*fitting, *judging]
    measured: dict[str, MeasuredArchitecture] = {}
    failures: list[Failure] = []
    flags: Counter[Flag] = Counter()
    n_disturbed = 0
    for done, index in enumerate(order, start=1):
        arch = everything[index]
        result = measure_architecture(target, space, arch, seed=seed, config=config, energy=energy)
        if isinstance(result, Failure):
            failures.append(result)
        else:
            flags.update({flag for m in result.measurements for flag in m.flags})
            if result.disturbed:
                n_disturbed += 1
            else:
                measured[arch.arch_id] = result
        if observer is not None:
            outcome = result if isinstance(result, Failure) else result.measurements
            observer(arch, outcome, done, len(everything))
    fit_on = [measured[a.arch_id] for a in fitting if a.arch_id in measured]
    judge_on = [measured[a.arch_id] for a in judging if a.arch_id in measured]
    if len(fit_on) < _LEAST_ARCHITECTURES:
        reason = f" The last failure: {failures[-1].message}" if failures else ""
        if n_disturbed:
            reason += f" {n_disturbed} were throttled or drifting: cool the board, pin its clock."
        raise CalibrationError(
            f"only {len(fit_on)} of {len(fitting)} architectures could be measured on "
            f"{target.name!r}; {_LEAST_ARCHITECTURES} are needed.{reason}"
        )
    report: dict[str, Any] = {
        "space": space.name,
        "n_fitted": len(fit_on),
        "n_held_out": len(judge_on),
        "n_failures": len(failures),
        "n_disturbed": n_disturbed,
        "flags": dict(flags),
        "seed": seed,
    }
    if len(judge_on) > 1:
        report["held_out"] = judge(
            fit_predictors(target.spec, fit_on), fit_on, judge_on, target.spec.energy_model
        )
    predictors = fit_predictors(target.spec, [*fit_on, *judge_on])
    report["energies"] = predictors.energy_provenance
    if predictors.energy_provenance == "measured":
        fitted = fit_energy_model([*fit_on, *judge_on])
        report["energy_model"] = fitted.model_dump()
    predictors.report = report
    return predictors


def measure_architecture(
    target: Target,
    space: SearchSpace,
    arch: Architecture,
    *,
    seed: int,
    config: MeasureConfig,
    energy: EnergyConfig = CALIBRATION_ENERGY,
) -> MeasuredArchitecture | Failure:
    """Build an architecture with live random weights and measure each of its stages."""
    network = untrained_network(space, arch, seed)
    return measure_network(target, space, arch, network, config=config, energy=energy, fresh=False)


def untrained_network(space: SearchSpace, arch: Architecture, seed: int) -> nn.Module:
    """Build an architecture with random weights and live activations, as parity checks need."""
    from search_spaces.initialize import initialize_weights, live_batch_norm

    network = space.build(arch)
    initialize_weights(network, seed)
    live_batch_norm(network, space.input_shape, seed)
    return network


def measure_network(
    target: Target,
    space: SearchSpace,
    arch: Architecture,
    network: nn.Module,
    *,
    config: MeasureConfig = MeasureConfig(),
    energy: EnergyConfig | None = None,
    fresh: bool,
) -> MeasuredArchitecture | Failure:
    """Measure each stage of a network that was built from ``arch``.

    Where energies are wanted and the target has power meters, the trials of all stages are
    made in random order.

    Args:
        target: Where to measure.
        space: The architecture's space.
        arch: What ``network`` is.
        network: With the weights to deploy.
        config: How to time.
        energy: How to measure energies, if at all.
        fresh: Measure again even if the target's cache holds a measurement.
    """
    from search_spaces.onnx_export import stage_models

    measurements, artifacts = [], []
    for model in stage_models(network, space.input_shape):
        artifact = target.compile(model)
        if isinstance(artifact, Failure):
            return artifact
        measurement = target.measure(artifact, config, fresh=fresh)
        if isinstance(measurement, Failure):
            return measurement
        measurements.append(measurement)
        artifacts.append(artifact)
    if energy is not None and target.spec.meters:
        energies = target.measure_energy(artifacts, energy, fresh=fresh)
        for index, found in enumerate(energies):
            if isinstance(found, Failure):
                return found
            measurements[index] = replace(measurements[index], energy=found)
    graphs = tuple(stage.workloads for stage in space.stages(arch))
    return MeasuredArchitecture(arch, graphs, tuple(measurements))


def fit_predictors(
    spec: TargetSpec, measured: Sequence[MeasuredArchitecture], highest_khz: int | None = None
) -> TargetPredictors:
    """Fit one predictor per metric to the stages of measured architectures.

    Energies are learned as power meters measured them, or, where they did not measure every
    stage, as modelled from the measured latencies: never from both.

    Args:
        spec: Of the target.
        measured: What to learn from.
        highest_khz: The device's highest clock, where it was measured at several pinned ones:
            latency and energy are then learned as functions of the clock.

    Raises:
        NotMeasuredError: If one of the measurements is emulated, or energies at several
            clocks are modelled: the model of a target holds at one voltage.
        ValueError: If a clock is wanted and was not pinned, or not kept.
    """
    for item in measured:
        for measurement in item.measurements:
            _require_measured(spec.name, measurement.provenance)
    graphs = [graph for item in measured for graph in item.graphs]
    groups = [item.architecture.arch_id for item in measured for _ in item.graphs]
    stages = [m for item in measured for m in item.measurements]
    energies, provenance = _energies_j(spec.energy_model, stages, graphs)
    values = {
        "energy_j": energies,
        "latency_s": [m.latency_median_s for m in stages],
        "flash_bytes": [m.flash_bytes for m in stages],
        "peak_ram_bytes": [m.peak_ram_bytes for m in stages],
    }
    clocks = None if highest_khz is None else [relative_clock(m, highest_khz) for m in stages]
    if clocks is not None and provenance == "modelled":
        raise NotMeasuredError(
            f"target {spec.name!r}: its energy model holds at one voltage, and the measurements "
            "are of several clocks. Attach a power meter"
        )
    fitted = {
        metric: PriorResidualPredictor(metric).fit(
            graphs,
            np.asarray(values[metric], dtype=np.float64),
            groups,
            clocks if len(CLOCK_EXPONENTS[metric]) > 1 else None,
        )
        for metric in METRICS
    }
    return TargetPredictors(spec.name, fitted, provenance, {})


def _energies_j(
    model: EnergyModel, stages: Sequence[Measurement], graphs: Sequence[Graph]
) -> tuple[list[float], Provenance]:
    """Return the gross energies of stages: all measured, or all modelled."""
    measured = [m.energy.gross_j.value for m in stages if m.energy is not None]
    if len(measured) == len(stages):
        return measured, "measured"
    modelled = [
        modelled_energy(m.latency_median_s, graph, model).energy_j
        for m, graph in zip(stages, graphs, strict=True)
    ]
    return modelled, "modelled"


def _require_measured(target_name: str, provenance: Provenance) -> None:
    if provenance != "measured":
        raise NotMeasuredError(
            f"target {target_name!r}: {provenance} timings never calibrate anything. "
            "Calibrate on a device, with provenance: measured"
        )


def judge(
    predictors: TargetPredictors,
    fitted_on: Sequence[MeasuredArchitecture],
    held_out: Sequence[MeasuredArchitecture],
    energy_model: EnergyModel,
) -> dict[str, Any]:
    """Compare whole-network predictions with held-out measurements, beside MACs alone.

    Returns:
        ``latency_s``, ``energy_j`` and ``macs_baseline`` agreements, ``flash_mape``,
        ``peak_ram_mape``, and ``interval_coverage`` of the 90 % interval. The
        baseline is an affine fit of latency to MACs on the same architectures.
    """
    costs = predictors.predict([item.graphs for item in held_out])
    measured = np.array([item.latency_s for item in held_out])
    predicted = np.array([c.latency_s.mean for c in costs])
    covered = [
        c.latency_s.low <= t <= c.latency_s.high for c, t in zip(costs, measured, strict=True)
    ]
    stages = [m for item in held_out for m in item.measurements]
    graphs = [graph for item in held_out for graph in item.graphs]
    stage_energies, _ = _energies_j(energy_model, stages, graphs)
    ends = np.cumsum([len(item.graphs) for item in held_out])[:-1]
    energy = np.array([part.sum() for part in np.split(np.array(stage_energies), ends)])
    flash = np.array([float(sum(m.flash_bytes for m in i.measurements)) for i in held_out])
    ram = np.array([float(max(m.peak_ram_bytes for m in i.measurements)) for i in held_out])
    return {
        "latency_s": asdict(agreement(measured, predicted)),
        "energy_j": asdict(agreement(energy, np.array([c.energy_j.mean for c in costs]))),
        "macs_baseline": asdict(_macs_baseline(fitted_on, held_out, measured)),
        "flash_mape": agreement(flash, np.array([c.flash_bytes.mean for c in costs])).mape,
        "peak_ram_mape": agreement(ram, np.array([c.peak_ram_bytes.mean for c in costs])).mape,
        "interval_coverage": float(np.mean(covered)),
    }


def _macs_baseline(
    fitted_on: Sequence[MeasuredArchitecture],
    held_out: Sequence[MeasuredArchitecture],
    measured: NDArray[np.float64],
) -> Agreement:
    def macs(items: Sequence[MeasuredArchitecture]) -> NDArray[np.float64]:
        return np.array([graph_macs(item.graphs).sum() for item in items])

    latency = np.array([item.latency_s for item in fitted_on])
    # in units of the mean, which keeps the two columns of one scale
    unit = macs(fitted_on).mean()
    affine = np.column_stack([macs(fitted_on) / unit, np.ones(len(latency))])
    # weighted by 1/latency: relative error is what both fits minimize. lstsq takes the
    # constant alone where all MACs are equal, as in a space of activations.
    slope, intercept = np.linalg.lstsq(affine / latency[:, None], np.ones(len(latency)))[0]
    return agreement(measured, slope * macs(held_out) / unit + intercept)
