"""The worker process of ONNX Runtime: killed, stopped, and its view of the model."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import psutil
import pytest

import targets
from targets import Artifact, Failure, MeasureConfig, Measurement
from targets.onnxruntime_process import pack, unpack
from targets.onnxruntime_target import OnnxRuntimeTarget
from targets.testing import QUICK, small_model

LONG = MeasureConfig(
    warmup_s=0.0, min_samples=200, max_samples=1_000_000, min_time_s=1.0, timeout_s=30
)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnnxRuntimeTarget]:
    cache_dir = tmp_path_factory.mktemp("cache")
    with targets.create("host-onnxruntime", cache_dir=cache_dir) as target:
        assert isinstance(target, OnnxRuntimeTarget)
        yield target


@pytest.fixture(scope="module")
def artifact(target: OnnxRuntimeTarget) -> Artifact:
    artifact = target.compile(small_model())
    assert isinstance(artifact, Artifact), artifact
    return artifact


@pytest.mark.parametrize(
    ("blow", "timeout_s"), [(signal.SIGKILL, 30.0), (signal.SIGSTOP, 5.0)], ids=["killed", "hung"]
)
def test_a_worker_lost_while_it_measures_is_replaced_and_the_measurement_retried(
    blow: signal.Signals, timeout_s: float, target: OnnxRuntimeTarget, artifact: Artifact
) -> None:
    assert isinstance(target.measure(artifact, QUICK, fresh=True), Measurement)
    before = target.process_ids["worker"]

    def strike() -> None:
        time.sleep(0.3)
        os.kill(before, blow)

    thread = threading.Thread(target=strike)
    thread.start()
    measurement = target.measure(artifact, replace(LONG, timeout_s=timeout_s), fresh=True)
    thread.join()
    assert isinstance(measurement, Measurement), measurement
    assert target.process_ids["worker"] != before
    assert not psutil.pid_exists(before)


def test_a_measurement_that_takes_too_long_twice_is_a_failure(
    target: OnnxRuntimeTarget, artifact: Artifact
) -> None:
    endless = replace(LONG, min_time_s=3600, max_samples=10**9, timeout_s=1.0)
    failure = target.measure(artifact, endless, fresh=True)
    assert isinstance(failure, Failure)
    assert failure.stage == "timeout"


def test_close_stops_the_worker(target: OnnxRuntimeTarget, artifact: Artifact) -> None:
    assert isinstance(target.measure(artifact, QUICK, fresh=True), Measurement)
    pid = target.process_ids["worker"]
    target.close()
    assert target.process_ids == {}
    assert not psutil.pid_exists(pid)


def test_flash_is_the_size_of_the_optimized_model(artifact: Artifact) -> None:
    assert artifact.flash_bytes == artifact.path.stat().st_size


def test_peak_ram_is_that_of_the_graph(target: OnnxRuntimeTarget, artifact: Artifact) -> None:
    # input 1 channel, features 8 (kept as output), hidden 24, depthwise 24, of 64 values each:
    # the largest sum of what lives at one time, while the depthwise convolution runs
    assert artifact.peak_ram_bytes == 4 * 64 * (1 + 8 + 24 + 24)


def test_arrays_survive_the_pipe() -> None:
    arrays = [np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros((0, 4), np.float32)]
    for original, received in zip(arrays, unpack(pack(arrays)), strict=True):
        np.testing.assert_array_equal(original, received)
