"""ONNX graphs as LiteRT models: both runtimes compute the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from hwnas.errors import UserError
from hwnas.litert_graph import channels_first, channels_last, litert_model

Array = NDArray[Any]


def graph(
    nodes: list[onnx.NodeProto],
    shape: tuple[int, ...],
    constants: Mapping[str, Array] | None = None,
    outputs: tuple[str, ...] = ("logits",),
) -> onnx.ModelProto:
    """Return a model that reads ``input``; shapes of its outputs are inferred."""
    value = helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, shape)
    free = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs]
    held = [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    made = helper.make_graph(nodes, "graph", [value], free, held)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)


def random(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def operators(content: bytes) -> list[str]:
    """Return the operators of a LiteRT model, by the runtime."""
    interpreter = Interpreter(
        model_content=content,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    return [details["op_name"] for details in interpreter._get_ops_details()]


def assert_same(model: onnx.ModelProto, x: Array) -> list[str]:
    """Run a model in both runtimes; return the operators of the LiteRT one."""
    content = litert_model(model)
    wanted = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"input": x})
    interpreter = Interpreter(
        model_content=content,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    got = interpreter.get_signature_runner("serving_default")(input=channels_last(x))
    for value, expected in zip(model.graph.output, wanted, strict=True):
        # sums of up to a few hundred float32 products of about 1, in another order
        np.testing.assert_allclose(channels_first(got[value.name]), expected, atol=1e-4)
    return operators(content)


@given(
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.sampled_from([1, 2]),
    size=st.tuples(st.integers(5, 9), st.integers(5, 9)),
    pad=st.integers(0, 2),
    depthwise=st.booleans(),
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_convolutions_of_all_sizes_strides_and_paddings_compute_what_onnx_does(
    kernel: int, stride: int, size: tuple[int, int], pad: int, depthwise: bool
) -> None:
    weights = random(4, 1, kernel, kernel) if depthwise else random(3, 4, kernel, kernel)
    node = helper.make_node(
        "Conv",
        ["input", "weights", "bias"],
        ["logits"],
        strides=[stride, stride],
        pads=[pad] * 4,
        group=4 if depthwise else 1,
    )
    constants = {"weights": weights, "bias": random(len(weights))}
    assert_same(graph([node], (1, 4, *size), constants), random(1, 4, *size, seed=1))


@pytest.mark.parametrize("stride", [1, 2])
def test_sensor_windows_are_images_one_pixel_high(stride: int) -> None:
    node = helper.make_node(
        "Conv", ["input", "w"], ["logits"], strides=[1, stride], pads=[0, 2, 0, 2]
    )
    model = graph([node], (1, 3, 1, 20), {"w": random(4, 3, 1, 5)})
    assert_same(model, random(1, 3, 1, 20, seed=1))


def test_a_padding_that_litert_has_itself_takes_no_operator_of_its_own() -> None:
    def convolution(stride: int) -> onnx.ModelProto:
        node = helper.make_node(
            "Conv", ["input", "w"], ["logits"], strides=[stride, stride], pads=[1, 1, 1, 1]
        )
        return graph([node], (1, 2, 8, 8), {"w": random(3, 2, 3, 3)})

    x = random(1, 2, 8, 8)
    assert assert_same(convolution(1), x) == ["CONV_2D"]
    # at stride 2 LiteRT would pad 8 pixels at the end alone
    assert assert_same(convolution(2), x) == ["PAD", "CONV_2D"]


@pytest.mark.parametrize("activation", ["Relu", "Clip", "HardSwish", "HardSigmoid"])
def test_activations_compute_what_onnx_does(activation: str) -> None:
    attributes = {"alpha": 1 / 6, "beta": 0.5} if activation == "HardSigmoid" else {}
    bounds = ["zero", "six"] if activation == "Clip" else []
    node = helper.make_node(activation, ["input", *bounds], ["logits"], **attributes)
    constants = {"zero": np.float32(0), "six": np.float32(6)} if bounds else {}
    model = graph([node], (1, 3, 4, 5), constants)
    assert_same(model, 4 * random(1, 3, 4, 5))


def test_an_activation_is_fused_only_where_nothing_else_reads_what_is_before_it() -> None:
    convolution = helper.make_node("Conv", ["input", "w"], ["c"])
    relu = helper.make_node("Relu", ["c"], ["r"])
    constants = {"w": random(3, 2, 1, 1)}
    pool = helper.make_node("GlobalAveragePool", ["r"], ["logits"])
    alone = graph([convolution, relu, pool], (1, 2, 4, 4), constants)
    x = random(1, 2, 4, 4, seed=3)
    assert assert_same(alone, x) == ["CONV_2D", "MEAN"]
    both = helper.make_node("Add", ["c", "r"], ["sum"])
    mean = helper.make_node("GlobalAveragePool", ["sum"], ["logits"])
    shared = graph([convolution, relu, both, mean], (1, 2, 4, 4), constants)
    assert assert_same(shared, x) == ["CONV_2D", "RELU", "ADD", "MEAN"]
    seen = graph([convolution, relu], (1, 2, 4, 4), constants, ("c", "r"))
    assert assert_same(seen, x) == ["CONV_2D", "RELU"]


@pytest.mark.parametrize("shape", [(1, 3, 2, 5), (1, 6, 1, 1), (1, 1, 4, 2), (1, 7)])
def test_images_are_flattened_channels_first_as_onnx_does(shape: tuple[int, ...]) -> None:
    flat = int(np.prod(shape))
    nodes = [
        helper.make_node("Flatten", ["input"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["logits"], transB=1),
    ]
    model = graph(nodes, shape, {"w": random(4, flat), "b": random(4)})
    assert_same(model, random(*shape, seed=2))


def test_a_gate_of_one_value_per_channel_scales_its_channel() -> None:
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["means"]),
        helper.make_node("Conv", ["means", "w"], ["gate"]),
        helper.make_node("Mul", ["input", "gate"], ["logits"]),
    ]
    model = graph(nodes, (1, 3, 4, 5), {"w": random(3, 3, 1, 1)})
    assert_same(model, random(1, 3, 4, 5, seed=4))


def test_equal_graphs_give_equal_bytes() -> None:
    node = helper.make_node("Conv", ["input", "w"], ["logits"])
    models = [graph([node], (1, 2, 4, 4), {"w": random(3, 2, 3, 3)}) for _ in range(2)]
    assert litert_model(models[0]) == litert_model(models[1])


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (helper.make_node("Erf", ["input"], ["logits"], name="gelu"), r"operator Erf \(gelu\) is"),
        (
            helper.make_node("Conv", ["input", "w"], ["logits"], name="c", dilations=[2, 2]),
            r"operator Conv \(c\) is dilated",
        ),
        (
            helper.make_node("Conv", ["input", "grouped"], ["logits"], name="c", group=2),
            r"operator Conv \(c\) has 2 groups; wanted 1 or one per channel",
        ),
        (
            helper.make_node("Clip", ["input", "", "bound"], ["logits"], name="c"),
            r"operator Clip \(c\) clips to other bounds than 0 and 6",
        ),
        (
            helper.make_node("HardSigmoid", ["input"], ["logits"], name="h"),
            r"operator HardSigmoid \(h\) is 0.2 x \+ 0.5; wanted x / 6 \+ 0.5",
        ),
        (
            helper.make_node("Add", ["input", "bound"], ["logits"], name="a"),
            r"operator Add \(a\) joins a tensor with a constant",
        ),
        (
            helper.make_node("Conv", ["input", "input"], ["logits"], name="c"),
            r"operator Conv \(c\) reads input, which is not a constant",
        ),
    ],
    ids=["unknown", "dilated", "grouped", "bounds", "slope", "constant", "weights"],
)
def test_what_cannot_be_converted_is_refused_by_name(node: onnx.NodeProto, message: str) -> None:
    constants = {
        "w": random(3, 4, 3, 3),
        "grouped": random(4, 2, 3, 3),
        "bound": np.float32(1),
    }
    model = graph([], (1, 4, 7, 7), constants)
    model.graph.node.append(node)
    with pytest.raises(UserError, match=message):
        litert_model(model)
