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
        Predictions,
        UnknownWorkloadError,
    )
    from latency_predictors.calibration import calibrate
    from latency_predictors.campaign import CalibrationError, CalibrationObserver, Campaign
    from latency_predictors.energy import EnergyRange, learned_energy, modelled_energy
    from latency_predictors.energy_fit import fit_energy_model
    from latency_predictors.features import graph_features
    from latency_predictors.fitting import NotMeasuredError, fit_predictors
    from latency_predictors.measured_architecture import (
        MeasuredArchitecture,
        measure_architecture,
        measure_network,
        measure_stages,
    )
    from latency_predictors.metrics import Agreement, agreement
    from latency_predictors.observed import Observed
    from latency_predictors.prior_residual import PriorResidualPredictor
    from latency_predictors.target_predictors import PredictedCosts, TargetPredictors

_HOME = {
    "CostPredictor": "_types",
    "Graph": "_types",
    "Prediction": "_types",
    "Predictions": "_types",
    "UnknownWorkloadError": "_types",
    "calibrate": "calibration",
    "CalibrationError": "campaign",
    "CalibrationObserver": "campaign",
    "Campaign": "campaign",
    "NotMeasuredError": "fitting",
    "fit_predictors": "fitting",
    "MeasuredArchitecture": "measured_architecture",
    "measure_architecture": "measured_architecture",
    "measure_network": "measured_architecture",
    "measure_stages": "measured_architecture",
    "EnergyRange": "energy",
    "learned_energy": "energy",
    "modelled_energy": "energy",
    "fit_energy_model": "energy_fit",
    "graph_features": "features",
    "Agreement": "metrics",
    "agreement": "metrics",
    "Observed": "observed",
    "PriorResidualPredictor": "prior_residual",
    "PredictedCosts": "target_predictors",
    "TargetPredictors": "target_predictors",
}

__all__ = [
    "CostPredictor",
    "Graph",
    "Prediction",
    "Predictions",
    "UnknownWorkloadError",
    "calibrate",
    "CalibrationError",
    "CalibrationObserver",
    "Campaign",
    "NotMeasuredError",
    "fit_predictors",
    "MeasuredArchitecture",
    "measure_architecture",
    "measure_network",
    "measure_stages",
    "EnergyRange",
    "learned_energy",
    "modelled_energy",
    "fit_energy_model",
    "graph_features",
    "Agreement",
    "agreement",
    "Observed",
    "PriorResidualPredictor",
    "PredictedCosts",
    "TargetPredictors",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
