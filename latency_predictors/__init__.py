"""Learned latency, flash and RAM of architectures, calibrated from few measurements.

Names load on first use: importing this package loads neither scikit-learn nor torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latency_predictors._types import (
        CostPredictor,
        Graph,
        Prediction,
        UnknownWorkloadError,
    )
    from latency_predictors.calibration import (
        CalibrationError,
        MeasuredArchitecture,
        NotMeasuredError,
        calibrate,
        fit_predictors,
        measure_architecture,
        measure_network,
    )
    from latency_predictors.energy import EnergyRange, learned_energy, modelled_energy
    from latency_predictors.energy_fit import fit_energy_model
    from latency_predictors.metrics import Agreement, agreement
    from latency_predictors.target_predictors import PredictedCosts, TargetPredictors

_HOME = {
    "CostPredictor": "_types",
    "Graph": "_types",
    "Prediction": "_types",
    "UnknownWorkloadError": "_types",
    "CalibrationError": "calibration",
    "MeasuredArchitecture": "calibration",
    "NotMeasuredError": "calibration",
    "calibrate": "calibration",
    "fit_predictors": "calibration",
    "measure_architecture": "calibration",
    "measure_network": "calibration",
    "EnergyRange": "energy",
    "learned_energy": "energy",
    "modelled_energy": "energy",
    "fit_energy_model": "energy_fit",
    "Agreement": "metrics",
    "agreement": "metrics",
    "PredictedCosts": "target_predictors",
    "TargetPredictors": "target_predictors",
}

__all__ = [
    "CostPredictor",
    "Graph",
    "Prediction",
    "UnknownWorkloadError",
    "CalibrationError",
    "MeasuredArchitecture",
    "NotMeasuredError",
    "calibrate",
    "fit_predictors",
    "measure_architecture",
    "measure_network",
    "EnergyRange",
    "learned_energy",
    "modelled_energy",
    "fit_energy_model",
    "Agreement",
    "agreement",
    "PredictedCosts",
    "TargetPredictors",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
