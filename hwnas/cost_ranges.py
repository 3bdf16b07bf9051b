"""Costs that follow from time and energy of an inference, of one architecture or of arrays."""

from __future__ import annotations

from typing import Final, Generic, NamedTuple

from hwnas.energy_metrics import Number
from hwnas.product_config import ProductConfig
from hwnas.product_costs import product_ranges

WORST_CASE: Final = {
    "worst_latency_s": "latency_s",
    "sustained_latency_s": "latency_s",
    "worst_latency_p99_s": "latency_p99_s",
    "worst_energy_j": "energy_j",
    "flash_bytes": "flash_bytes",
    "peak_ram_bytes": "peak_ram_bytes",
}
"""Metrics that the path through every exit decides, and whose prediction tells them."""


class Range(NamedTuple, Generic[Number]):
    """A value with the ends of the interval that it lies in."""

    value: Number
    low: Number
    high: Number


def mean_cost(
    metric: str, latency_s: Range[Number], energy_j: Range[Number], product: ProductConfig | None
) -> Range[Number]:
    """Return a cost that mean time and mean energy of an inference decide.

    Args:
        metric: ``latency_s``, ``energy_j``, ``inferences_per_joule``, or one of
            `product_costs`.
        latency_s: Mean time of an inference; floats, or arrays of shape ``(n,)``.
        energy_j: Mean gross energy, likewise.
        product: What surrounds the network, where the experiment says so.

    Raises:
        KeyError: For a metric that is none of these, or that the product does not describe.
    """
    if metric == "latency_s":
        return latency_s
    if metric == "energy_j":
        return energy_j
    if metric == "inferences_per_joule":
        return Range(1 / energy_j.value, 1 / energy_j.high, 1 / energy_j.low)
    if product is None:
        raise KeyError(metric)
    return Range(*product_ranges(product, energy_j, latency_s)[metric])
