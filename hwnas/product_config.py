"""The product around the network: how often it infers, and everything else that takes energy."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from hwnas.battery import Battery
from hwnas.carbon import carbon_intensity

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Share = Annotated[float, Field(gt=0, le=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BatteryConfig(_Section):
    """The battery and the converter behind it, as in `hwnas.battery.Battery`."""

    capacity_mah: _Positive
    voltage_v: _Positive
    usable_share: _Share = 1.0
    converter_efficiency: _Share = 1.0
    self_discharge_per_month: Annotated[float, Field(ge=0, le=1)] = 0.0

    @property
    def battery(self) -> Battery:
        """The same in SI units."""
        return Battery(
            self.capacity_mah / 1e3,
            self.voltage_v,
            self.usable_share,
            self.converter_efficiency,
            self.self_discharge_per_month,
        )


class OffloadConfig(_Section):
    """What sending the input to a server would take, instead of inferring here."""

    payload_bytes: Annotated[int, Field(ge=1)]
    energy_per_mb_j: _Positive = Field(description="of the device's radio, per 10^6 bytes")


class ProductConfig(_Section):
    """What the metrics of the whole product are computed from.

    The energies are per inference and beside it, above sleeping power.
    """

    interval_s: _Positive = Field(description="from one inference to the next")
    sleep_power_mw: _NotNegative
    wake_energy_mj: _NotNegative = 0.0
    sensor_energy_mj: _NotNegative = 0.0
    processing_energy_mj: _NotNegative = Field(0.0, description="before and after the network")
    radio_energy_mj: _NotNegative = 0.0
    battery: BatteryConfig | None = None
    supply_voltage_v: _Positive | None = Field(
        None, description="for currents, where the power meter does not know it"
    )
    charger_efficiency: _Share = 1.0
    country: str | None = Field(None, description="ISO 3166-1 alpha-3 code, or WORLD")
    price_per_kwh: _NotNegative | None = None
    offload: OffloadConfig | None = None
    max_temperature_c: Annotated[float, Field(allow_inf_nan=False)] | None = None

    @field_validator("country")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is not None:
            carbon_intensity(value)
        return value

    @property
    def sleep_power_w(self) -> float:
        """Drawn between inferences, watts."""
        return self.sleep_power_mw / 1e3

    @property
    def event_energy_j(self) -> float:
        """Spent beside each inference: waking, sensor, processing and radio, joules."""
        parts_mj = (
            self.wake_energy_mj,
            self.sensor_energy_mj,
            self.processing_energy_mj,
            self.radio_energy_mj,
        )
        return sum(parts_mj) / 1e3

    @property
    def mains_efficiency(self) -> float:
        """Energy that reaches the device, relative to that from the mains."""
        converter = self.battery.converter_efficiency if self.battery else 1.0
        return self.charger_efficiency * converter
