import numpy as np
import onnx
import pytest

from targets.onnx_liveness import peak_activation_bytes
from targets.testing import GraphBuilder


def test_a_chain_of_convolutions_holds_input_and_output_of_the_largest() -> None:
    graph = GraphBuilder((1, 2, 4, 4))
    y = graph.conv(graph.conv(graph.conv("x", (2, 8)), (8, 16)), (16, 1))
    # the input stays: x 2, then 8 + 16 channels of 16 values, 4 bytes each
    assert peak_activation_bytes(graph.build(y)) == 4 * 16 * (2 + 8 + 16)


def test_a_residual_is_kept_until_it_is_added() -> None:
    graph = GraphBuilder((1, 2, 4, 4))
    trunk = graph.conv("x", (2, 8))
    branch = graph.conv(graph.conv(trunk, (8, 12)), (12, 8))
    y = graph.conv(graph.node("Add", trunk, branch), (8, 1))
    # x 2, trunk 8, hidden 12, branch 8; the sum is written over the trunk
    assert peak_activation_bytes(graph.build(y)) == 4 * 16 * (2 + 8 + 12 + 8)


def test_activations_are_computed_in_place_and_views_are_free() -> None:
    graph = GraphBuilder((1, 2, 4, 4))
    y = graph.node("Relu", graph.conv("x", (2, 8)))
    for _ in range(3):
        y = graph.clip(y, 0, 6)
    flat = graph.node("Flatten", y, axis=1)
    logits = graph.node("Gemm", flat, graph.weight(128, 3))
    assert peak_activation_bytes(graph.build(logits)) == 4 * (16 * 2 + 16 * 8 + 3)


def test_a_tensor_that_is_read_again_is_not_overwritten() -> None:
    graph = GraphBuilder((1, 2, 4, 4))
    hidden = graph.conv("x", (2, 8))
    relu = graph.node("Relu", hidden)
    y = graph.node("Mul", relu, hidden)
    # x, hidden, relu; the product is written over relu, and is an output of its own name
    assert peak_activation_bytes(graph.build(y)) == 4 * 16 * (2 + 8 + 8)


def test_constants_take_no_activation_memory() -> None:
    graph = GraphBuilder((1, 8))
    assert peak_activation_bytes(graph.build(graph.node("MatMul", "x", graph.weight(8, 5)))) == 52


def test_a_second_output_is_kept() -> None:
    graph = GraphBuilder((1, 2, 4, 4))
    features = graph.conv("x", (2, 8))
    logits = graph.classifier(features, 8, 10)
    assert peak_activation_bytes(graph.build(logits, features)) == 4 * (16 * 2 + 16 * 8 + 8 + 10)


def test_an_unknown_shape_is_refused_by_name() -> None:
    graph = GraphBuilder((1, 8))
    model = graph.build(graph.node("Relu", "x"))
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "n"
    del model.graph.value_info[:]
    model.graph.output[0].type.tensor_type.ClearField("shape")
    with pytest.raises(ValueError, match="tensor 'x'"):
        peak_activation_bytes(onnx.ModelProto.FromString(model.SerializeToString()))


def test_element_size_counts() -> None:
    graph = GraphBuilder((1, 8))
    wide = graph.node("Cast", "x", to=onnx.TensorProto.DOUBLE)
    y = graph.node("Cast", graph.node("Relu", wide), to=onnx.TensorProto.FLOAT)
    assert peak_activation_bytes(graph.build(y)) == 8 * 4 + 8 * np.dtype("f8").itemsize + 8 * 4


def test_between_quantized_operators_only_integers_count() -> None:
    graph = GraphBuilder((1, 2, 4, 4))
    scale, zero = graph.constant(np.float32(0.1)), graph.constant(np.int8(0))

    def quantized(x: str) -> str:
        return graph.node(
            "DequantizeLinear", graph.node("QuantizeLinear", x, scale, zero), scale, zero
        )

    y = quantized(graph.conv(quantized("x"), (2, 8)))
    y = quantized(graph.conv(y, (8, 16)))
    # the float input stays; 8 + 16 channels of 16 one-byte values are the largest pair,
    # then 16 channels become floats at the output
    assert peak_activation_bytes(graph.build(y)) == 16 * (4 * 2 + 16 + 4 * 16)
