"""Modelled energy is the documented closed form."""

from dataclasses import replace

import pytest

from latency_predictors import modelled_energy
from search_spaces import Workload
from targets import EnergyModel

MODEL = EnergyModel(
    static_power_w=2.0,
    energy_per_mac_j=1e-9,
    energy_per_byte_j=1e-8,
    relative_uncertainty=0.25,
    source="made up",
)
# 160 MACs; 16 inputs, 10 outputs and 170 parameters of 4 bytes
LINEAR = Workload("linear", (16,), (10,))


def test_energy_is_static_power_times_time_plus_arithmetic_plus_traffic() -> None:
    energy = modelled_energy(1e-6, (LINEAR, LINEAR), MODEL)
    expected = 2.0 * 1e-6 + 2 * 160 * 1e-9 + 2 * 4 * 196 * 1e-8
    assert energy.energy_j == pytest.approx(expected)
    assert energy.low_j == pytest.approx(0.75 * expected)
    assert energy.high_j == pytest.approx(1.25 * expected)


def test_int8_counts_its_own_arithmetic_and_a_quarter_of_the_bytes() -> None:
    model = MODEL.model_copy(update={"energy_per_int8_mac_j": 2e-10})
    int8 = replace(LINEAR, dtype="int8")
    energy = modelled_energy(1e-6, (LINEAR, int8), model)
    traffic_j = (4 + 1) * 196 * 1e-8
    assert energy.energy_j == pytest.approx(2e-6 + 160 * (1e-9 + 2e-10) + traffic_j)
    # not given, arithmetic counts as in float32
    assert modelled_energy(1e-6, (int8,), MODEL).energy_j == pytest.approx(
        2e-6 + 160 * 1e-9 + 196 * 1e-8
    )


def test_a_target_without_static_power_draws_nothing_while_idle() -> None:
    model = MODEL.model_copy(update={"static_power_w": 0.0})
    assert modelled_energy(1.0, (), model).energy_j == 0.0
    assert modelled_energy(1.0, (LINEAR,), model) == modelled_energy(2.0, (LINEAR,), model)
