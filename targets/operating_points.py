"""Operating points of a device: clocks and power modes that a model can be measured at."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from targets.target_errors import DeviceRefusedError

if TYPE_CHECKING:
    from targets.spec import TargetSpec

POWER_MODE_FILE = "/var/lib/nvpmodel/status"
"""Where a Jetson's nvpmodel keeps the mode it has set, such as ``pmode:0002 fmode:cool``."""

_LARGEST_MODE = 999


class OperatingPoint(BaseModel):
    """A clock and power mode of a device. Voltage follows from them, and is not known.

    Args:
        name: Unique among the target's points.
        clock_khz: CPU clock to pin. A policy that cannot run at it takes the next clock below.
        power_mode: Number of the nvpmodel mode the device has to be in. It is read and never
            set, as some modes take effect only after a restart of the device.
        active_power_w: Power drawn at this point while it runs inferences, from a data sheet,
            watts; for the modelled energy where no power meter is attached.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_. -]*$")]
    clock_khz: Annotated[int, Field(ge=1)] | None = None
    power_mode: Annotated[int, Field(ge=0, le=_LARGEST_MODE)] | None = None
    active_power_w: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _is_somewhere(self) -> OperatingPoint:
        if self.clock_khz is None and self.power_mode is None:
            raise ValueError(f"{self.name}: wanted clock_khz, power_mode or both, got neither")
        return self


def operating_points(
    spec: TargetSpec, state: Mapping[str, str | int | float | None]
) -> tuple[OperatingPoint, ...]:
    """Return the operating points of a target, lowest clock first.

    Args:
        spec: Of the target. Points described there are returned in their order.
        state: Of the device; otherwise the points are the clocks that its cpufreq offers.

    Returns:
        None where there are none: no description, and a device without cpufreq.
    """
    if spec.operating_points:
        return spec.operating_points
    clocks = str(state.get("available_clocks_khz") or "").split()
    return tuple(OperatingPoint(name=f"{int(k) / 1e6:g} GHz", clock_khz=int(k)) for k in clocks)


def at_point(spec: TargetSpec, point: OperatingPoint) -> TargetSpec:
    """Return the description of a target that is measured at one of its points."""
    clock_khz = spec.clock_khz if point.clock_khz is None else point.clock_khz
    power_mode = spec.power_mode if point.power_mode is None else point.power_mode
    return spec.model_copy(update={"clock_khz": clock_khz, "power_mode": power_mode})


def require_power_mode(spec: TargetSpec, state: Mapping[str, str | int | float | None]) -> None:
    """Check that a device is in the power mode of its target's description.

    Raises:
        DeviceRefusedError: If it is in another one.
    """
    found = state.get("power_mode")
    if spec.power_mode not in (None, found):
        raise DeviceRefusedError(
            f"wanted power mode {spec.power_mode}, the device is in "
            f"{'none that it tells' if found is None else found}. "
            f"On the device: sudo nvpmodel -m {spec.power_mode}"
        )


def refusal(
    point: OperatingPoint | None, state: Mapping[str, str | int | float | None]
) -> str | None:
    """Return why a device was not at a point while something was measured; ``None`` if it was.

    Args:
        point: Wanted; none where the device was to be left as it is.
        state: Of the device meanwhile.
    """
    if point is None:
        return None
    if point.power_mode not in (None, state.get("power_mode")):
        return f"wanted power mode {point.power_mode}, got {state.get('power_mode')}"
    if point.clock_khz is None:
        return None
    if reason := state.get("clock_refused"):
        return f"{point.clock_khz} kHz could not be pinned: {reason}"
    return None if state.get("clock_pinned") else f"{point.clock_khz} kHz was not pinned"


def power_mode(status: str | None) -> int | None:
    """Return the power mode that the text of `POWER_MODE_FILE` tells, if it tells one."""
    found = re.match(r"pmode:([0-9]+)\b", status or "")
    return int(found[1]) if found else None
