"""Greenhouse gas and price of the electricity that inferences take."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import yaml

from hwnas.energy_metrics import Number, fraction, not_negative, positive

JOULES_PER_KWH = 3.6e6


@dataclass(frozen=True)
class CarbonIntensity:
    """Greenhouse gas of a country's mean kilowatt-hour.

    Args:
        country: ISO 3166-1 alpha-3 code; ``WORLD`` for the world.
        name: Its name.
        g_per_kwh: Grams of CO2 equivalent per kilowatt-hour generated.
        year: It holds for.
        source: Where it comes from.
    """

    country: str
    name: str
    g_per_kwh: float
    year: int
    source: str


def carbon_intensity(country: str) -> CarbonIntensity:
    """Return the intensity of a country's electricity, from the table that comes with hwnas.

    Args:
        country: ISO 3166-1 alpha-3 code, or ``WORLD``.

    Raises:
        ValueError: If the table does not hold it; says which it holds.
    """
    table = _intensities()
    if country not in table:
        raise ValueError(f"no carbon intensity of {country!r}. Known: {', '.join(sorted(table))}.")
    return table[country]


def emissions_g(energy_j: Number, g_per_kwh: float, charger_efficiency: float = 1.0) -> Number:
    """Return the greenhouse gas of an energy, ``E / 3.6e6 * g_per_kwh / efficiency``, in g CO2e.

    Of the electricity only; the device's making is not in it.

    Args:
        energy_j: Joules used by the device.
        g_per_kwh: Carbon intensity of the electricity, g/kWh.
        charger_efficiency: Energy that reaches the device, relative to that from the mains.

    Raises:
        ValueError: If a value is out of its range.
    """
    return _mains_kwh(energy_j, charger_efficiency) * not_negative(
        g_per_kwh, "carbon intensity", "g/kWh"
    )


def electricity_cost(
    energy_j: Number, price_per_kwh: float, charger_efficiency: float = 1.0
) -> Number:
    """Return the price of an energy, ``E / 3.6e6 * price / efficiency``, in the price's currency.

    Args:
        energy_j: Joules used by the device.
        price_per_kwh: Tariff, in any currency.
        charger_efficiency: As in `emissions_g`.

    Raises:
        ValueError: If a value is out of its range.
    """
    return _mains_kwh(energy_j, charger_efficiency) * not_negative(
        price_per_kwh, "price", "per kWh"
    )


def _mains_kwh(energy_j: Number, charger_efficiency: float) -> Number:
    efficiency = fraction(charger_efficiency, "charger_efficiency")
    positive(efficiency, "charger_efficiency", "(a share)")
    return not_negative(energy_j, "energy", "J") / efficiency / JOULES_PER_KWH


@cache
def _intensities() -> dict[str, CarbonIntensity]:
    text = files("hwnas").joinpath("data/carbon_intensity.yaml").read_text(encoding="utf-8")
    document = yaml.safe_load(text)
    return {
        code: CarbonIntensity(
            code, row["name"], row["g_per_kwh"], row["year"], document["sources"][row["source"]]
        )
        for code, row in document["intensities"].items()
    }
