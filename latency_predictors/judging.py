"""Compare predictions of whole networks with measurements they were not fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latency_predictors.features import graph_macs
from latency_predictors.fitting import stage_energies_j
from latency_predictors.measured_architecture import MeasuredArchitecture
from latency_predictors.metrics import Agreement, agreement
from latency_predictors.target_predictors import TargetPredictors
from targets import EnergyModel


def judge(
    predictors: TargetPredictors,
    fitted_on: Sequence[MeasuredArchitecture],
    held_out: Sequence[MeasuredArchitecture],
    energy_model: EnergyModel,
) -> dict[str, Any]:
    """Compare whole-network predictions with held-out measurements, beside MACs alone.

    Returns:
        ``latency_s``, ``energy_j`` and ``macs_baseline`` agreements, ``flash_mape``,
        ``peak_ram_mape``, ``median_error`` of the latency, and ``interval_coverage`` of its 90 %
        interval. The baseline is an affine fit of latency to MACs on the same architectures.
    """
    costs = predictors.predict([item.graphs for item in held_out])
    measured = np.array([item.latency_s for item in held_out])
    predicted = np.array([c.latency_s.mean for c in costs])
    covered = [
        c.latency_s.low <= t <= c.latency_s.high for c, t in zip(costs, measured, strict=True)
    ]
    stages = [m for item in held_out for m in item.measurements]
    graphs = [graph for item in held_out for graph in item.graphs]
    stage_energies, _ = stage_energies_j(energy_model, stages, graphs)
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
        "median_error": float(np.median(np.abs(predicted / measured - 1))),
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
