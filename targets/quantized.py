"""Is a model quantized? TVM must not get it, and its outputs agree less closely."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

_OPERATORS = {
    "QuantizeLinear",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "ConvInteger",
    "MatMulInteger",
}


def is_quantized(model: onnx.ModelProto) -> bool:
    """Return whether any node of a model computes with, or converts to, integers of a scale."""
    return any(
        node.op_type in _OPERATORS or node.op_type.startswith("QLinear")
        for node in model.graph.node
    )
