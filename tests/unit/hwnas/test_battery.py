"""Battery life against figures worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.battery import Battery, battery_days, battery_life_s, inferences_per_charge

COIN_CELL = Battery(
    0.220, 3.0, usable_share=0.9, converter_efficiency=0.9, self_discharge_per_month=0.0008
)


def test_a_coin_cell_under_a_duty_cycle_lasts_nineteen_days() -> None:
    # 534.6 mWh usable; 1.144 mW and 0.723 uW of self-discharge: 467.01 h
    assert battery_days(COIN_CELL, 1.144e-3) == pytest.approx(467.01 / 24, rel=1e-4)
    assert round(battery_days(COIN_CELL, 1.144e-3), 2) == 19.46


@pytest.mark.parametrize(("hours", "power_w"), [(4, 9.25), (24, 1.5417)])
def test_a_pack_of_ten_ampere_hours_lasts_by_its_power(hours: float, power_w: float) -> None:
    pack = Battery(10.0, 3.7)
    assert pack.nominal_energy_j == pytest.approx(133_200)
    # powers are rounded to five digits
    assert battery_life_s(pack, power_w) == pytest.approx(3600 * hours, rel=1e-4)


def test_life_goes_with_the_inverse_of_power() -> None:
    ideal = Battery(1.0, 3.0)
    # 2 days at 850 mW become 37.8 at 45 mW, 18.9 times as long
    assert battery_days(ideal, 0.045) / battery_days(ideal, 0.850) == pytest.approx(18.89, abs=0.01)


def test_inferences_per_charge_divide_the_energy_by_that_of_one() -> None:
    # 10,000 J and 280 mJ an inference, once in 10 s
    battery = Battery(10_000 / 3600 / 5, 5.0)
    assert int(inferences_per_charge(battery, 0.028, 10.0)) == 35_714


def test_an_idle_battery_empties_by_itself() -> None:
    # 1 % a month: 100 months of 730 h
    battery = Battery(1.0, 3.0, self_discharge_per_month=0.01)
    assert battery_life_s(battery, 0.0) == pytest.approx(100 * 730 * 3600)


def test_what_nothing_empties_has_no_life() -> None:
    with pytest.raises(ValueError, match="power and self-discharge: wanted more than 0 W"):
        battery_life_s(Battery(1.0, 3.0), 0.0)


@given(
    power_w=st.floats(1e-6, 100), more_w=st.floats(1e-6, 100), loss=st.floats(0, 1),
    share=st.floats(0.01, 1), interval_s=st.floats(1e-3, 1e5),
)  # fmt: skip
def test_energy_out_of_a_battery_is_never_more_than_was_in_it(
    power_w: float, more_w: float, loss: float, share: float, interval_s: float
) -> None:
    battery = Battery(2.0, 3.7, usable_share=share, self_discharge_per_month=loss)
    life_s = battery_life_s(battery, power_w)
    assert life_s * power_w <= battery.nominal_energy_j * (1 + 1e-12)
    assert battery_life_s(battery, power_w + more_w) < life_s * (1 + 1e-12)
    n = inferences_per_charge(battery, power_w, interval_s)
    assert n * interval_s == pytest.approx(life_s)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"capacity_ah": 0.0}, "capacity: wanted more than 0 Ah"),
        ({"voltage_v": -3.0}, "battery voltage: wanted more than 0 V"),
        ({"usable_share": 1.1}, "usable_share: wanted 0 to 1. Got 1.1"),
        ({"usable_share": 0.0}, "usable_share: wanted more than 0"),
        ({"converter_efficiency": 90.0}, "converter_efficiency: wanted 0 to 1. Got 90"),
        ({"self_discharge_per_month": -0.1}, "self_discharge_per_month: wanted 0 to 1"),
    ],
)
def test_a_battery_that_cannot_be_is_refused(wrong: dict[str, float], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Battery(**({"capacity_ah": 1.0, "voltage_v": 3.0} | wrong))


def test_a_negative_power_is_refused() -> None:
    with pytest.raises(ValueError, match="average power: wanted at least 0 W"):
        battery_life_s(COIN_CELL, -1.0)
