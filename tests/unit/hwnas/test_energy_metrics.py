"""Energy metrics against figures worked out by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.energy_metrics import (
    Mode,
    accuracy_per_milliamp,
    average_current_a,
    average_power_w,
    hottest_c,
    inferences_per_joule,
    periodic_power_w,
    thermal_headroom_k,
)


@pytest.mark.parametrize(("energy_j", "per_joule"), [(20e-3, 50), (8.3333e-3, 120), (1 / 300, 300)])
def test_inferences_per_joule_are_one_over_the_energy(energy_j: float, per_joule: float) -> None:
    # the energies are rounded to five digits
    assert inferences_per_joule(energy_j) == pytest.approx(per_joule, rel=1e-5)


@pytest.mark.parametrize("energy_j", [0.0, -1.0, math.nan, math.inf])
def test_an_energy_that_cannot_be_has_no_inferences_per_joule(energy_j: float) -> None:
    with pytest.raises(ValueError, match="energy of an inference: wanted more than 0 J"):
        inferences_per_joule(energy_j)


@pytest.mark.parametrize(
    ("accuracy", "power_w", "percent_per_ma"),
    # 250, 120 and 45 mW at 3.3 V are 75.76, 36.36 and 13.64 mA
    [(0.985, 0.250, 1.30), (0.964, 0.120, 2.65), (0.92, 0.045, 6.75)],
)
def test_accuracy_per_milliamp_at_a_stated_voltage(
    accuracy: float, power_w: float, percent_per_ma: float
) -> None:
    # the figures are rounded to two decimals
    assert accuracy_per_milliamp(accuracy, power_w, 3.3) == pytest.approx(percent_per_ma, abs=5e-3)


def test_accuracy_per_milliamp_grows_with_the_voltage_it_is_stated_at() -> None:
    at_3_3, at_1_8 = (accuracy_per_milliamp(0.9, 0.1, v) for v in (3.3, 1.8))
    assert at_3_3 / at_1_8 == pytest.approx(3.3 / 1.8)


def test_current_is_power_over_voltage() -> None:
    assert average_current_a(4.589, 5.032) == pytest.approx(0.912, abs=1e-4)  # of an INA219
    with pytest.raises(ValueError, match="voltage: wanted more than 0 V"):
        average_current_a(1.0, 0.0)


@pytest.mark.parametrize("accuracy", [1.01, -0.1, 92.0])
def test_an_accuracy_that_is_no_fraction_is_refused(accuracy: float) -> None:
    with pytest.raises(ValueError, match="accuracy: wanted 0 to 1"):
        accuracy_per_milliamp(accuracy, 1.0, 3.3)


def test_a_duty_cycle_weighs_each_mode_by_its_share() -> None:
    modes = [Mode(0.99, 100e-6), Mode(0.009, 5e-3), Mode(0.001, 1.0)]
    # 99 + 45 + 1000 microwatts
    assert average_power_w(modes) == pytest.approx(1.144e-3)


def test_wake_ups_add_their_energy_at_their_rate() -> None:
    # 0.5 mJ twice a minute
    power_w = average_power_w([Mode(1.0, 1e-3)], event_energy_j=0.5e-3, event_rate_hz=2 / 60)
    assert power_w == pytest.approx(1e-3 + 16.6667e-6, rel=1e-6)


@pytest.mark.parametrize("shares", [[0.5, 0.4], [0.7, 0.7], []])
def test_shares_that_do_not_sum_to_one_are_refused(shares: list[float]) -> None:
    with pytest.raises(ValueError, match="shares of the modes: wanted a sum of 1"):
        average_power_w([Mode(share, 1.0) for share in shares])


@pytest.mark.parametrize("modes", [[Mode(1.5, 1.0), Mode(-0.5, 1.0)], [Mode(1.0, -1.0)]])
def test_a_negative_share_or_power_is_refused(modes: list[Mode]) -> None:
    with pytest.raises(ValueError, match="wanted"):
        average_power_w(modes)


def test_a_periodic_device_sleeps_between_inferences() -> None:
    # 40 ms of every 2 s at 0.5 W, the rest at 0.1 W; 60 mJ beside each inference
    power_w = periodic_power_w(20e-3, 0.04, 2.0, sleep_power_w=0.1, event_energy_j=60e-3)
    assert power_w == pytest.approx(0.02 * 0.5 + 0.98 * 0.1 + 0.03)


def test_a_device_that_never_rests_draws_its_active_power() -> None:
    assert periodic_power_w(2.0, 1.0, 1.0, sleep_power_w=9.0) == pytest.approx(2.0)


def test_more_inferences_than_there_is_time_for_are_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match=r"every 0\.1 s: wanted at most that long.*Got 0\.11 s"):
        periodic_power_w(1e-3, 0.11, 0.1)


@given(
    energy_j=st.floats(1e-9, 1e3),
    latency_s=st.floats(1e-6, 10),
    slack=st.floats(1, 1e4),
    sleep_power_w=st.floats(0, 1),
)
def test_a_periodic_device_spends_each_interval_what_its_parts_do(
    energy_j: float, latency_s: float, slack: float, sleep_power_w: float
) -> None:
    interval_s = latency_s * slack
    power_w = periodic_power_w(energy_j, latency_s, interval_s, sleep_power_w=sleep_power_w)
    spent_j = energy_j + sleep_power_w * (interval_s - latency_s)
    # the share of sleep is a difference of numbers near 1
    assert power_w * interval_s == pytest.approx(spent_j, rel=1e-9, abs=1e-15 + 1e-9 * spent_j)


def test_headroom_is_the_distance_to_the_hottest_temperature_seen() -> None:
    state = {"temperature_c": 51.5, "after_temperature_c": 63.0, "governor": "performance"}
    hottest = hottest_c(state)
    assert hottest == 63.0
    assert thermal_headroom_k(80.0, hottest) == 17.0
    assert thermal_headroom_k(60.0, hottest) == -3.0


@pytest.mark.parametrize("state", [{}, {"temperature_c": None, "after_temperature_c": None}])
def test_a_device_without_a_thermometer_has_no_headroom(state: dict[str, None]) -> None:
    assert hottest_c(state) is None


def test_a_device_below_freezing_point_has_headroom() -> None:
    hottest = hottest_c({"temperature_c": -20, "after_temperature_c": None})
    assert hottest == -20.0
