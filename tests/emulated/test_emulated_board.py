"""Cross-compiled models, uploaded to an emulated 64-bit Arm board, compute the right numbers."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from latency_predictors import Campaign, NotMeasuredError, calibrate
from latency_predictors.measured_architecture import untrained_network
from search_spaces import create
from search_spaces.onnx_export import stage_models
from targets import Artifact, Failure, Measurement
from targets.parity import TOLERANCE, random_inputs
from targets.testing import QUICK, run_onnxruntime, small_model
from targets.tvm_target import TvmTarget
from tests.emulated.conftest import EmulatedBoard

pytestmark = pytest.mark.emulated
_AARCH64 = 183  # e_machine, ELF for the Arm 64-bit Architecture


def models_of(space_name: str, n: int) -> list[onnx.ModelProto]:
    space = create(space_name, input_shape=(3, 16, 16), n_classes=10)
    rng = np.random.default_rng(0)
    networks = (untrained_network(space, space.sample(rng), 0) for _ in range(n))
    return [model for net in networks for model in stage_models(net, space.input_shape)]


def compiled(target: TvmTarget, model: onnx.ModelProto) -> Artifact:
    # the parity check against ONNX Runtime runs on the board
    artifact = target.compile(model)
    assert isinstance(artifact, Artifact), artifact
    return artifact


def hwnas(cache: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "hwnas", *arguments]
    environment = os.environ | {"HWNAS_CACHE": str(cache)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.parametrize("space", ["depthwise_separable", "early_exit"])
def test_networks_of_both_spaces_are_right_on_the_board(target: TvmTarget, space: str) -> None:
    for model in models_of(space, 3):
        artifact = compiled(target, model)
        assert int.from_bytes(artifact.path.read_bytes()[18:20], "little") == _AARCH64
        inputs = random_inputs(model, seed=7)
        outputs = target.run(artifact, inputs)
        assert not isinstance(outputs, Failure), outputs
        for output, wanted in zip(outputs, run_onnxruntime(model, inputs), strict=True):
            scale = float(np.abs(wanted).max())
            np.testing.assert_allclose(output, wanted, rtol=0, atol=TOLERANCE * scale)


def test_timings_are_called_emulated(target: TvmTarget) -> None:
    measurement = target.measure(compiled(target, small_model()), QUICK)
    assert isinstance(measurement, Measurement), measurement
    assert measurement.provenance == "emulated"
    assert len(measurement.latency_s) >= QUICK.min_samples


def test_emulated_timings_never_calibrate_anything(target: TvmTarget) -> None:
    space = create("depthwise_separable", input_shape=(3, 16, 16), n_classes=10)
    with pytest.raises(NotMeasuredError, match="emulated timings never calibrate"):
        calibrate(Campaign(target, space, seed=0), samples=8, held_out=0)


def test_the_command_to_calibrate_says_so_in_one_line(target_file: Path, tmp_path: Path) -> None:
    result = hwnas(
        tmp_path / "cache",
        *("calibrate", str(target_file), "--space", "depthwise_separable"),
        *("--input", "3x16x16", "--classes", "10", "--predictors", str(tmp_path)),
    )
    assert result.returncode == 2, result.stdout + result.stderr
    assert "emulated timings never calibrate anything" in result.stderr
    assert not list(tmp_path.rglob("predictor.json"))


def test_kernels_are_tuned_on_the_board_and_stay_right(target: TvmTarget) -> None:
    (model,) = models_of("depthwise_separable", 1)
    tuned = target.tune([model], seconds=8)
    assert not isinstance(tuned, Failure), tuned
    assert tuned
    assert all(kernel.n_wrong == 0 for kernel in tuned)
    compiled(target, model)


def test_a_library_that_does_not_load_is_a_failure_and_the_board_stays(
    board: EmulatedBoard, target: TvmTarget, tmp_path: Path
) -> None:
    artifact = compiled(target, small_model())
    library = tmp_path / "text.so"
    library.write_text("no library")
    failure = target.run(replace(artifact, path=library), random_inputs(small_model(), 0))
    assert isinstance(failure, Failure)
    assert failure.stage == "run"
    assert board.server is not None
    assert board.server.poll() is None
    measurement = target.measure(artifact, QUICK, fresh=True)
    assert isinstance(measurement, Measurement), measurement


def test_a_board_that_ends_in_a_session_is_a_failure_and_works_again_once_it_is_back(
    board: EmulatedBoard, target: TvmTarget, tmp_path: Path
) -> None:
    artifact = compiled(target, small_model())
    source = tmp_path / "crash.c"
    source.write_text("#include <stdlib.h>\n__attribute__((constructor)) void f(void) { abort(); }")
    library = tmp_path / "crash.so"
    compiler = "aarch64-linux-gnu-gcc"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    failure = target.run(replace(artifact, path=library), random_inputs(small_model(), 0))
    assert isinstance(failure, Failure)
    assert board.server is not None
    assert board.server.wait(timeout=30) != 0
    board.start()
    measurement = target.measure(artifact, QUICK, fresh=True)
    assert isinstance(measurement, Measurement), measurement


def test_a_check_of_the_board_passes(target_file: Path, tmp_path: Path) -> None:
    result = hwnas(tmp_path, "targets", "check", str(target_file))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "emulated" in result.stdout
