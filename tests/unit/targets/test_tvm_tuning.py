"""The tuner, its database, and what targets make of them, on this computer's own server."""

import json
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

import targets
from targets import Artifact, Failure, Measurement, TunableTarget, load_spec
from targets.testing import QUICK, GraphBuilder, random_inputs, run_onnxruntime
from targets.tuning_database import TunedKernel, TuningDatabase
from targets.tvm_build import fuse, tiling_for, tvm_target
from targets.tvm_kernels import KernelCache
from targets.tvm_schedule import Tile, tile_candidates, tile_variants
from targets.tvm_target import TvmTarget
from targets.tvm_tuning import Kernel, Tuner, tunable_kernels

NATIVE = tvm_target({"mcpu": "native"}, threads=1)


def model(channels: int = 48) -> onnx.ModelProto:
    graph = GraphBuilder((1, 16, 12, 12))
    y = graph.clip(graph.conv("x", (16, channels)), 0, 6)
    y = graph.clip(graph.conv(y, (channels, channels), (3, 3), groups=channels), 0, 6)
    return graph.build(graph.classifier(y, channels, 10))


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TvmTarget]:
    with targets.create("host", cache_dir=tmp_path_factory.mktemp("cache")) as target:
        assert isinstance(target, TvmTarget)
        yield target


def cached_lines(target: TvmTarget) -> list[str]:
    return (target._cache.folder / "tuning.jsonl").read_text().splitlines()


@pytest.fixture(scope="module")
def tuned(target: TvmTarget) -> list[TunedKernel]:
    result = target.tune([model()], seconds=120)
    assert not isinstance(result, Failure), result
    return result


def test_every_tunable_kernel_is_tuned_on_the_device(
    target: TvmTarget, tuned: list[TunedKernel], tmp_path: Path
) -> None:
    assert isinstance(target, TunableTarget)
    cache = KernelCache(tmp_path, NATIVE, tiling_for(NATIVE))
    assert {t.kernel for t in tuned} == {k.name for k in tunable_kernels([fuse(model())], cache)}
    for kernel in tuned:
        assert kernel.n_wrong == 0
        assert kernel.n_candidates > 2
        assert kernel.default_s is not None
        assert kernel.latency_s is not None
        # the rules' own choice is kept unless another is faster
        assert 0 < kernel.latency_s <= kernel.default_s
        assert (kernel.latency_s < kernel.default_s) == (kernel.tile is not None)


def test_what_was_tuned_is_not_tuned_again(target: TvmTarget, tuned: list[TunedKernel]) -> None:
    before = cached_lines(target)
    assert target.tune([model()], seconds=120) == []
    assert cached_lines(target) == before


def test_another_process_finds_what_was_tuned_and_its_code_is_right(
    target: TvmTarget, tuned: list[TunedKernel]
) -> None:
    inputs = random_inputs(model(), 0)
    with targets.create("host", cache_dir=target._cache.folder) as other:
        assert isinstance(other, TvmTarget)
        assert other.tune([model()], seconds=120) == []
        assert other.fingerprint == target.fingerprint
        artifact = other.compile(model())
        assert isinstance(artifact, Artifact), artifact
        outputs = other.run(artifact, inputs)
        assert isinstance(other.measure(artifact, QUICK), Measurement)
    assert not isinstance(outputs, Failure), outputs
    (expected,) = run_onnxruntime(model(), inputs)
    np.testing.assert_allclose(outputs[0], expected, atol=2e-5 * np.abs(expected).max())


def test_a_server_that_is_killed_while_tuning_costs_one_kernel_and_no_result(
    tmp_path: Path,
) -> None:
    with targets.create("host", cache_dir=tmp_path) as target:
        assert isinstance(target, TvmTarget)
        killed: list[int] = []

        def kill_after_the_first(kernel: TunedKernel, done: int, total: int) -> None:
            if not killed:
                killed.append(target.process_ids["server"])
                os.killpg(killed[0], signal.SIGKILL)

        tuned = target.tune([model()], 120, kill_after_the_first)
        assert killed
        assert not isinstance(tuned, Failure), tuned
        cache = KernelCache(tmp_path, NATIVE, tiling_for(NATIVE))
        names = [kernel.name for kernel in tunable_kernels([fuse(model())], cache)]
        assert sorted(kernel.kernel for kernel in tuned) == sorted(names)
        assert len(cached_lines(target)) == len(names)


