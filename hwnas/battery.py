"""How long a battery lasts, and how many inferences it pays for."""

from __future__ import annotations

from dataclasses import dataclass

from hwnas.energy_metrics import Number, fraction, not_negative, positive

DAY_S = 86_400.0
MONTH_S = 730 * 3600.0
"""A twelfth of 365 days, the month that self-discharge is stated for."""


@dataclass(frozen=True)
class Battery:
    """A battery and the converter behind it.

    Peukert's law is left out: it is one of lead-acid cells. For lithium and alkaline
    cells, lower ``usable_share`` by what the data sheet says of the load's pulses.

    Args:
        capacity_ah: Nominal capacity, ampere-hours.
        voltage_v: Nominal voltage, volts.
        usable_share: Of the capacity, down to the device's least voltage.
        converter_efficiency: Energy after the converter, relative to that before it.
        self_discharge_per_month: Share of the capacity lost in 730 h.

    Raises:
        ValueError: If a value is out of its range.
    """

    capacity_ah: float
    voltage_v: float
    usable_share: float = 1.0
    converter_efficiency: float = 1.0
    self_discharge_per_month: float = 0.0

    def __post_init__(self) -> None:
        positive(self.capacity_ah, "capacity", "Ah")
        positive(self.voltage_v, "battery voltage", "V")
        for name in ("usable_share", "converter_efficiency"):
            positive(fraction(getattr(self, name), name), name, "(a share)")
        fraction(self.self_discharge_per_month, "self_discharge_per_month")

    @property
    def nominal_energy_j(self) -> float:
        """``C V``, joules."""
        return self.capacity_ah * 3600 * self.voltage_v

    @property
    def usable_energy_j(self) -> float:
        """What reaches the device, ``C V * usable * efficiency``, joules."""
        return self.nominal_energy_j * self.usable_share * self.converter_efficiency

    @property
    def self_discharge_w(self) -> float:
        """Mean power lost inside, ``C V * self_discharge / 730 h``, watts."""
        return self.nominal_energy_j * self.self_discharge_per_month / MONTH_S


def battery_life_s(battery: Battery, power_w: Number) -> Number:
    """Return how long a battery supplies a mean power, in seconds.

    ``L = C V * usable * efficiency / (P + C V * self_discharge / 730 h)``.

    Args:
        battery: What supplies it.
        power_w: Mean power of everything it feeds, asleep and awake, watts.

    Raises:
        ValueError: If the power is negative, or nothing ever empties the battery.
    """
    drain_w = not_negative(power_w, "average power", "W") + battery.self_discharge_w
    return battery.usable_energy_j / positive(drain_w, "power and self-discharge", "W")


def battery_days(battery: Battery, power_w: Number) -> Number:
    """Return `battery_life_s` in days of 86,400 s."""
    return battery_life_s(battery, power_w) / DAY_S


def inferences_per_charge(battery: Battery, power_w: Number, interval_s: Number) -> Number:
    """Return how many inferences a charge lasts for, ``L / T``.

    Without self-discharge it is the usable energy over that of one interval, ``P T``.

    Args:
        battery: What supplies them.
        power_w: Mean power of everything it feeds, watts.
        interval_s: From one inference to the next, seconds.

    Raises:
        ValueError: As `battery_life_s`, or if the interval is not positive.
    """
    return battery_life_s(battery, power_w) / positive(interval_s, "interval", "s")
