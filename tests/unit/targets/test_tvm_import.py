"""The imported graph has the form that fuses into one kernel for each layer."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
import tvm
from tvm import ir, relax

from targets.testing import GraphBuilder, small_model, unknown_operator_model
from targets.tvm_build import fuse, tvm_target
from targets.tvm_import import ImportFailedError, import_onnx


def operators(module: tvm.IRModule) -> list[str]:
    found: list[str] = []

    def visit(expression: relax.Expr) -> None:
        if isinstance(expression, relax.Call) and isinstance(expression.op, ir.Op):
            found.append(expression.op.name.removeprefix("relax."))

    relax.analysis.post_order_visit(module["main"], visit)
    return found


def n_kernel_calls(model: onnx.ModelProto) -> int:
    with tvm_target({"mcpu": "native"}, threads=1):
        return operators(fuse(model)).count("call_tir")


ACTIVATIONS: dict[str, Callable[[GraphBuilder, str], str]] = {
    "relu6": lambda g, y: g.clip(y, 0, 6),
    "clip": lambda g, y: g.clip(y, -1, 2),
    "relu": lambda g, y: g.node("Relu", y),
    "hard swish": lambda g, y: g.node("HardSwish", y),
    "hard sigmoid": lambda g, y: g.node("HardSigmoid", y, alpha=1 / 6, beta=0.5),
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_an_activation_fuses_into_the_convolution_before_it(activation: str) -> None:
    graph = GraphBuilder((1, 1, 8, 8))
    y = ACTIVATIONS[activation](graph, graph.conv("x", (1, 8), (3, 3)))
    y = ACTIVATIONS[activation](graph, graph.conv(y, (8, 8), (3, 3), groups=8))
    # two kernels, and one that brings the output back to channels-first
    assert n_kernel_calls(graph.build(y)) == 3


def test_a_residual_block_is_one_kernel_for_each_convolution() -> None:
    graph = GraphBuilder((1, 1, 8, 8))
    trunk = graph.conv("x", (1, 8), (3, 3))
    hidden = graph.clip(graph.conv(trunk, (8, 24)), 0, 6)
    y = graph.node("Add", trunk, graph.conv(hidden, (24, 8)))
    model = graph.build(graph.classifier(y, 8, 10))
    # three convolutions, global pooling, linear
    assert n_kernel_calls(model) == 5


def test_no_constant_is_transposed_or_reshaped_at_run_time() -> None:
    graph = GraphBuilder((1, 3, 8, 8))
    y = graph.clip(graph.conv("x", (3, 8), (3, 3)), 0, 6)
    module = import_onnx(graph.build(graph.classifier(y, 8, 10)))
    # the input's layout, and flattening after pooling: pooled values do not move
    assert operators(module).count("permute_dims") == 1
    assert "isnan" not in operators(module)
    assert "where" not in operators(module)


def test_moving_axes_of_length_one_is_a_reshape() -> None:
    graph = GraphBuilder((1, 1, 8, 8))
    module = import_onnx(graph.build(graph.classifier(graph.conv("x", (1, 8)), 8, 10)))
    assert "permute_dims" not in operators(module)


def test_inputs_and_outputs_keep_the_layout_of_the_onnx_model() -> None:
    main = import_onnx(small_model())["main"]
    assert [int(n) for n in main.params[0].ty.shape] == [1, 1, 8, 8]
    logits, features = main.ret_ty.fields
    assert [int(n) for n in logits.shape] == [1, 10]
    assert [int(n) for n in features.shape] == [1, 8, 8, 8]


def test_constant_arithmetic_is_folded_with_the_right_numbers() -> None:
    graph = GraphBuilder((1, 4))
    a, b = (graph.constant(np.arange(4, dtype=np.float32) + k) for k in (1, 2))
    folded = graph.node("Div", graph.node("Mul", a, b), graph.node("Sub", b, a))
    module = import_onnx(graph.build(graph.node("Add", "x", folded)))
    assert operators(module) == ["add"]
    constants: list[np.ndarray] = []

    def visit(expression: relax.Expr) -> None:
        if isinstance(expression, ir.GenericConst):
            constants.append(expression.value.numpy())

    relax.analysis.post_order_visit(module["main"], visit)
    np.testing.assert_array_equal(constants[0], [1 * 2, 2 * 3, 3 * 4, 4 * 5])


def test_an_unknown_operator_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ImportFailedError, match="NoSuchOperator"):
        import_onnx(unknown_operator_model())
    assert capsys.readouterr().out == ""