def test_a_tuned_tile_changes_the_artifact_and_the_fingerprint(tmp_path: Path) -> None:
    with targets.create("host", cache_dir=tmp_path) as target:
        before, fingerprint = target.compile(model()), target.fingerprint
    database = TuningDatabase(tmp_path, load_spec("host"))
    cache = KernelCache(tmp_path / "kernels", NATIVE, tiling_for(NATIVE))
    kernel, *_ = tunable_kernels([fuse(model())], cache)
    _, other, *_ = tile_candidates(kernel.function, cache.tiling)
    fields = {"pixels": other.pixels, "vectors": other.vectors, "lanes": other.lanes}
    database.add(TunedKernel(kernel.name, fields, 1e-6, 2e-6, 3, 0))
    with targets.create("host", cache_dir=tmp_path) as target:
        after = target.compile(model())
        assert target.fingerprint != fingerprint
    assert isinstance(before, Artifact)
    assert isinstance(after, Artifact)
    assert after.sha256 != before.sha256


def test_a_search_never_sees_tiles_that_came_after_its_start(tmp_path: Path) -> None:
    spec = load_spec("host")
    snapshot, other = TuningDatabase(tmp_path, spec), TuningDatabase(tmp_path, spec)
    other.add(TunedKernel("conv_0", {"pixels": 1, "vectors": 1, "lanes": 8}, 1e-6, 2e-6, 3, 0))
    assert snapshot.digest == ""
    assert "conv_0" not in snapshot
    assert TuningDatabase(tmp_path, spec).digest == other.digest != ""


def test_targets_of_other_code_do_not_share_tiles(tmp_path: Path) -> None:
    spec = load_spec("host")
    tuned = TunedKernel("conv_0", {"pixels": 1, "vectors": 1, "lanes": 8}, 1e-6, 2e-6, 3, 0)
    TuningDatabase(tmp_path, spec).add(tuned)
    narrower = spec.model_copy(update={"tvm_target": {"kind": "llvm", "mcpu": "x86-64"}})
    assert "conv_0" not in TuningDatabase(tmp_path, narrower)
    renamed = spec.model_copy(update={"name": "my-computer", "description": "the same CPU"})
    assert TuningDatabase(tmp_path, renamed)["conv_0"] == tuned


class LyingDevice:
    """Times candidates as told, and computes wrong numbers for some of them."""

    def __init__(self, seconds: dict[str, float], wrong: set[str]) -> None:
        self.seconds, self.wrong = seconds, wrong

    def load(self, library: bytes) -> None:
        assert library.startswith(b"\x7fELF")

    def call_kernel(
        self, name: str, inputs: Sequence[NDArray[np.float32]], output_shape: tuple[int, ...]
    ) -> NDArray[np.float32]:
        output = np.ones(output_shape, np.float32)
        if name in self.wrong:
            output.flat[0] = np.nan
        return output

    def time_kernel(
        self,
        name: str,
        inputs: Sequence[NDArray[np.float32]],
        output_shape: tuple[int, ...],
        number: int,
        repeat: int,
    ) -> tuple[float, ...]:
        return (self.seconds.get(name, 1e-6),) * repeat


def tune_with(device: LyingDevice, folder: Path) -> TunedKernel:
    cache = KernelCache(folder, NATIVE, tiling_for(NATIVE))

    @contextmanager
    def session() -> Iterator[LyingDevice]:
        yield device

    kernel = max(tunable_kernels([fuse(model())], cache), key=lambda k: "48" in k.name)
    (tuned,) = Tuner(cache, session, None).tune([kernel], TuningDatabase(folder, SPEC), 60)
    return tuned


SPEC = load_spec("host")


def test_a_fast_tile_that_computes_wrong_numbers_is_never_chosen(tmp_path: Path) -> None:
    tuned = tune_with(LyingDevice({"tile1": 1e-9}, wrong={"tile1"}), tmp_path)
    assert tuned.n_wrong > 0
    assert tuned.latency_s == 1e-6
    (line,) = (tmp_path / "tuning.jsonl").read_text().splitlines()
    assert json.loads(line)["tuned"]["n_wrong"] == tuned.n_wrong


def test_a_gain_within_the_noise_changes_nothing(tmp_path: Path) -> None:
    tuned = tune_with(LyingDevice({"tile1": 0.98e-6, "tile2": 0.98e-6}, wrong=set()), tmp_path)
    assert tuned.tile is None


def test_where_every_tile_is_wrong_nothing_is_claimed(tmp_path: Path) -> None:
    names = {f"tile{i}" for i in range(40)}
    tuned = tune_with(LyingDevice({}, wrong=names), tmp_path)
    assert tuned.tile is None
    assert tuned.latency_s is None
    assert tuned.default_s is None


def test_the_rules_own_tile_comes_first_and_no_candidate_twice(tmp_path: Path) -> None:
    cache = KernelCache(tmp_path, NATIVE, tiling_for(NATIVE))
    kernels: list[Kernel] = tunable_kernels([fuse(model())], cache)
    assert kernels
    for kernel in kernels:
        candidates = tile_candidates(kernel.function, cache.tiling)
        tiles: list[Tile] = [*candidates, *tile_variants(kernel.function, candidates[0])]
        assert len(set(tiles)) == len(tiles)
