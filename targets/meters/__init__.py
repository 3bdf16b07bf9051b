"""Power meters: what reads them, wherever they are attached."""

from targets.meters._types import (
    EnergyCounter,
    MeterError,
    MeterInfo,
    PowerMeter,
    PowerSampler,
    PowerSamples,
)

__all__ = [
    "EnergyCounter",
    "MeterError",
    "MeterInfo",
    "PowerMeter",
    "PowerSampler",
    "PowerSamples",
]
