"""What fills the flash: weights, and all that comes with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwnas.front import Metric
from targets import Measurement

if TYPE_CHECKING:
    import onnx

_CONVERSIONS = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True)
class FlashParts:
    """Flash of a network's stages in two parts.

    Args:
        weight_bytes: Weights and biases, in the type they are stored in; counted in the graphs.
        overhead_bytes: All else that was measured: code, or where a runtime interprets the
            model, its graph; scales of quantized tensors; padding.
    """

    weight_bytes: int
    overhead_bytes: int


def flash_parts(
    models: Sequence[onnx.ModelProto], measurements: Sequence[Measurement]
) -> FlashParts:
    """Split the flash of a network's stages.

    Small networks gain less from int8 than its quarter of the weights: what comes with them
    stays or grows.

    Args:
        models: One per stage.
        measurements: Of these, in the same order.
    """
    weights = sum(map(weight_bytes, models))
    return FlashParts(weights, sum(m.flash_bytes for m in measurements) - weights)


def flash_part_metrics(
    models: Sequence[onnx.ModelProto], measurements: Sequence[Measurement]
) -> dict[str, Metric]:
    """Return ``weight_bytes``, an exact count, and ``overhead_bytes``: see `flash_parts`."""
    parts = flash_parts(models, measurements)
    return {
        "weight_bytes": Metric(float(parts.weight_bytes)),
        "overhead_bytes": Metric(float(parts.overhead_bytes), measurements[0].provenance),
    }


def weight_bytes(model: onnx.ModelProto) -> int:
    """Return what weights and biases take: float32 ones 4 bytes, int8 ones 1, int32 sums 4."""
    import onnx

    weights = set()
    for node in model.graph.node:
        # what follows are scale and zero point
        values = node.input[:1] if node.op_type in _CONVERSIONS else node.input
        weights.update(values)
    return sum(
        onnx.numpy_helper.to_array(tensor).nbytes
        for tensor in model.graph.initializer
        if tensor.name in weights and tensor.dims
    )
