"""What one network costs the whole product: power, battery days, greenhouse gas, money."""

from __future__ import annotations

from functools import reduce

import numpy as np

from hwnas.battery import battery_days, inferences_per_charge
from hwnas.carbon import carbon_intensity, electricity_cost, emissions_g
from hwnas.energy_metrics import Number, inferences_per_joule, periodic_power_w
from hwnas.offload import break_even_bytes, offload_ratio
from hwnas.product_config import ProductConfig

_MILLION = 1e6


def product_costs(product: ProductConfig, energy_j: Number, latency_s: Number) -> dict[str, Number]:
    """Return every cost of a product that its description allows, by metric.

    An inference that takes longer than the product's interval is followed by the next at
    once: the costs are those of a device that never sleeps and falls behind. The limit
    ``product.interval_s`` rejects it.

    Args:
        product: What surrounds the network.
        energy_j: Gross energy of one inference, joules; of any number of networks.
        latency_s: Its time, seconds.

    Returns:
        ``average_power_w``, ``system_energy_j`` (per inference) and
        ``system_inferences_per_joule``; with a battery ``battery_days`` and
        ``inferences_per_charge``; with a country ``co2e_g_per_million``; with a tariff
        ``cost_per_million``, in its currency; with an offload ``offload_ratio`` and
        ``break_even_bytes``.

    Raises:
        ValueError: If the energy or the time is negative or no number.
    """
    interval_s = np.maximum(product.interval_s, latency_s)
    power_w = periodic_power_w(
        energy_j,
        latency_s,
        interval_s,
        sleep_power_w=product.sleep_power_w,
        event_energy_j=product.event_energy_j,
    )
    system_j = power_w * interval_s
    costs = {
        "average_power_w": power_w,
        "system_energy_j": system_j,
        "system_inferences_per_joule": inferences_per_joule(system_j),
    }
    if product.battery is not None:
        battery = product.battery.battery
        costs["battery_days"] = battery_days(battery, power_w)
        costs["inferences_per_charge"] = inferences_per_charge(battery, power_w, interval_s)
    million_j, efficiency = _MILLION * system_j, product.mains_efficiency
    if product.country is not None:
        intensity = carbon_intensity(product.country).g_per_kwh
        costs["co2e_g_per_million"] = emissions_g(million_j, intensity, efficiency)
    if product.price_per_kwh is not None:
        costs["cost_per_million"] = electricity_cost(million_j, product.price_per_kwh, efficiency)
    if (offload := product.offload) is not None:
        costs["offload_ratio"] = offload_ratio(
            energy_j, offload.payload_bytes, offload.energy_per_mb_j
        )
        costs["break_even_bytes"] = break_even_bytes(energy_j, offload.energy_per_mb_j)
    return costs


def source_of(metric: str, product: ProductConfig) -> str | None:
    """Return where a figure behind a product's cost comes from, where it is not its own."""
    if metric == "co2e_g_per_million" and product.country is not None:
        found = carbon_intensity(product.country)
        return f"{found.name} {found.year}: {found.g_per_kwh:g} g CO2e/kWh ({found.source})"
    if metric == "cost_per_million":
        return f"{product.price_per_kwh:g} per kWh, in the tariff's currency"
    return None


def product_ranges(
    product: ProductConfig,
    energy_j: tuple[Number, Number, Number],
    latency_s: tuple[Number, Number, Number],
) -> dict[str, tuple[Number, Number, Number]]:
    """Return value, lower and upper end of every cost of a product.

    Costs are monotone in the energy, and in the latency by the sleep that it displaces:
    the ends join most energy with most sleep, and least with least.

    Args:
        product: What surrounds the network.
        energy_j: Value, lower and upper end.
        latency_s: Value, lower and upper end.
    """
    value = product_costs(product, energy_j[0], latency_s[0])
    cheap = product_costs(product, energy_j[1], latency_s[2])
    dear = product_costs(product, energy_j[2], latency_s[1])
    out = {}
    for name in value:
        all_three = [costs[name] for costs in (value, cheap, dear)]
        out[name] = (value[name], reduce(np.minimum, all_three), reduce(np.maximum, all_three))
    return out
