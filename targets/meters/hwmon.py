"""Current sensors on the board, through Linux' hwmon: INA219, INA226, INA3221 and their kin.

On a Jetson the module's input rail is one channel of an INA3221. Its other rails are branches
behind that one: adding them up counts twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from targets.meters._types import MeterError, MeterInfo, PowerSamples
from targets.meters.polling import poll

Chip = Literal["ina219", "ina226", "ina3221"]

_GAIN_ERROR = {"ina219": 0.005, "ina226": 0.001, "ina3221": 0.0025}
"""Of the chips, from their data sheets: SBOS448G, SBOS547A and SBOS576B, at 25 degrees C."""

_SHUNT_ERROR = 0.01
_CURRENT_STEP_A = {"ina219": 1e-3, "ina226": 1e-3, "ina3221": 1e-3}
_POWER_STEP_W = {"ina219": 20e-3, "ina226": 25e-3}
_DEFAULT_PERIOD_S = 0.01
_MICRO, _MILLI = 1e-6, 1e-3


class Hwmon:
    """Reads one rail; see `targets.meters.PowerSampler`.

    Args:
        chip: As in the sensor's ``name``.
        label: Of the rail, as in ``inN_label``; not needed where the chip has one rail.
        period_s: Mean time between two readings; by default the chip's own, as the driver
            tells it, and at least 10 ms.
        root: Of sysfs.

    Raises:
        MeterError: If there is no such sensor or rail, or it may not be read.

    References:
        https://docs.kernel.org/hwmon/ina3221.html, https://docs.kernel.org/hwmon/ina2xx.html
    """

    def __init__(
        self,
        *,
        chip: Chip,
        label: str | None = None,
        period_s: float | None = None,
        root: str = "/sys",
    ) -> None:
        folder = _sensor(Path(root) / "class" / "hwmon", chip, label)
        update_s = _update_interval_s(folder)
        self._period_s = period_s or max(_DEFAULT_PERIOD_S, update_s)
        self._read, step_w, voltage_v = _reader(folder, chip, label)
        rail = f"hwmon:{chip}:{label or folder.name}"
        inside = f"rail {label}" if label else "its one rail"
        self._info = MeterInfo(
            rail=rail,
            scope=f"{inside} of the {chip} on the board",
            update_period_s=self._period_s,
            resolution=step_w,
            range_w=None,
            gain_error=_GAIN_ERROR[chip] + _SHUNT_ERROR,
            offset_error_w=0.0,
            averages=False,  # a conversion is far shorter than the time between two readings
            polled=True,
            bandwidth_hz=1 / self._period_s,
            voltage_v=voltage_v,
            source="the chip's data sheet, and 1 % for its shunt",
        )

    @property
    def info(self) -> MeterInfo:
        """What it measures, and how well."""
        return self._info

    def stream(self) -> Iterator[PowerSamples]:
        """Yield readings at random times, a period apart on average."""
        return poll(self._read, self._period_s)

    def close(self) -> None:
        """Do nothing: files are opened for each reading."""


def _sensor(folder: Path, chip: str, label: str | None) -> Path:
    """Return the folder of the sensor that has a rail."""
    sensors = [path for path in sorted(folder.glob("hwmon*")) if _text(path / "name") == chip]
    if not sensors:
        names = sorted({_text(p / "name") for p in folder.glob("hwmon*")})
        raise MeterError(
            f"{folder}: no {chip}; there are {', '.join(names) or 'no sensors'}",
            "read it where it is: at: board, or at: ssh://user@board",
        )
    labels = {path: _labels(path) for path in sensors}
    if label is None and len(sensors) == 1 and len(labels[sensors[0]]) <= 1:
        return sensors[0]
    found = [path for path, known in labels.items() if label in known]
    if not found:
        known = [name for names in labels.values() for name in names]
        raise MeterError(
            f"label: wanted one of {', '.join(known) or 'the rails, but none has a label'}, "
            f"got {label!r}"
        )
    return found[0]


def _labels(folder: Path) -> dict[str, str]:
    """Return the channel number of each rail that has a current."""
    found = {}
    for path in sorted(folder.glob("in*_label")):
        number = re.findall(r"\d+", path.name)[0]
        if (folder / f"curr{number}_input").exists():
            found[_text(path)] = number
    return found


def _reader(
    folder: Path, chip: str, label: str | None
) -> tuple[Callable[[], float], float, float | None]:
    """Return what reads the power in watts, its resolution, and the voltage now."""
    power = folder / "power1_input"
    if label is None and power.exists():
        return lambda: _number(power) * _MICRO, _POWER_STEP_W.get(chip, 1e-3), _voltage(folder)
    number = _labels(folder)[label] if label else "1"
    volts, amperes = folder / f"in{number}_input", folder / f"curr{number}_input"
    voltage_v = _number(volts) * _MILLI
    _number(amperes)
    step_w = voltage_v * _CURRENT_STEP_A[chip]
    return lambda: _number(volts) * _number(amperes) * _MICRO, step_w, voltage_v


def _voltage(folder: Path) -> float | None:
    path = folder / "in1_input"
    return _number(path) * _MILLI if path.exists() else None


def _update_interval_s(folder: Path) -> float:
    path = folder / "update_interval"
    return _number(path) * _MILLI if path.exists() else 0.0


def _number(path: Path) -> int:
    text = _text(path)
    try:
        return int(text)
    except ValueError:
        raise MeterError(f"{path}: wanted a number, got {text!r}") from None


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except PermissionError:
        raise MeterError(f"{path}: permission denied", "let the user read it: chmod o+r") from None
    except OSError as error:
        raise MeterError(f"{path}: cannot be read ({error.strerror})") from None
