"""What users may import. A change here is a change of the public interface."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

PUBLIC = {
    "hwnas": """
        search worker serve_storage ParetoGuidedSampler
        tune calibrate predict measure export check report simulate trace Runtime
        list_targets check_target doctor
        list_measurements export_measurements MeasurementQuery
        Candidate Metric ParetoFront UserError UnreachableError
        Architecture SearchSpace Workload Failure Measurement Target
    """,
    "search_spaces": """
        create names Architecture ChainedSpace Choice CollapsingSpace SearchSpace Shape Stage
        StagedSpace Workload
        bytes_moved macs n_params peak_activation_bytes total_bytes_moved total_macs total_params
        UnknownOperatorError workloads_from_onnx
    """,
    "targets": """
        create names load_spec Target TargetSpec EnergyModel TunableTarget TunedKernel
        KernelTarget KernelTime
        EnergyConfig EnergyMeasurement EnergyObserver EnergyTrial Interval
        Artifact MeasureConfig Measurement Failure Provenance Boundary
        open_measurement_log MeasurementLog Record RecordHead
        JsonLines result_to_dict measurement_from_dict write_atomically
    """,
    "latency_predictors": """
        CostPredictor Graph Prediction Predictions UnknownWorkloadError
        Observed PriorResidualPredictor graph_features
        CalibrationError NotMeasuredError MeasuredArchitecture calibrate fit_predictors
        Campaign CalibrationObserver
        measure_architecture measure_network measure_stages
        EnergyRange learned_energy modelled_energy fit_energy_model
        Agreement agreement PredictedCosts TargetPredictors
    """,
}
HEAVY = {"torch", "tvm", "onnxruntime", "sklearn", "optuna"}
PRINT_HEAVY = f"import sys; print('loaded:', *sorted(set(sys.modules) & {HEAVY!r}))"


@pytest.mark.parametrize("package", PUBLIC)
def test_public_names_are_these(package: str) -> None:
    assert sorted(importlib.import_module(package).__all__) == sorted(PUBLIC[package].split())


@pytest.mark.parametrize("package", PUBLIC)
def test_every_public_name_resolves(package: str) -> None:
    """In a process of its own, one name after the other, without help from earlier imports."""
    code = f"import {package} as p; print(*[n for n in p.__all__ if getattr(p, n) is None])"
    assert run_python(code) == ""


@pytest.mark.parametrize("package", PUBLIC)
def test_an_unknown_name_is_an_attribute_error_that_names_it(package: str) -> None:
    with pytest.raises(AttributeError, match=f"{package}.*no_such_name"):
        importlib.import_module(package).no_such_name  # noqa: B018


def test_the_four_packages_share_one_parent_folder() -> None:
    """Another project's ``targets`` in the way fails here, with both paths."""
    files = {name: importlib.import_module(name).__file__ for name in PUBLIC}
    parents = {name: Path(str(file)).parent.parent for name, file in files.items()}
    assert len(set(parents.values())) == 1, parents


def test_importing_the_packages_loads_nothing_heavy() -> None:
    assert run_python(f"import {', '.join(PUBLIC)}; {PRINT_HEAVY}") == "loaded:"


def test_asking_for_help_loads_nothing_heavy() -> None:
    code = (
        "import runpy, sys; sys.argv = ['hwnas', '--help']\n"
        "try: runpy.run_module('hwnas', run_name='__main__')\n"
        "except SystemExit as stop: print('exit:', stop.code or 0)\n"
        f"{PRINT_HEAVY}"
    )
    out = run_python(code)
    assert "Usage" in out
    assert out.splitlines()[-2:] == ["exit: 0", "loaded:"]


def test_the_budget_notices_a_heavy_import() -> None:
    assert run_python(f"import sklearn; {PRINT_HEAVY}") == "loaded: sklearn"


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout.strip()
