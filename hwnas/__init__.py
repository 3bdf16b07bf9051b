"""Hardware-aware neural architecture search, calibrated on your own board.

Every command of the command line is a function of the same name here. Names load
on first use: importing this package loads neither torch nor TVM.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from hwnas.calibrating import calibrate
    from hwnas.checking import check
    from hwnas.diagnosis import doctor
    from hwnas.errors import UnreachableError, UserError
    from hwnas.exporting import export
    from hwnas.front import Candidate, Metric, ParetoFront
    from hwnas.measurement_export import export_measurements
    from hwnas.measurement_listing import MeasurementQuery, list_measurements
    from hwnas.measuring import measure
    from hwnas.predicting import predict
    from hwnas.reporting import report
    from hwnas.runtime import Runtime
    from hwnas.runtime.simulating import simulate
    from hwnas.runtime.trace_generator import trace
    from hwnas.samplers.pareto_guided import ParetoGuidedSampler
    from hwnas.searching import search
    from hwnas.storages import serve_storage
    from hwnas.target_checking import check_target, list_targets
    from hwnas.tuning import tune
    from hwnas.worker import worker
    from search_spaces import Architecture, SearchSpace, Workload
    from targets import Failure, Measurement, Target

_HOME = {
    "search": "hwnas.searching",
    "worker": "hwnas.worker",
    "serve_storage": "hwnas.storages",
    "tune": "hwnas.tuning",
    "calibrate": "hwnas.calibrating",
    "predict": "hwnas.predicting",
    "measure": "hwnas.measuring",
    "export": "hwnas.exporting",
    "check": "hwnas.checking",
    "report": "hwnas.reporting",
    "simulate": "hwnas.runtime.simulating",
    "trace": "hwnas.runtime.trace_generator",
    "Runtime": "hwnas.runtime.runner",
    "list_targets": "hwnas.target_checking",
    "check_target": "hwnas.target_checking",
    "list_measurements": "hwnas.measurement_listing",
    "export_measurements": "hwnas.measurement_export",
    "MeasurementQuery": "hwnas.measurement_listing",
    "doctor": "hwnas.diagnosis",
    "ParetoGuidedSampler": "hwnas.samplers.pareto_guided",
    "Candidate": "hwnas.front",
    "Metric": "hwnas.front",
    "ParetoFront": "hwnas.front",
    "UserError": "hwnas.errors",
    "UnreachableError": "hwnas.errors",
    "Architecture": "search_spaces",
    "SearchSpace": "search_spaces",
    "Workload": "search_spaces",
    "Failure": "targets",
    "Measurement": "targets",
    "Target": "targets",
}

__all__ = [
    "search",
    "worker",
    "serve_storage",
    "ParetoGuidedSampler",
    "tune",
    "calibrate",
    "predict",
    "measure",
    "export",
    "check",
    "report",
    "simulate",
    "trace",
    "Runtime",
    "list_targets",
    "check_target",
    "list_measurements",
    "export_measurements",
    "MeasurementQuery",
    "doctor",
    "Candidate",
    "Metric",
    "ParetoFront",
    "UserError",
    "UnreachableError",
    "Architecture",
    "SearchSpace",
    "Workload",
    "Failure",
    "Measurement",
    "Target",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
