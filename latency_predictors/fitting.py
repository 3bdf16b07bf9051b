"""Fit the predictors of a target to measured architectures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from latency_predictors._types import Graph
from latency_predictors.energy import modelled_energy
from latency_predictors.energy_predictor import EnergyPredictor
from latency_predictors.measured_architecture import MeasuredArchitecture
from latency_predictors.observed import observed_graphs
from latency_predictors.operating_point import CLOCK_EXPONENTS, relative_clock
from latency_predictors.prior_residual import PriorResidualPredictor
from latency_predictors.tail import TailRatio
from latency_predictors.target_predictors import TargetPredictors
from latency_predictors.transfer import CostModel, TransferPredictor
from targets import EnergyModel, Measurement, Provenance, TargetSpec


class NotMeasuredError(ValueError):
    """Timings that no device showed, such as emulated ones, must not be learned from."""


def fit_predictors(
    spec: TargetSpec,
    measured: Sequence[MeasuredArchitecture],
    highest_khz: int | None = None,
    sources: Sequence[TargetPredictors] = (),
) -> TargetPredictors:
    """Fit one predictor per metric to the stages of measured architectures.

    Energies are learned as power meters measured them, or, where they did not measure every
    stage, as modelled from the measured latencies: never from both.

    Args:
        spec: Of the target.
        measured: What to learn from.
        highest_khz: The device's highest clock, where it was measured at several pinned ones:
            latency and energy are then learned as functions of the clock.
        sources: Of other targets on the same space, to start from; at one clock.

    Raises:
        NotMeasuredError: If one of the measurements is emulated, or energies at several
            clocks are modelled: the model of a target holds at one voltage.
        ValueError: If a clock is wanted and was not pinned, or not kept.
    """
    for item in measured:
        for measurement in item.measurements:
            require_measured(spec.name, measurement.provenance)
    graphs = [graph for item in measured for graph in item.graphs]
    groups = [item.architecture.arch_id for item in measured for _ in item.graphs]
    stages = [m for item in measured for m in item.measurements]
    energies, provenance = stage_energies_j(spec.energy_model, stages, graphs)
    clocks = None if highest_khz is None else [relative_clock(m, highest_khz) for m in stages]
    if clocks is not None and provenance == "modelled":
        raise NotMeasuredError(
            f"target {spec.name!r}: its energy model holds at one voltage, and the measurements "
            "are of several clocks. Attach a power meter"
        )
    values = {
        "latency_s": [m.latency_median_s for m in stages],
        "flash_bytes": [m.flash_bytes for m in stages],
        "peak_ram_bytes": [m.peak_ram_bytes for m in stages],
    }
    known = observed_graphs(graphs, clocks)
    unclocked = replace(known, relative_clocks=None)
    fitted = {
        metric: _cost_model(metric, sources).fit_observed(
            known if len(CLOCK_EXPONENTS[metric]) > 1 else unclocked,
            np.asarray(costs, dtype=np.float64),
            groups,
        )
        for metric, costs in values.items()
    }
    latencies_s = np.asarray(values["latency_s"], dtype=np.float64)
    energy = EnergyPredictor(fitted["latency_s"])
    energy.fit_observed(known, np.asarray(energies), latencies_s, groups)
    idle_power_w = _idle_power_w(stages) if provenance == "measured" else None
    tail = TailRatio.fit(measured)
    return TargetPredictors(spec.name, fitted, energy, provenance, {}, idle_power_w, tail)


def _cost_model(metric: str, sources: Sequence[TargetPredictors]) -> CostModel:
    if not sources:
        return PriorResidualPredictor(metric)
    return TransferPredictor({source.target: source.cost_model(metric) for source in sources})


def _idle_power_w(stages: Sequence[Measurement]) -> float:
    return float(np.median([m.energy.idle_power_w.value for m in stages if m.energy is not None]))


def stage_energies_j(
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


def require_measured(target_name: str, provenance: Provenance) -> None:
    """Refuse timings that no device showed.

    Raises:
        NotMeasuredError: If they are of any provenance but ``measured``.
    """
    if provenance != "measured":
        raise NotMeasuredError(
            f"target {target_name!r}: {provenance} timings never calibrate anything. "
            "Calibrate on a device, with provenance: measured"
        )
