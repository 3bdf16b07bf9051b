"""Every kernel the schedule rules make computes what ONNX Runtime computes."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tvm
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tvm import relax

from targets.parity import random_inputs
from targets.testing import GraphBuilder, run_onnxruntime
from targets.tvm_build import Library, build_library, fuse, link, tiling_for, tvm_target
from targets.tvm_kernels import KernelCache, kernels_of, object_code
from targets.tvm_schedule import schedule_kernel, tile_candidates, tile_variants

NATIVE = tvm_target({"mcpu": "native"}, threads=1)
# float32 sums of up to a few hundred terms in another order: 1e-6 of the scale at most
TOLERANCE = 2e-5
SLOW = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
odd_channels = st.sampled_from([1, 2, 3, 7, 8, 14, 16, 17, 22, 24, 33, 38, 48, 64])


def build(model: onnx.ModelProto, target: Any, path: Path) -> Library:
    kernels = KernelCache(path.parent / "kernels", target, tiling_for(target))
    return build_library(fuse(model), kernels, path)


def check(model: onnx.ModelProto, folder: Path, target=NATIVE) -> tuple[str, ...]:
    """Compile, run, compare with ONNX Runtime; return the names of unscheduled kernels."""
    # a library is loaded once for each path: every model needs its own
    path = folder / f"{abs(hash(model.SerializeToString()))}.so"
    library = build(model, target, path)
    machine = relax.VirtualMachine(tvm.runtime.load_module(str(path)), tvm.cpu())
    inputs = random_inputs(model, seed=3)
    got = machine["main"](*(tvm.runtime.tensor(x) for x in inputs))
    outputs = [got] if hasattr(got, "numpy") else list(got)
    for output, wanted in zip(outputs, run_onnxruntime(model, inputs), strict=True):
        scale = max(1.0, float(np.abs(wanted).max()))
        np.testing.assert_allclose(output.numpy(), wanted, rtol=0, atol=TOLERANCE * scale)
    return library.unscheduled


@SLOW
@given(
    channels=st.tuples(odd_channels, odd_channels),
    kernel=st.tuples(st.sampled_from([1, 3, 5]), st.sampled_from([1, 3, 4, 7])),
    stride=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    size=st.tuples(st.integers(1, 13), st.integers(4, 25)),
    activation=st.sampled_from(["none", "relu6", "HardSwish", "HardSigmoid", "residual"]),
)
def test_dense_convolutions_with_fused_epilogues(
    channels, kernel, stride, size, activation, tmp_path
):
    graph = GraphBuilder((1, channels[0], *size))
    y = graph.conv("x", channels, kernel, stride)
    if activation == "relu6":
        y = graph.clip(y, 0, 6)
    elif activation == "residual":
        y = graph.node("Add", y, y)
    elif activation != "none":
        y = graph.node(activation, y)
    assert check(graph.build(y), tmp_path) == ()


@SLOW
@given(
    channels=odd_channels,
    kernel=st.tuples(st.sampled_from([1, 3, 5, 7]), st.sampled_from([3, 5, 7])),
    stride=st.integers(1, 2),
    size=st.tuples(st.integers(1, 13), st.integers(3, 25)),
)
def test_depthwise_convolutions(channels, kernel, stride, size, tmp_path):
    graph = GraphBuilder((1, channels, *size))
    y = graph.conv("x", (channels, channels), kernel, (stride, stride), groups=channels)
    assert check(graph.build(graph.clip(y, 0, 6)), tmp_path) == ()


@SLOW
@given(
    channels=st.tuples(odd_channels, odd_channels),
    size=st.tuples(st.integers(1, 25), st.integers(1, 25)),
)
def test_pointwise_convolutions_of_any_size(channels, size, tmp_path):
    graph = GraphBuilder((1, channels[0], *size))
    assert check(graph.build(graph.conv("x", channels)), tmp_path) == ()


@pytest.mark.parametrize("width", [7, 12, 13, 20])
def test_rows_that_no_tile_divides_are_not_computed_wrongly(width, tmp_path):
    # a tile of 8 pixels over rows of 12 once gave silently wrong sums
    graph = GraphBuilder((1, 16, width, width))
    y = graph.node("HardSwish", graph.conv(graph.conv("x", (16, 32)), (32, 24), (3, 3)))
    assert check(graph.build(y), tmp_path) == ()


def other_graphs() -> dict[str, onnx.ModelProto]:
    graphs = {}
    g = GraphBuilder((1, 12, 9, 9))
    graphs["grouped convolution"] = g.build(g.conv("x", (12, 18), (3, 3), groups=3))
    g = GraphBuilder((1, 6, 9, 9))
    graphs["depth multiplier 2"] = g.build(g.conv("x", (6, 12), (3, 3), groups=6))
    g = GraphBuilder((1, 8, 12, 12))
    graphs["max pool"] = g.build(g.node("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2]))
    g = GraphBuilder((1, 8, 12, 12))
    graphs["average pool"] = g.build(g.node("AveragePool", "x", kernel_shape=[2, 2]))
    g = GraphBuilder((1, 20))
    graphs["softmax"] = g.build(g.node("Softmax", g.node("Gemm", "x", g.weight(20, 10))))
    g = GraphBuilder((1, 8, 6, 6))
    halves = g.conv("x", (8, 5)), g.conv("x", (8, 7))
    graphs["concat"] = g.build(g.conv(g.node("Concat", *halves, axis=1), (12, 4)))
    g = GraphBuilder((1, 8, 6, 10))
    graphs["transpose"] = g.build(g.node("Transpose", "x", perm=[0, 2, 3, 1]))
    g = GraphBuilder((1, 8, 30))
    y = g.node("Conv", "x", g.weight(12, 8, 3), kernel_shape=[3], pads=[1, 1])
    graphs["one-dimensional convolution"] = g.build(g.node("Relu", y))
    g = GraphBuilder((1, 8, 6, 6))
    graphs["clip from -1 to 2"] = g.build(g.clip(g.conv("x", (8, 8)), -1, 2))
    g = GraphBuilder((1, 1, 49, 10))
    graphs["asymmetric padding"] = g.build(g.conv("x", (1, 16), (10, 4), (2, 2), pads=(4, 1, 5, 2)))
    g = GraphBuilder((1, 8, 5, 5))
    graphs["sigmoid gate"] = g.build(g.node("Mul", "x", g.node("Sigmoid", "x")))
    g = GraphBuilder((2, 8, 5, 5))
    graphs["batch of 2"] = g.build(g.classifier(g.conv("x", (8, 16), (3, 3)), 16, 10))
    return graphs


@pytest.mark.parametrize("name", other_graphs())
def test_other_operators_are_right_whether_a_rule_fits_or_not(name, tmp_path):
    check(other_graphs()[name], tmp_path)


@pytest.mark.parametrize(
    "cpu", ["x86-64", "haswell", "native"], ids=["sse, 4 lanes", "avx2, 8 lanes", "this cpu"]
)
def test_code_for_older_vector_units_is_right(cpu, tmp_path):
    if cpu == "haswell" and not tvm.target.codegen.target_has_features("avx2", NATIVE):
        pytest.skip("this CPU has no AVX2")
    graph = GraphBuilder((1, 3, 10, 10))
    y = graph.clip(graph.conv("x", (3, 24), (3, 3)), 0, 6)
    y = graph.clip(graph.conv(y, (24, 24), (5, 5), (2, 2), groups=24), 0, 6)
    model = graph.build(graph.classifier(graph.conv(y, (24, 40)), 40, 10))
    assert check(model, tmp_path, tvm_target({"mcpu": cpu}, threads=1)) == ()


def test_a_kernel_that_no_rule_fits_stays_as_it_is_and_is_named(tmp_path):
    graph = GraphBuilder((1, 20))
    model = graph.build(graph.node("Softmax", "x"))
    (name,) = check(model, tmp_path)
    assert "softmax" in name


def test_scheduling_changes_no_signature():
    graph = GraphBuilder((1, 8, 6, 6))
    fused = fuse(graph.build(graph.conv("x", (8, 16), (3, 3))))
    for function in kernels_of(fused).values():
        scheduled = schedule_kernel(function, tiling_for(NATIVE))
        assert [str(p.ty) for p in function.params] == [str(p.ty) for p in scheduled.params]


@settings(SLOW, max_examples=12)
@given(
    channels=st.tuples(odd_channels, odd_channels),
    kernel=st.sampled_from([(1, 1), (3, 3), (5, 3)]),
    stride=st.integers(1, 2),
    size=st.tuples(st.integers(1, 13), st.integers(3, 25)),
    depthwise=st.booleans(),
)
def test_every_tile_the_tuner_may_try_is_right(channels, kernel, stride, size, depthwise, tmp_path):
    n_in, n_out = (channels[0], channels[0]) if depthwise else channels
    graph = GraphBuilder((1, n_in, *size))
    y = graph.conv("x", (n_in, n_out), kernel, (stride, stride), groups=n_in if depthwise else 1)
    module = fuse(graph.build(graph.clip(y, 0, 6)))
    tiling = tiling_for(NATIVE)
    for name, function in kernels_of(module).items():
        candidates = tile_candidates(function, tiling)
        tiles = {t for c in candidates for t in (c, *tile_variants(function, c))}
        variants = {
            f"tile{i}": schedule_kernel(function, tiling, tile) for i, tile in enumerate(tiles)
        }
        folder = tmp_path / str(abs(hash((name, channels, kernel, stride, size, depthwise))))
        folder.mkdir(exist_ok=True)
        (folder / "kernels.o").write_bytes(object_code({name: function, **variants}, NATIVE))
        link(folder / "kernels.so", [folder / "kernels.o"], None)
        library = tvm.runtime.load_module(str(folder / "kernels.so"))
        outputs = {symbol: call(library[symbol], function) for symbol in (name, *variants)}
        scale = max(1.0, float(np.abs(outputs[name]).max()))
        for symbol in variants:
            np.testing.assert_allclose(
                outputs[symbol], outputs[name], rtol=0, atol=TOLERANCE * scale
            )


def call(kernel: Any, function: Any) -> np.ndarray:
    rng = np.random.default_rng(0)
    shapes = [tuple(int(extent) for extent in p.shape) for p in function.params]
    tensors = [tvm.runtime.tensor(rng.standard_normal(s, dtype=np.float32)) for s in shapes]
    kernel(*tensors)
    return tensors[-1].numpy()


def test_code_for_two_cores_is_right(tmp_path):
    graph = GraphBuilder((1, 3, 40, 40))
    y = graph.clip(graph.conv("x", (3, 48), (3, 3)), 0, 6)
    y = graph.clip(graph.conv(y, (48, 48), (3, 3), groups=48), 0, 6)
    model = graph.build(graph.classifier(graph.conv(y, (48, 40)), 40, 10))
    two_cores = tvm_target({"mcpu": "native"}, threads=2)
    assert tiling_for(two_cores).cores == 2
    assert check(model, tmp_path, two_cores) == ()
