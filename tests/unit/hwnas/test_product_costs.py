"""Costs of a whole product, worked out by hand for one product."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.product_config import ProductConfig
from hwnas.product_costs import product_costs, product_ranges

# one inference in 10 s; asleep 0.1 mW; 5 mJ beside each inference; 10 kJ of battery
PRODUCT = ProductConfig.model_validate(
    {
        "interval_s": 10.0,
        "sleep_power_mw": 0.1,
        "wake_energy_mj": 0.5,
        "sensor_energy_mj": 3.0,
        "processing_energy_mj": 0.5,
        "radio_energy_mj": 1.0,
        "battery": {"capacity_mah": 1000.0, "voltage_v": 3.0, "converter_efficiency": 0.925926},
        "charger_efficiency": 0.8,
        "country": "DEU",
        "price_per_kwh": 0.30,
        "offload": {"payload_bytes": 100_000, "energy_per_mb_j": 5.0},
    }
)
# 20 mJ in 1 s: 20 mW; then 9 s of 0.1 mW
SYSTEM_J = 20e-3 + 5e-3 + 0.9e-3


def test_every_cost_of_a_product_is_the_closed_form() -> None:
    costs = product_costs(PRODUCT, 20e-3, 1.0)
    # 10,800 J nominal, 10,000 J usable to 7 digits; mains 0.8 * 0.925926
    mains_kwh = 1e6 * SYSTEM_J / 0.7407408 / 3.6e6
    assert costs == pytest.approx(
        {
            "average_power_w": 2.59e-3,
            "system_energy_j": 25.9e-3,
            "system_inferences_per_joule": 38.610,
            "battery_days": 10_000 / 2.59e-3 / 86_400,
            "inferences_per_charge": 10_000 / 25.9e-3,
            "co2e_g_per_million": mains_kwh * 380.95,
            "cost_per_million": mains_kwh * 0.30,
            "offload_ratio": 0.5 / 20e-3,
            "break_even_bytes": 4000.0,
        },
        rel=1e-5,
    )


def test_what_is_not_described_is_not_computed() -> None:
    bare = ProductConfig(interval_s=1.0, sleep_power_mw=0.0)
    assert set(product_costs(bare, 1e-3, 0.1)) == {
        "average_power_w",
        "system_energy_j",
        "system_inferences_per_joule",
    }


def test_a_device_that_falls_behind_never_sleeps() -> None:
    # 20 mJ in 20 s and 5 mJ beside each: 1.25 mW, whatever sleeping takes
    costs = product_costs(PRODUCT, 20e-3, 20.0)
    assert costs["average_power_w"] == pytest.approx(1.25e-3)
    assert costs["system_energy_j"] == pytest.approx(25e-3)


@given(
    energy_j=st.floats(1e-6, 1.0), spread=st.floats(0, 0.9),
    latency_s=st.floats(1e-3, 9.0), jitter=st.floats(0, 0.1),
)  # fmt: skip
def test_the_range_holds_every_cost_within_the_ranges_it_comes_from(
    energy_j: float, spread: float, latency_s: float, jitter: float
) -> None:
    energies = (energy_j, energy_j * (1 - spread), energy_j * (1 + spread))
    latencies = (latency_s, latency_s * (1 - jitter), latency_s * (1 + jitter))
    ranges = product_ranges(PRODUCT, energies, latencies)
    for energy in energies:
        for latency in latencies:
            for name, cost in product_costs(PRODUCT, energy, latency).items():
                value, low, high = ranges[name]
                assert low <= value <= high
                # the corners are computed in another order than the ends
                assert low * (1 - 1e-9) <= cost <= high * (1 + 1e-9)


def test_less_energy_is_more_days_and_less_gas() -> None:
    ranges = product_ranges(PRODUCT, (20e-3, 10e-3, 30e-3), (1.0, 1.0, 1.0))
    least, most = product_costs(PRODUCT, 10e-3, 1.0), product_costs(PRODUCT, 30e-3, 1.0)
    assert ranges["battery_days"][1:] == (most["battery_days"], least["battery_days"])
    assert ranges["co2e_g_per_million"][1:] == (
        least["co2e_g_per_million"],
        most["co2e_g_per_million"],
    )
