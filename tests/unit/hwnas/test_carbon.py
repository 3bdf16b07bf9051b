"""Greenhouse gas and price of inferences, and whether to send data instead."""

from __future__ import annotations

from importlib.resources import files

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hwnas.carbon import carbon_intensity, electricity_cost, emissions_g
from hwnas.offload import break_even_bytes, offload_energy_j, offload_ratio

MILLION_AT_280_MJ = 1e6 * 0.280


def test_a_million_inferences_in_germany_emit_about_thirty_grams() -> None:
    # 280 kJ are 0.0778 kWh
    intensity = carbon_intensity("DEU")
    assert emissions_g(MILLION_AT_280_MJ, intensity.g_per_kwh) == pytest.approx(29.6, abs=0.05)


def test_a_charger_that_loses_a_fifth_costs_a_quarter_more() -> None:
    assert emissions_g(3.6e6, 400.0, charger_efficiency=0.8) == pytest.approx(500)
    assert electricity_cost(3.6e6, 0.40, charger_efficiency=0.8) == pytest.approx(0.50)


def test_cost_is_kilowatt_hours_times_tariff() -> None:
    assert electricity_cost(MILLION_AT_280_MJ, 0.30) == pytest.approx(0.0778 * 0.30, rel=1e-3)


@pytest.mark.parametrize(
    ("country", "g_per_kwh", "year"),
    [("FRA", 56.039, 2023), ("DEU", 380.95, 2023), ("USA", 369.473, 2023), ("WORLD", 475, 2018)],
)
def test_the_table_holds_published_intensities_with_their_year(
    country: str, g_per_kwh: float, year: int
) -> None:
    intensity = carbon_intensity(country)
    assert (intensity.g_per_kwh, intensity.year) == (g_per_kwh, year)


def test_every_entry_of_the_table_is_plausible_dated_and_sourced() -> None:
    document = yaml.safe_load(files("hwnas").joinpath("data/carbon_intensity.yaml").read_text())
    assert len(document["intensities"]) >= 40
    for code in document["intensities"]:
        intensity = carbon_intensity(code)
        assert code == "WORLD" or (len(code) == 3 and code.isupper())
        # hydropower emits about 10 g/kWh over its life, lignite alone about 1,100
        assert 10 <= intensity.g_per_kwh <= 1100
        assert 2018 <= intensity.year <= 2026
        assert intensity.name
        assert intensity.source


def test_an_unknown_country_is_refused_with_those_known() -> None:
    with pytest.raises(ValueError, match=r"no carbon intensity of 'Germany'. Known: ARG, .*DEU"):
        carbon_intensity("Germany")


@pytest.mark.parametrize(
    ("energy_j", "rate", "efficiency", "named"),
    [
        (-1.0, 1.0, 1.0, "energy: wanted at least 0 J"),
        (1.0, -1.0, 1.0, "wanted at least 0"),
        (1.0, 1.0, 1.2, "charger_efficiency: wanted 0 to 1"),
        (1.0, 1.0, 0.0, "charger_efficiency: wanted more than 0"),
    ],
)
def test_nonsense_is_refused(energy_j: float, rate: float, efficiency: float, named: str) -> None:
    for function in (emissions_g, electricity_cost):
        with pytest.raises(ValueError, match=named):
            function(energy_j, rate, efficiency)


@pytest.mark.parametrize(("energy_per_mb_j", "ratio"), [(5.0, 50), (10.0, 100)])
def test_a_megabyte_over_4g_costs_fifty_to_a_hundred_times_an_inference(
    energy_per_mb_j: float, ratio: float
) -> None:
    assert offload_ratio(0.1, 1e6, energy_per_mb_j) == pytest.approx(ratio)


def test_sending_a_small_image_over_4g_takes_its_share_of_a_megabyte() -> None:
    # 96 x 96 bytes at 7.5 J/MB
    assert offload_energy_j(96 * 96, 7.5) == pytest.approx(69.12e-3)


@given(energy_j=st.floats(1e-9, 1e3), energy_per_mb_j=st.floats(1e-3, 1e3))
def test_at_the_break_even_payload_both_ways_cost_the_same(
    energy_j: float, energy_per_mb_j: float
) -> None:
    payload = break_even_bytes(energy_j, energy_per_mb_j)
    assert offload_energy_j(payload, energy_per_mb_j) == pytest.approx(energy_j)


def test_a_free_radio_has_no_break_even() -> None:
    with pytest.raises(ValueError, match="radio energy: wanted more than 0 J/MB"):
        break_even_bytes(0.1, 0.0)
