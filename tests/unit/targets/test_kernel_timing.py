"""Kernels timed one by one on this computer's own server, and the database of their times."""

import os
import signal
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import pytest

import targets
from targets import Failure, KernelTarget, KernelTime, load_spec
from targets.kernel_calls import called_kernels
from targets.kernel_database import KernelDatabase
from targets.testing import GraphBuilder
from targets.tvm_build import fuse, tiling_for, tvm_target
from targets.tvm_kernel_timing import KernelTimer
from targets.tvm_kernels import KernelCache, kernels_of
from targets.tvm_schedule import tile_candidates
from targets.tvm_target import TvmTarget


def model(channels: int = 8, n_layers: int = 2) -> onnx.ModelProto:
    graph = GraphBuilder((1, 4, 6, 6))
    y = graph.clip(graph.conv("x", (4, channels)), 0, 6)
    for _ in range(n_layers):
        y = graph.clip(graph.conv(y, (channels, channels)), 0, 6)
    return graph.build(graph.classifier(y, channels, 10))


def refused() -> onnx.ModelProto:
    graph = GraphBuilder((1, 4, 6, 6))
    scale = graph.constant(np.float32(0.1))
    quantized = graph.node("QuantizeLinear", "x", scale)
    return graph.build(graph.node("DequantizeLinear", quantized, scale))


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TvmTarget]:
    with targets.create("host", cache_dir=tmp_path_factory.mktemp("cache")) as target:
        assert isinstance(target, TvmTarget)
        yield target


@pytest.fixture(scope="module")
def times(target: TvmTarget) -> tuple[KernelTime, ...]:
    (result,) = target.measure_kernels([model()])
    assert not isinstance(result, Failure), result
    return result


def lines(target: TvmTarget) -> list[str]:
    return (target._cache.folder / "kernels.jsonl").read_text().splitlines()


def test_each_kernel_is_timed_once_and_told_as_often_as_it_is_called(
    target: TvmTarget, times: tuple[KernelTime, ...]
) -> None:
    assert isinstance(target, KernelTarget)
    assert tuple(time.kernel for time in times) == called_kernels(fuse(model()))
    different = set(times)
    # the two equal layers are one kernel
    assert len(different) == len(times) - 1
    assert len(lines(target)) == len(different)
    for time in different:
        assert time.provenance == "measured"
        assert min(time.samples_s) > 0
        assert time.relative_spread >= 0


def test_what_was_timed_is_looked_up_and_another_network_adds_what_is_new(
    target: TvmTarget, times: tuple[KernelTime, ...]
) -> None:
    before = lines(target)
    longer = model(n_layers=4)
    again, other = target.measure_kernels([model(), longer])
    assert again == times
    assert not isinstance(other, Failure)
    assert set(other) == set(times)
    assert lines(target) == before
    with targets.create("host", cache_dir=target._cache.folder) as process:
        assert isinstance(process, TvmTarget)
        assert process.measure_kernels([model()]) == [times]
    (wider,) = target.measure_kernels([model(channels=12)])
    assert not isinstance(wider, Failure)
    new = {time.kernel for time in wider} - {time.kernel for time in times}
    assert len(lines(target)) == len(before) + len(new)


def test_a_network_that_tvm_refuses_is_a_failure_and_costs_no_other(
    target: TvmTarget, times: tuple[KernelTime, ...]
) -> None:
    failure, found = target.measure_kernels([refused(), model()])
    assert isinstance(failure, Failure)
    assert failure.stage == "compile"
    assert found == times


def test_a_server_that_is_killed_is_started_again(
    target: TvmTarget, times: tuple[KernelTime, ...]
) -> None:
    os.killpg(target.process_ids["server"], signal.SIGKILL)
    (result,) = target.measure_kernels([model(channels=20)])
    assert not isinstance(result, Failure), result


def test_kernels_of_a_gpu_are_not_timed_one_by_one(tmp_path: Path) -> None:
    gpu = tvm_target({"kind": "opencl"}, threads=1)
    timer = KernelTimer(
        KernelCache(tmp_path, gpu, tiling_for(tvm_target({"mcpu": "native"}, threads=1))),
        lambda: pytest.fail("a session was opened"),
        None,
        "measured",
    )
    with pytest.raises(RuntimeError, match="on CPUs only, not on opencl"):
        timer.time({}, {}, KernelDatabase(tmp_path, load_spec("host")))


def test_a_time_holds_for_its_kernel_tile_and_target_alone(tmp_path: Path) -> None:
    spec = load_spec("host")
    time = KernelTime("conv2d_1", (1.0, 2.0), "measured")
    native = tvm_target({"mcpu": "native"}, threads=1)
    (function, *_) = kernels_of(fuse(model())).values()
    tile = asdict(tile_candidates(function, tiling_for(native))[0])
    KernelDatabase(tmp_path, spec).add(time, tile)
    assert KernelDatabase(tmp_path, spec)["conv2d_1", tile] == time
    assert ("conv2d_1", None) not in KernelDatabase(tmp_path, spec)
    assert ("conv2d_2", tile) not in KernelDatabase(tmp_path, spec)
    slower = spec.model_copy(update={"clock_khz": 600_000})
    assert len(KernelDatabase(tmp_path, slower)) == 0
    described = spec.model_copy(update={"description": "another text"})
    assert len(KernelDatabase(tmp_path, described)) == 1


def test_the_last_time_of_a_kernel_counts(tmp_path: Path) -> None:
    spec = load_spec("host")
    time = KernelTime("conv2d_1", (1.0,), "measured")
    database = KernelDatabase(tmp_path, spec)
    database.add(time, None)
    database.add(replace(time, samples_s=(2.0,)), None)
    assert KernelDatabase(tmp_path, spec)["conv2d_1", None].latency_s == 2.0


def test_spread_is_the_standard_error_of_the_median() -> None:
    time = KernelTime("conv2d_1", (1.0, 2.0, 3.0, 4.0, 100.0), "measured")
    assert time.latency_s == 3.0
    # deviations from the median 3: 2 1 0 1 97, their median 1
    assert time.relative_spread == pytest.approx(1.4826 * np.sqrt(np.pi / 10) / 3)
