"""Kernels are compiled once, for whichever network holds them."""

import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from targets.testing import GraphBuilder
from targets.tvm_build import build_library, fuse, tiling_for, tvm_target
from targets.tvm_kernels import KernelCache, kernels_of
from targets.tvm_schedule import tile_candidates

NATIVE = tvm_target({"mcpu": "native"}, threads=1)


def shallow(seed: int = 0) -> onnx.ModelProto:
    graph = GraphBuilder((1, 3, 12, 12), seed)
    return graph.build(graph.clip(graph.conv("x", (3, 16), (3, 3)), 0, 6))


def deep(seed: int = 0) -> onnx.ModelProto:
    graph = GraphBuilder((1, 3, 12, 12), seed)
    y = graph.clip(graph.conv("x", (3, 16), (3, 3)), 0, 6)
    return graph.build(graph.classifier(graph.conv(y, (16, 24)), 24, 10))


@pytest.fixture
def cache(tmp_path: Path) -> KernelCache:
    return KernelCache(tmp_path / "kernels", NATIVE, tiling_for(NATIVE))


def objects(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("kernels/*.o")}


def test_a_network_with_other_weights_has_the_same_kernels() -> None:
    assert set(kernels_of(fuse(deep(0)))) == set(kernels_of(fuse(deep(1))))


def test_another_network_compiles_only_what_is_new(cache: KernelCache, tmp_path: Path) -> None:
    build_library(fuse(shallow()), cache, tmp_path / "a.so")
    before = objects(tmp_path)
    build_library(fuse(deep()), cache, tmp_path / "b.so")
    after = objects(tmp_path)
    shared = set(kernels_of(fuse(shallow()))) & set(kernels_of(fuse(deep())))
    assert shared
    assert before.items() <= after.items()
    assert len(after) == len(before) + len(kernels_of(fuse(deep()))) - len(shared)


def test_a_kernel_has_the_same_name_in_every_process(tmp_path: Path) -> None:
    onnx.save(deep(), tmp_path / "model.onnx")
    script = (
        "import json, onnx, sys\n"
        "from targets.tvm_build import fuse\n"
        "from targets.tvm_kernels import kernels_of\n"
        "print(json.dumps(sorted(kernels_of(fuse(onnx.load(sys.argv[1]))))))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "model.onnx"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(result.stdout) == sorted(kernels_of(fuse(deep())))


@pytest.mark.parametrize("damage", [b"", b"\x7fELF and nothing else"])
def test_a_damaged_kernel_is_compiled_again(
    damage: bytes, cache: KernelCache, tmp_path: Path
) -> None:
    whole = build_library(fuse(shallow()), cache, tmp_path / "a.so").path.read_bytes()
    for path in tmp_path.glob("kernels/*.o"):
        path.write_bytes(damage)
    assert build_library(fuse(shallow()), cache, tmp_path / "a.so").path.read_bytes() == whole


def test_kernels_of_other_tiles_and_targets_are_kept_apart(
    cache: KernelCache, tmp_path: Path
) -> None:
    kernels = kernels_of(fuse(shallow()))
    name, function = next((n, f) for n, f in kernels.items() if "conv2d" in n)
    plain = cache.get(name, function)
    _, other_tile, *_ = tile_candidates(function, cache.tiling)
    assert cache.get(name, function, other_tile).path != plain.path
    baseline = tvm_target({"mcpu": "x86-64"}, threads=1)
    other = KernelCache(tmp_path / "kernels", baseline, tiling_for(baseline))
    assert other.get(name, function).path != plain.path
    assert cache.get(name, function) == plain


def test_a_cross_linker_that_is_missing_is_named(cache: KernelCache, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"no-such-linker.*not found: install it"):
        build_library(fuse(shallow()), cache, tmp_path / "a.so", linker="no-such-linker")
    assert not (tmp_path / "a.so").exists()
