"""Peak activation memory of an ONNX graph, from shapes and order of execution."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import onnx

# outputs share the memory of the first input: a view of it
_VIEWS = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"}
# outputs overwrite the first input if nothing reads it later
_IN_PLACE = {
    "Add", "Mul", "Sub", "Div", "Relu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh",
    "LeakyRelu", "Elu", "BatchNormalization",
}  # fmt: skip


def peak_activation_bytes(model: onnx.ModelProto) -> int:
    """Return the largest sum of live activations, inputs and outputs included.

    Nodes run in the graph's order; a tensor lives from the node that writes it to
    the last one that reads it; inputs and outputs live throughout. Views take no
    memory of their own, and element-wise operators write over an input of the same
    size that nothing reads later. Workspaces inside operators are not known and not
    counted, fused operators are counted apart: an estimate of any runtime's peak. Between
    quantized operators only the integers count, as runtimes fuse the conversions.

    Args:
        model: With static shapes. Constants are not activations.

    Raises:
        ValueError: If a tensor's shape cannot be inferred.
    """
    graph = onnx.GraphProto()
    graph.CopyFrom(onnx.shape_inference.infer_shapes(model).graph)
    _fuse_conversions(graph)
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
    size = _tensor_bytes(graph)
    last_read = {name: i for i, node in enumerate(graph.node) for name in node.input}
    kept = {value.name for value in (*graph.input, *graph.output)} - constants
    live = {value.name: _bytes_of(value.name, size) for value in graph.input}
    live = {name: n_bytes for name, n_bytes in live.items() if name not in constants}
    storage: dict[str, str] = {}  # tensor -> the tensor whose memory it uses
    peak = sum(live.values())
    for index, node in enumerate(graph.node):
        if node.op_type == "Constant":
            continue
        first = storage.get(node.input[0], node.input[0]) if node.input else ""
        for output in filter(None, node.output):
            n_bytes = _bytes_of(output, size)
            if _shares(node, first, index, last_read, live, n_bytes, kept):
                storage[output] = first
                last_read[first] = max(last_read.get(first, -1), last_read.get(output, -1))
            else:
                live[output] = n_bytes
        peak = max(peak, sum(live.values()))
        for name in [n for n in live if last_read.get(n, -1) <= index and n not in kept]:
            del live[name]
    return peak


def _fuse_conversions(graph: onnx.GraphProto) -> None:
    """Let operators read and write the integers that conversions around them stand for."""
    outputs = {value.name for value in graph.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    written = {name for node in graph.node for name in node.output}
    alias: dict[str, str] = {}
    fused = []
    for node in graph.node:
        source, target = node.input[0] if node.input else "", node.output[0]
        if node.op_type == "DequantizeLinear" and target not in outputs:
            alias[target] = source
            fused.append(node)
        elif node.op_type == "QuantizeLinear" and source in written - outputs:
            if any(reader.op_type != "QuantizeLinear" for reader in readers[source]):
                continue
            alias[source] = target
            fused.append(node)
    for node in fused:
        graph.node.remove(node)
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                while name in alias:
                    name = alias[name]
                names[index] = name


def _shares(
    node: onnx.NodeProto,
    source: str,
    index: int,
    last_read: Mapping[str, int],
    live: Mapping[str, int],
    n_bytes: int,
    kept: set[str],
) -> bool:
    if source not in live or live[source] != n_bytes:
        return False
    if node.op_type in _VIEWS:
        return True
    free = source not in kept and last_read.get(source, -1) <= index
    return node.op_type in _IN_PLACE and free


def _tensor_bytes(graph: onnx.GraphProto) -> dict[str, int]:
    sizes = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        extents = [dimension.dim_value for dimension in tensor.shape.dim]
        if 0 in extents or not tensor.HasField("shape"):
            continue
        itemsize = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)).itemsize
        sizes[value.name] = math.prod(extents) * itemsize
    return sizes


def _bytes_of(name: str, size: Mapping[str, int]) -> int:
    if name not in size:
        raise ValueError(f"tensor {name!r}: no static shape can be inferred")
    return size[name]
