"""Where a product's energy goes: the network is often not the culprit."""

from __future__ import annotations

from hwnas.energy_metrics import not_negative, positive
from hwnas.product_config import ProductConfig

PARTS = {
    "network": "network",
    "sensor": "sensor",
    "processing": "before and after the network",
    "radio": "radio",
    "wake": "waking up",
    "sleep": "sleep",
    "self_discharge": "battery's self-discharge",
}
"""What people call the parts."""


def product_shares(product: ProductConfig, energy_j: float, latency_s: float) -> dict[str, float]:
    """Return the share of the mean power that each part of a product takes, adding up to 1.

    The parts are those of `hwnas.energy_metrics.periodic_power_w`, and with a battery its
    self-discharge, as `hwnas.battery.battery_life_s` adds it.

    Args:
        product: What surrounds the network.
        energy_j: Gross energy of one inference, joules.
        latency_s: Its time, seconds. One longer than the product's interval is followed by
            the next at once, as in `hwnas.product_costs.product_costs`.

    Returns:
        By key of `PARTS`; ``self_discharge`` with a battery only.

    Raises:
        ValueError: If the energy or the time is negative, or nothing takes any energy.
    """
    interval_s = max(product.interval_s, positive(latency_s, "latency", "s"))
    parts_j = {
        "network": not_negative(energy_j, "energy of an inference", "J"),
        "sensor": product.sensor_energy_mj / 1e3,
        "processing": product.processing_energy_mj / 1e3,
        "radio": product.radio_energy_mj / 1e3,
        "wake": product.wake_energy_mj / 1e3,
        "sleep": (interval_s - latency_s) * product.sleep_power_w,
    }
    if product.battery is not None:
        parts_j["self_discharge"] = interval_s * product.battery.battery.self_discharge_w
    total_j = positive(sum(parts_j.values()), "energy of an interval", "J")
    return {part: energy / total_j for part, energy in parts_j.items()}
