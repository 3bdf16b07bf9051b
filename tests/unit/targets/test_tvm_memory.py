from pathlib import Path
from typing import Any

import onnx
import pytest

from targets.testing import GraphBuilder, small_model
from targets.tvm_build import Library, build_library, fuse, tiling_for, tvm_target
from targets.tvm_kernels import KernelCache

NATIVE = tvm_target({"mcpu": "native"}, threads=1)


def build(model: onnx.ModelProto, target: Any, path: Path) -> Library:
    kernels = KernelCache(path.parent / "kernels", target, tiling_for(target))
    return build_library(fuse(model), kernels, path)


def peak(model: onnx.ModelProto, folder: Path) -> int:
    return build(model, NATIVE, folder / "model.so").peak_ram_bytes


def test_one_kernel_needs_its_input_and_output_only(tmp_path: Path) -> None:
    graph = GraphBuilder((1, 8))
    model = graph.build(graph.node("Gemm", "x", graph.weight(8, 5)))
    assert peak(model, tmp_path) == 4 * (8 + 5)


def test_an_intermediate_is_added(tmp_path: Path) -> None:
    graph = GraphBuilder((1, 8))
    hidden = graph.node("Relu", graph.node("Gemm", "x", graph.weight(8, 32)))
    model = graph.build(graph.node("Gemm", hidden, graph.weight(32, 5)))
    assert peak(model, tmp_path) == 4 * (8 + 32 + 5)


def test_intermediates_that_do_not_meet_share_memory(tmp_path: Path) -> None:
    graph = GraphBuilder((1, 32))
    y = "x"
    for _ in range(6):
        y = graph.node("Relu", graph.node("Gemm", y, graph.weight(32, 32)))
    # input, output, and two storages used in turn
    assert peak(graph.build(y), tmp_path) == 4 * 32 * 4


def test_a_padded_copy_inside_a_kernel_is_counted(tmp_path: Path) -> None:
    graph = GraphBuilder((1, 1, 8, 8))
    model = graph.build(graph.conv("x", (1, 1), (3, 3)))
    # input, input with a border of one, the result, its copy in the layout of the output
    assert peak(model, tmp_path) == 4 * (64 + 100 + 64 + 64)


@pytest.mark.parametrize("seed", [0, 1])
def test_flash_holds_code_and_constants_but_no_more_than_the_file(
    seed: int, tmp_path: Path
) -> None:
    model = small_model(seed)
    library = build(model, NATIVE, tmp_path / "model.so")
    n_bytes = sum(len(constant.raw_data) for constant in model.graph.initializer)
    assert n_bytes < library.flash_bytes < library.path.stat().st_size
