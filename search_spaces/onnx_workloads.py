"""Read the workloads of an ONNX graph, as a compiler would fuse them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from search_spaces._types import Shape, Workload

_HARD_SIGMOID = (1 / 6, 0.5)  # slope and offset; ONNX's own default slope is 0.2
_TAKE_BIAS = {"conv2d", "depthwise_conv2d", "linear"}
# cost nothing: they change no data, or only its shape
_FREE = {"Flatten", "Reshape", "Squeeze", "Unsqueeze", "Identity", "Dropout", "Constant"}
_ACTIVATIONS = {"Relu", "Clip", "HardSwish", "HardSigmoid"}


class UnknownOperatorError(LookupError):
    """A graph holds an operator that no workload describes; the message names it."""


def workloads_from_onnx(
    model: onnx.ModelProto, int8_nodes: Collection[str] = ()
) -> tuple[Workload, ...]:
    """Return the fused operators of a graph in execution order.

    Convolutions and linear layers take in the bias that follows them, every
    operator the activation. Batch normalization must be folded already.

    Args:
        model: Static shapes, batch 1, float32.
        int8_nodes: Names of nodes that are computed in int8 once the graph is quantized.

    Raises:
        UnknownOperatorError: For an operator, an attribute, a shape or a data type that
            has no workload.
    """
    return _GraphReader(model, int8_nodes).read()


class _GraphReader:
    def __init__(self, model: onnx.ModelProto, int8_nodes: Collection[str]) -> None:
        self._int8_nodes = int8_nodes
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        graph = inferred.graph
        self._constants = {init.name: numpy_helper.to_array(init) for init in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant":
                self._constants[node.output[0]] = _constant(node)
            elif node.op_type == "Identity" and node.input[0] in self._constants:
                # exporters let equal weights share one tensor
                self._constants[node.output[0]] = self._constants[node.input[0]]
        self._types = {
            value.name: value.type.tensor_type
            for value in (*graph.input, *graph.value_info, *graph.output)
        }
        self._nodes = list(graph.node)
        self._readers: dict[str, int] = {}
        for node in self._nodes:
            for name in node.input:
                self._readers[name] = self._readers.get(name, 0) + 1
        self._outputs = {value.name for value in graph.output}

    def read(self) -> tuple[Workload, ...]:
        workloads: list[Workload] = []
        # where a tensor comes from: the workload that a following activation can join
        producer: dict[str, int] = {}
        for node in self._nodes:
            if node.op_type in _FREE:
                continue
            if node.op_type in _ACTIVATIONS:
                index = self._fusable(node, producer)
                if workloads[index].activation != "none":
                    raise self._unknown(node, "it follows another activation")
                workloads[index] = _with_activation(workloads[index], self._activation(node))
            elif node.op_type == "Add" and any(name in self._constants for name in node.input):
                index = self._fusable(node, producer)
                if not self._is_bias(node, workloads[index]):
                    raise self._unknown(node, "its constant is no bias of a layer")
            else:
                index = len(workloads)
                workload = self._workload(node)
                is_int8 = node.name in self._int8_nodes
                workloads.append(replace(workload, dtype="int8") if is_int8 else workload)
            producer[node.output[0]] = index
        return tuple(workloads)

    def _fusable(self, node: onnx.NodeProto, producer: Mapping[str, int]) -> int:
        for name in node.input:
            if name in producer:
                if self._readers[name] > 1 or name in self._outputs:
                    raise self._unknown(node, "its input is used elsewhere too")
                return producer[name]
        raise self._unknown(node, "it follows no operator that it could be fused into")

    def _workload(self, node: onnx.NodeProto) -> Workload:
        match node.op_type:
            case "Conv":
                return self._conv(node)
            case "Gemm" | "MatMul":
                return self._linear(node)
            case "GlobalAveragePool":
                shape = self._shape(node.input[0])
                return Workload("global_avg_pool", shape, (shape[0], 1, 1))
            case "ReduceMean":
                return self._mean(node)
            case "Add" | "Mul":
                return self._elementwise(node)
        raise self._unknown(node, "no workload describes it")

    def _conv(self, node: onnx.NodeProto) -> Workload:
        attributes = _attributes(node)
        weight = self._constants.get(node.input[1])
        if weight is None or weight.ndim != 4:
            raise self._unknown(node, "only 2-D convolutions with constant weights are known")
        kernel = (int(weight.shape[2]), int(weight.shape[3]))
        if any(d != 1 for d in attributes.get("dilations", ())):
            raise self._unknown(node, "dilated convolutions are not known")
        source, out = self._shape(node.input[0]), self._shape(node.output[0])
        groups = attributes.get("group", 1)
        stride = tuple(attributes.get("strides", (1, 1)))
        if groups == 1:
            op = "conv2d"
        elif groups == source[0] == out[0]:
            op = "depthwise_conv2d"
        else:
            raise self._unknown(node, f"convolutions of {groups} groups are not known")
        return Workload(op, source, out, kernel, (stride[0], stride[1]))

    def _linear(self, node: onnx.NodeProto) -> Workload:
        source, out = self._shape(node.input[0]), self._shape(node.output[0])
        if node.input[1] not in self._constants or len(source) != 1 or len(out) != 1:
            raise self._unknown(node, "only linear layers with constant weights are known")
        return Workload("linear", source, out)

    def _mean(self, node: onnx.NodeProto) -> Workload:
        shape = self._shape(node.input[0])
        axes = _attributes(node).get("axes")
        if axes is None and len(node.input) > 1 and node.input[1] in self._constants:
            axes = self._constants[node.input[1]].tolist()
        if len(shape) != 3 or {a % 4 for a in axes or ()} != {2, 3}:
            raise self._unknown(node, "only means over height and width are known")
        return Workload("global_avg_pool", shape, (shape[0], 1, 1))

    def _elementwise(self, node: onnx.NodeProto) -> Workload:
        if any(name in self._constants for name in node.input):
            raise self._unknown(node, "arithmetic with constants is not known")
        first, second = (self._shape(name) for name in node.input)
        out = self._shape(node.output[0])
        if node.op_type == "Add" and first == second:
            return Workload("add", first, out)
        gate = (out[0], 1, 1)
        if node.op_type == "Mul" and gate in (first, second):
            return Workload("scale", out, out)
        raise self._unknown(node, f"{node.op_type} of {first} and {second} is not known")

    def _is_bias(self, node: onnx.NodeProto, workload: Workload) -> bool:
        """Is one number added per output channel, before any activation?"""
        (bias,) = (self._constants[name] for name in node.input if name in self._constants)
        channels, *spatial = workload.output_shape
        return (
            workload.op in _TAKE_BIAS
            and workload.activation == "none"
            and bias.size == channels
            and bias.shape[-1 - len(spatial) :] == (channels, *(1 for _ in spatial))
        )

    def _activation(self, node: onnx.NodeProto) -> str:
        attributes = _attributes(node)
        match node.op_type:
            case "Relu":
                return "relu"
            case "HardSwish":
                return "hard_swish"
            case "HardSigmoid":
                line = (attributes.get("alpha", 0.2), attributes.get("beta", 0.5))
                if np.allclose(line, _HARD_SIGMOID):
                    return "hard_sigmoid"
            case "Clip":
                bounds = [float(self._constants[n]) for n in node.input[1:] if n in self._constants]
                if bounds == [0.0, 6.0]:
                    return "relu6"
        raise self._unknown(node, "with these attributes it is not known")

    def _shape(self, name: str) -> Shape:
        tensor = self._types.get(name)
        shape = tuple(d.dim_value for d in tensor.shape.dim) if tensor else ()
        if not tensor or not shape or shape[0] != 1 or 0 in shape:
            raise UnknownOperatorError(
                f"tensor {name!r} has shape {shape}; wanted static shapes with batch 1."
            )
        if tensor.elem_type != onnx.TensorProto.FLOAT:
            dtype = onnx.TensorProto.DataType.Name(tensor.elem_type)
            raise UnknownOperatorError(f"tensor {name!r} has type {dtype}; wanted FLOAT.")
        return shape[1:]

    @staticmethod
    def _unknown(node: onnx.NodeProto, why: str) -> UnknownOperatorError:
        name = node.name or node.output[0]
        return UnknownOperatorError(f"operator {node.op_type} ({name!r}): {why}.")


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def _constant(node: onnx.NodeProto) -> NDArray[Any]:
    (value,) = _attributes(node).values()
    is_tensor = isinstance(value, onnx.TensorProto)
    return numpy_helper.to_array(value) if is_tensor else np.asarray(value)


def _with_activation(workload: Workload, activation: str) -> Workload:
    return Workload(
        workload.op,
        workload.input_shape,
        workload.output_shape,
        workload.kernel,
        workload.stride,
        activation,
        workload.dtype,
    )
