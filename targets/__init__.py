"""Where a model runs and how it is measured: devices with their toolchains; they see ONNX."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from targets._registry import create
    from targets._types import (
        Artifact,
        Boundary,
        Failure,
        KernelTarget,
        MeasureConfig,
        Measurement,
        Provenance,
        Target,
        TunableTarget,
    )
    from targets.atomic_file import write_atomically
    from targets.cache import open_measurement_log
    from targets.energy_measurement import (
        EnergyConfig,
        EnergyMeasurement,
        EnergyObserver,
        EnergyTrial,
        Interval,
    )
    from targets.json_lines import JsonLines
    from targets.kernel_database import KernelTime
    from targets.measurement_log import MeasurementLog, Record, RecordHead
    from targets.result_json import measurement_from_dict, result_to_dict
    from targets.spec import EnergyModel, TargetSpec, load_spec, names
    from targets.tuning_database import TunedKernel

__all__ = [
    # targets
    "create",
    "names",
    "load_spec",
    "Target",
    "TunableTarget",
    "KernelTarget",
    "TargetSpec",
    "EnergyModel",
    # what they make and tell
    "Artifact",
    "MeasureConfig",
    "Measurement",
    "EnergyConfig",
    "EnergyMeasurement",
    "EnergyObserver",
    "EnergyTrial",
    "Interval",
    "Failure",
    "TunedKernel",
    "KernelTime",
    "Provenance",
    "Boundary",
    # on disk
    "open_measurement_log",
    "MeasurementLog",
    "Record",
    "RecordHead",
    "JsonLines",
    "result_to_dict",
    "measurement_from_dict",
    "write_atomically",
]

_HOMES = {
    "create": "_registry",
    "names": "spec",
    "load_spec": "spec",
    "TargetSpec": "spec",
    "EnergyModel": "spec",
    "TunedKernel": "tuning_database",
    "KernelTime": "kernel_database",
    **dict.fromkeys(
        ("EnergyConfig", "EnergyMeasurement", "EnergyObserver", "EnergyTrial", "Interval"),
        "energy_measurement",
    ),
    "open_measurement_log": "cache",
    "MeasurementLog": "measurement_log",
    "Record": "measurement_log",
    "RecordHead": "measurement_log",
    "JsonLines": "json_lines",
    "result_to_dict": "result_json",
    "measurement_from_dict": "result_json",
    "write_atomically": "atomic_file",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'targets' has no attribute {name!r}")
    return getattr(import_module(f"targets.{_HOMES.get(name, '_types')}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
