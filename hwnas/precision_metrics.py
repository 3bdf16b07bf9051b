"""What the precision of a network adds to its metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hwnas.flash_parts import flash_parts
from hwnas.front import Metric
from targets import Measurement

if TYPE_CHECKING:
    import onnx

    from hwnas.variants import Precision

COUNTED_AS_FLOAT = "operators are counted as in float32"


def with_precision(
    metrics: Mapping[str, Metric],
    precision: Precision,
    models: Sequence[onnx.ModelProto],
    measurements: Sequence[Measurement],
) -> dict[str, Metric]:
    """Return metrics with the parts of the flash, and with a note where energies are modelled.

    ``weight_bytes`` and ``overhead_bytes`` are those of `FlashParts`. The energy model knows
    what a float32 operator takes: of integers it knows no more than the measured latency.

    Args:
        metrics: Of a network, by name.
        precision: Of its arithmetic.
        models: One per stage.
        measurements: Of these, in the same order.
    """
    parts = flash_parts(models, measurements)
    found = {
        name: replace(metric, note=_joined(metric.note))
        if precision != "float32" and metric.provenance == "modelled"
        else metric
        for name, metric in metrics.items()
    }
    found["weight_bytes"] = Metric(float(parts.weight_bytes))
    found["overhead_bytes"] = Metric(float(parts.overhead_bytes), measurements[0].provenance)
    return found


def _joined(note: str | None) -> str:
    return COUNTED_AS_FLOAT if note is None else f"{note}; {COUNTED_AS_FLOAT}"
