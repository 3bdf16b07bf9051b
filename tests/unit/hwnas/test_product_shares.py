"""What each part of a product takes: closed forms, and what they add up to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.product_config import ProductConfig
from hwnas.product_costs import product_costs
from hwnas.product_shares import PARTS, product_shares

# one inference in 10 s; 5 mJ beside it; 1.3 kJ of battery that loses 1 mW by itself
PRODUCT = ProductConfig.model_validate(
    {
        "interval_s": 10.0,
        "sleep_power_mw": 0.5,
        "wake_energy_mj": 0.5,
        "sensor_energy_mj": 3.0,
        "processing_energy_mj": 0.5,
        "radio_energy_mj": 1.0,
        "battery": {"capacity_mah": 365.0, "voltage_v": 2.0, "self_discharge_per_month": 1.0},
    }
)
_SOME = st.floats(0, 100)


def test_shares_are_those_worked_out_by_hand() -> None:
    # 2628 J in 730 h: 1 mW; asleep 8 s of 0.5 mW; all in mJ per interval
    by_hand = {
        "network": 11.0,
        "sensor": 3.0,
        "processing": 0.5,
        "radio": 1.0,
        "wake": 0.5,
        "sleep": 4.0,
        "self_discharge": 10.0,
    }
    shares = product_shares(PRODUCT, 11e-3, 2.0)
    assert shares == pytest.approx({part: mj / 30 for part, mj in by_hand.items()})
    assert list(shares) == list(PARTS)


def test_without_a_battery_nothing_discharges_by_itself() -> None:
    shares = product_shares(PRODUCT.model_copy(update={"battery": None}), 11e-3, 2.0)
    assert "self_discharge" not in shares
    assert shares["network"] == pytest.approx(11 / 20)


def test_an_inference_longer_than_the_interval_leaves_no_sleep() -> None:
    shares = product_shares(PRODUCT, 11e-3, 20.0)
    assert shares["sleep"] == 0
    # 20 mJ lost by the battery meanwhile
    assert shares["network"] == pytest.approx(11 / 36)


def test_a_product_that_takes_nothing_has_no_shares() -> None:
    with pytest.raises(ValueError, match="energy of an interval"):
        product_shares(ProductConfig(interval_s=1.0, sleep_power_mw=0.0), 0.0, 0.5)


@given(
    parts=st.tuples(_SOME, _SOME, _SOME, _SOME, _SOME),
    interval_s=st.floats(1e-3, 1e5),
    energy_j=st.floats(1e-9, 10),
    latency_s=st.floats(1e-6, 1e5),
    discharge=st.none() | st.floats(0, 1),
)
def test_shares_add_up_to_all_that_the_battery_pays_for(
    parts: tuple[float, ...],
    interval_s: float,
    energy_j: float,
    latency_s: float,
    discharge: float | None,
) -> None:
    sleep, wake, sensor, processing, radio = parts
    battery = {"capacity_mah": 100.0, "voltage_v": 3.0, "self_discharge_per_month": discharge}
    product = ProductConfig.model_validate(
        {
            "interval_s": interval_s,
            "sleep_power_mw": sleep,
            "wake_energy_mj": wake,
            "sensor_energy_mj": sensor,
            "processing_energy_mj": processing,
            "radio_energy_mj": radio,
            "battery": None if discharge is None else battery,
        }
    )
    shares = product_shares(product, energy_j, latency_s)
    # sums of seven floats
    assert sum(shares.values()) == pytest.approx(1, abs=1e-12)
    assert all(share >= 0 for share in shares.values())
    # without the network the battery lasts as much longer as its share says
    if discharge is not None and latency_s <= interval_s:
        days = product_costs(product, energy_j, latency_s)["battery_days"]
        drain_w = 100e-3 * 3600 * 3.0 / days / 86_400
        assert shares["network"] * drain_w == pytest.approx(energy_j / interval_s, rel=1e-9)
