import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from targets.energy_measurement import EnergyConfig, EnergyTrial
from targets.energy_statistics import energies, half_width, interval
from targets.meters import MeterInfo

# t distribution with 4 degrees of freedom, 98.5 %: from a table
T_985_4 = 3.2976


def trial(active_w: float = 5.0, idle_w: float = 2.0, **changes: float) -> EnergyTrial:
    fields = {
        "latency_s": 4e-3,
        "n_inferences": 2500,
        "window_s": 10.0,
        "active_power_w": active_w,
        "idle_before_w": idle_w,
        "idle_after_w": idle_w,
        "idle_power_w": idle_w,
        "peak_power_w": 6.0,
    }
    return EnergyTrial(**{**fields, **changes})  # type: ignore[arg-type]


def meter(**properties: float) -> MeterInfo:
    fields: dict[str, object] = {
        "rail": "usb",
        "scope": "the board",
        "update_period_s": 1e-3,
        "resolution": 1e-6,
        "range_w": None,
        "gain_error": 0.0,
        "offset_error_w": 0.0,
        "averages": True,
        "polled": False,
        "bandwidth_hz": 1e3,
    }
    return MeterInfo(**{**fields, **properties})  # type: ignore[arg-type]


def test_the_interval_of_five_values_is_the_one_worked_out_by_hand() -> None:
    """Of 1, 2, 3, 4, 5: mean 3, standard deviation sqrt(2.5)."""
    found = interval([1, 2, 3, 4, 5])
    half = T_985_4 * math.sqrt(2.5) / math.sqrt(5)
    assert (found.value, found.low) == (3, pytest.approx(3 - half, rel=1e-3))
    assert half_width(found) == pytest.approx(half / 3, rel=1e-3)


def test_limits_that_all_values_share_are_taken_as_uniform_and_added_in_squares() -> None:
    """Equal values scatter by nothing: 1.96 * sqrt((3^2 + 4^2) / 3) is left."""
    found = interval([10, 10, 10], limits=[3, 4])
    assert found.high - 10 == pytest.approx(1.96 * 5 / math.sqrt(3))


def test_values_close_by_luck_are_no_surer_than_each_of_them_is() -> None:
    found = interval([10, 10, 10, 10], error=1.0)
    assert found.high - 10 == pytest.approx(1.96 / 2)


@given(st.lists(st.floats(0.1, 10), min_size=2, max_size=20))
def test_the_value_is_the_median_and_lies_in_its_interval(values: list[float]) -> None:
    found = interval(values)
    assert found.value == float(np.median(values))
    assert found.low <= found.value <= found.high


def test_gross_and_net_are_power_times_latency() -> None:
    """(5 W, 5 W - 2 W) * 4 ms."""
    found = energies([trial(), trial()], [meter()], EnergyConfig())
    assert found.gross_j is not None
    assert found.net_j is not None
    assert (found.gross_j.value, found.net_j.value) == (pytest.approx(20e-3), pytest.approx(12e-3))


def test_an_offset_of_the_meter_blurs_the_gross_energy_and_cancels_in_the_net() -> None:
    found = energies([trial(), trial()], [meter(offset_error_w=0.1)], EnergyConfig())
    assert found.gross_j is not None
    assert found.net_j is not None
    assert half_width(found.gross_j) == pytest.approx(1.96 * 0.1 / math.sqrt(3) / 5)
    assert half_width(found.net_j) == pytest.approx(0, abs=1e-9)


def test_a_change_of_idle_power_blurs_the_net_energy_only() -> None:
    """Of 0.04 W: half as each trial's standard error, a quarter as a uniform limit, of 3 W."""
    moved = trial(idle_before_w=1.98, idle_after_w=2.02)
    found = energies([moved, moved], [meter()], EnergyConfig())
    assert found.gross_j is not None
    assert found.net_j is not None
    assert half_width(found.gross_j) == pytest.approx(0, abs=1e-9)
    half_w = 1.96 * math.hypot(0.02 / math.sqrt(2), 0.01 / math.sqrt(3))
    assert half_width(found.net_j) == pytest.approx(half_w / 3)


def test_a_net_energy_that_is_not_known_well_is_refused_where_the_gross_is_fine() -> None:
    """Idle powers that scatter by 2 % of 4.9 W are 50 % of the 0.1 W between busy and idle."""
    trials = [trial(idle_w=4.9 * (1 + share)) for share in (-0.01, 0.01, -0.005, 0.005, 0.0)]
    found = energies(trials, [meter()], EnergyConfig())
    assert found.gross_j is not None
    assert found.net_j is None
    assert str(found.net_refused).startswith("net energy repeats to ")
