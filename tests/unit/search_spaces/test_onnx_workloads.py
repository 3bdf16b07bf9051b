"""Graphs made by hand with onnx.helper, so that no exporter stands between them and the reader."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import search_spaces
from search_spaces import UnknownOperatorError, Workload, workloads_from_onnx
from search_spaces.onnx_export import stage_models

SHAPE = (4, 8, 8)
CONV = helper.make_node("Conv", ["x", "w"], ["c"], name="my_conv")


def constant(name: str, *shape: int, dtype: type = np.float32) -> TensorProto:
    return numpy_helper.from_array(np.ones(shape, dtype), name)


WEIGHT = constant("w", 4, 4, 1, 1)


def graph(
    *nodes: onnx.NodeProto,
    output: Sequence[int] = (1, *SHAPE),
    constants: Sequence[TensorProto] = (WEIGHT,),
    input_shape: Sequence[int] = (1, *SHAPE),
    element: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """A graph from ``x`` to ``y``."""
    made = helper.make_graph(
        nodes,
        "by_hand",
        [helper.make_tensor_value_info("x", element, input_shape)],
        [helper.make_tensor_value_info("y", element, output)],
        constants,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("acme", 1)]
    return helper.make_model(made, opset_imports=opsets)


def test_a_convolution_takes_in_the_bias_and_the_activation_after_it() -> None:
    model = graph(
        CONV,
        helper.make_node("Add", ["c", "b"], ["d"]),
        helper.make_node("Relu", ["d"], ["y"]),
        constants=[WEIGHT, constant("b", 1, 4, 1, 1)],
    )
    assert workloads_from_onnx(model) == (Workload("conv2d", SHAPE, SHAPE, activation="relu"),)


def test_nodes_that_are_quantized_are_in_int8_with_what_is_fused_into_them() -> None:
    model = graph(
        CONV,
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Conv", ["d", "w"], ["y"], name="other"),
    )
    conv = Workload("conv2d", SHAPE, SHAPE)
    assert workloads_from_onnx(model, {"my_conv"}) == (
        replace(conv, activation="relu", dtype="int8"),
        conv,
    )


def test_kernel_and_stride_keep_height_before_width() -> None:
    node = helper.make_node(
        "Conv", ["x", "w"], ["y"], group=4, strides=[2, 1], pads=[2, 1, 2, 1], kernel_shape=[5, 3]
    )
    model = graph(node, output=(1, 4, 4, 8), constants=[constant("w", 4, 1, 5, 3)])
    expected = Workload("depthwise_conv2d", SHAPE, (4, 4, 8), (5, 3), (2, 1))
    assert workloads_from_onnx(model) == (expected,)


def test_pooling_flattening_and_a_product_with_bias_are_two_workloads() -> None:
    model = graph(
        helper.make_node("ReduceMean", ["x"], ["p"], axes=[-1, -2]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["m"]),
        helper.make_node("Add", ["m", "b"], ["y"]),
        output=(1, 3),
        constants=[constant("w", 4, 3), constant("b", 3)],
    )
    assert workloads_from_onnx(model) == (
        Workload("global_avg_pool", SHAPE, (4, 1, 1)),
        Workload("linear", (4,), (3,)),
    )


@pytest.mark.parametrize("domain", ["", "acme"])
def test_an_unknown_operator_raises_and_is_named(domain: str) -> None:
    op = "Softplus" if domain == "" else "SecretSauce"
    model = graph(CONV, helper.make_node(op, ["c"], ["y"], name="odd_one", domain=domain))
    with pytest.raises(UnknownOperatorError, match=rf"{op} \('odd_one'\)"):
        workloads_from_onnx(model)


UNDESCRIBED = {
    "grouped": (
        [helper.make_node("Conv", ["x", "w"], ["y"], group=2)],
        [constant("w", 4, 2, 1, 1)],
        "2 groups",
    ),
    "dilated": (
        [helper.make_node("Conv", ["x", "w"], ["y"], dilations=[2, 2], pads=[2, 2, 2, 2])],
        [constant("w", 4, 4, 3, 3)],
        "dilated",
    ),
    "computed weights": (
        [
            helper.make_node("Reshape", ["r", "s"], ["w"]),
            helper.make_node("Conv", ["x", "w"], ["y"]),
        ],
        [constant("r", 4, 4), numpy_helper.from_array(np.array([4, 4, 1, 1]), "s")],
        "constant weights",
    ),
    "second activation": (
        [CONV, helper.make_node("Relu", ["c"], ["r"]), helper.make_node("HardSwish", ["r"], ["y"])],
        [WEIGHT],
        "another activation",
    ),
    "activation first": ([helper.make_node("Relu", ["x"], ["y"])], [], "Relu"),
    "activation of a shared tensor": (
        [CONV, helper.make_node("Relu", ["c"], ["r"]), helper.make_node("Add", ["c", "r"], ["y"])],
        [WEIGHT],
        "used elsewhere",
    ),
    "bias after the activation": (
        [CONV, helper.make_node("Relu", ["c"], ["r"]), helper.make_node("Add", ["r", "b"], ["y"])],
        [WEIGHT, constant("b", 1, 4, 1, 1)],
        "bias",
    ),
    "a constant per pixel": (
        [CONV, helper.make_node("Add", ["c", "b"], ["y"])],
        [WEIGHT, constant("b", 1, 4, 8, 8)],
        "bias",
    ),
    "a bias along the width": (
        [CONV, helper.make_node("Add", ["c", "b"], ["y"])],
        [WEIGHT, constant("b", 8)],
        "bias",
    ),
    "a constant added to a sum": (
        [helper.make_node("Add", ["x", "x"], ["s"]), helper.make_node("Add", ["s", "b"], ["y"])],
        [constant("b", 1, 4, 1, 1)],
        "bias",
    ),
    "a steeper hard sigmoid": (
        [CONV, helper.make_node("HardSigmoid", ["c"], ["y"], alpha=0.2)],
        [WEIGHT],
        "attributes",
    ),
    "a shifted hard sigmoid": (
        [CONV, helper.make_node("HardSigmoid", ["c"], ["y"], alpha=1 / 6, beta=0.1)],
        [WEIGHT],
        "attributes",
    ),
    "a one-sided clip": (
        [
            helper.make_node("Constant", [], ["six"], value_float=6.0),
            CONV,
            helper.make_node("Clip", ["c", "", "six"], ["y"]),
        ],
        [WEIGHT],
        "attributes",
    ),
}


@pytest.mark.parametrize(("nodes", "constants", "why"), UNDESCRIBED.values(), ids=UNDESCRIBED)
def test_what_no_workload_describes_raises(
    nodes: list[onnx.NodeProto], constants: list[TensorProto], why: str
) -> None:
    with pytest.raises(UnknownOperatorError, match=why):
        workloads_from_onnx(graph(*nodes, constants=constants))


def test_a_mean_over_channels_too_raises() -> None:
    model = graph(
        helper.make_node("ReduceMean", ["x"], ["y"], axes=[1, 2, 3]),
        output=(1, 1, 1, 1),
        constants=[],
    )
    with pytest.raises(UnknownOperatorError, match="ReduceMean"):
        workloads_from_onnx(model)


def test_a_batch_of_two_raises() -> None:
    model = graph(CONV, input_shape=(2, *SHAPE), output=(2, *SHAPE))
    model.graph.node[0].output[0] = "y"
    with pytest.raises(UnknownOperatorError, match="batch 1"):
        workloads_from_onnx(model)


def test_a_mean_over_a_batch_of_two_raises() -> None:
    node = helper.make_node("ReduceMean", ["x"], ["y"], axes=[2, 3])
    model = graph(node, input_shape=(2, *SHAPE), output=(2, 4, 1, 1), constants=[])
    with pytest.raises(UnknownOperatorError, match="batch 1"):
        workloads_from_onnx(model)


def test_half_precision_is_not_passed_off_as_single() -> None:
    model = graph(
        helper.make_node("Conv", ["x", "w"], ["y"]),
        constants=[constant("w", 4, 4, 1, 1, dtype=np.float16)],
        element=TensorProto.FLOAT16,
    )
    with pytest.raises(UnknownOperatorError, match="FLOAT16"):
        workloads_from_onnx(model)


def test_constants_may_be_plain_numbers() -> None:
    model = graph(
        helper.make_node("Constant", [], ["low"], value_float=0.0),
        helper.make_node("Constant", [], ["high"], value_float=6.0),
        CONV,
        helper.make_node("Clip", ["c", "low", "high"], ["y"]),
    )
    assert [w.activation for w in workloads_from_onnx(model)] == ["relu6"]


def test_layers_of_equal_weights_are_read_although_the_exporter_lets_them_share() -> None:
    space = search_spaces.create(
        "depthwise_separable",
        input_shape=(1, 8, 8),
        n_classes=3,
        choices={"depth": [3], "expansion": [2]},
    )
    arch = space.sample(np.random.default_rng(0))
    network = space.build(arch)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(0.5)
    (model,) = stage_models(network, space.input_shape)
    assert "Identity" in {node.op_type for node in model.graph.node}
    assert workloads_from_onnx(model) == space.workloads(arch)
