"""The metrics an SLA can set limits to, and the units their limits are written in."""

from __future__ import annotations

from dataclasses import dataclass

from hwnas.config_errors import did_you_mean

UNITS: dict[str, dict[str, float]] = {
    "fraction": {"": 1.0, "%": 1e-2},
    "time": {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6},
    "energy": {"J": 1.0, "mJ": 1e-3, "uJ": 1e-6, "µJ": 1e-6, "nJ": 1e-9},
    "power": {"W": 1.0, "mW": 1e-3, "uW": 1e-6, "µW": 1e-6},
    "current": {"A": 1.0, "mA": 1e-3, "uA": 1e-6, "µA": 1e-6},
    "size": {"B": 1.0, "kB": 1e3, "KiB": 1024.0, "MB": 1e6, "MiB": 1024.0**2},
    "battery life": {"d": 1.0, "days": 1.0, "h": 1 / 24, "weeks": 7.0},
    "mass": {"g": 1.0, "mg": 1e-3, "kg": 1e3},
    "rate": {"1/J": 1.0},
    "money": {"": 1.0},
}
"""What one of each unit is, in the unit of the metrics; no unit is written as none."""


@dataclass(frozen=True)
class SlaMetric:
    """A metric as an SLA names it.

    Args:
        name: In the SLA.
        key: In the metrics of a variant.
        quantity: Key of `UNITS`.
        is_minimum: Whether more of it is better, so that its limit is a lower one.
        constraint: Entry of an experiment's constraints that limits the same.
        is_reciprocal: Whether that entry limits ``1 / metric``.
        is_exact: Whether a measured value has no error, and so no interval.
        needs: Section without which it is not known; such a metric is always modelled.
    """

    name: str
    key: str
    quantity: str
    is_minimum: bool = False
    constraint: str | None = None
    is_reciprocal: bool = False
    is_exact: bool = False
    needs: str | None = None

    @property
    def units(self) -> dict[str, float]:
        """Units of its limits, in the metric's own."""
        return UNITS[self.quantity]


SLA_METRICS: dict[str, SlaMetric] = {
    metric.name: metric
    for metric in (
        SlaMetric("accuracy", "accuracy", "fraction", True, "min_accuracy"),
        SlaMetric("recall", "recall", "fraction", True),
        SlaMetric("accuracy_drop", "accuracy_drop", "fraction"),
        SlaMetric("latency", "latency_s", "time"),
        SlaMetric("worst_latency", "worst_latency_s", "time", constraint="max_latency_ms"),
        # a deadline holds for every input: the slow tail of the path through every exit
        SlaMetric("latency_p99", "worst_latency_p99_s", "time", constraint="max_latency_p99_ms"),
        SlaMetric("sustained_latency", "sustained_latency_s", "time"),
        SlaMetric(
            "energy",
            "energy_j",
            "energy",
            constraint="min_inferences_per_joule",
            is_reciprocal=True,
        ),
        SlaMetric("worst_energy", "worst_energy_j", "energy", constraint="max_energy_mj"),
        SlaMetric("energy_above_idle", "energy_net_j", "energy"),
        SlaMetric(
            "inferences_per_joule", "inferences_per_joule", "rate", True, "min_inferences_per_joule"
        ),
        SlaMetric("active_power", "active_power_w", "power"),
        SlaMetric("peak_power", "peak_power_w", "power"),
        SlaMetric("peak_current", "peak_current_a", "current"),
        SlaMetric("flash", "flash_bytes", "size", constraint="max_flash_kib", is_exact=True),
        SlaMetric(
            "peak_ram", "peak_ram_bytes", "size", constraint="max_peak_ram_kib", is_exact=True
        ),
        SlaMetric("system_energy", "system_energy_j", "energy", needs="product"),
        SlaMetric(
            "average_power",
            "average_power_w",
            "power",
            constraint="max_average_power_mw",
            needs="product",
        ),
        SlaMetric(
            "battery_life",
            "battery_days",
            "battery life",
            True,
            "min_battery_days",
            needs="product.battery",
        ),
        SlaMetric(
            "co2e_per_million",
            "co2e_g_per_million",
            "mass",
            constraint="max_co2e_g_per_million",
            needs="product.country",
        ),
        SlaMetric(
            "cost_per_million",
            "cost_per_million",
            "money",
            constraint="max_cost_per_million",
            needs="product.price_per_kwh",
        ),
    )
}


def sla_metric(name: str) -> SlaMetric:
    """Return a metric by its name in an SLA.

    Raises:
        ValueError: If there is none of this name; says which there are.
    """
    if name in SLA_METRICS:
        return SLA_METRICS[name]
    known = ", ".join(SLA_METRICS)
    raise ValueError(
        f"unknown metric {name!r}.{did_you_mean(name, list(SLA_METRICS))} Known: {known}."
    )


def unit_factor(metric: SlaMetric, unit: str) -> float:
    """Return what one of a unit is, in the metric's own.

    Raises:
        ValueError: If the metric is not measured in it.
    """
    if unit in metric.units:
        return metric.units[unit]
    wanted = " or ".join(name or "no unit" for name in metric.units)
    found = [quantity for quantity, units in UNITS.items() if unit and unit in units]
    came = f"{unit!r}, a unit of {found[0]}" if found else repr(unit) if unit else "none"
    raise ValueError(f"unit of {metric.name}: wanted {wanted}. Got {came}.")
