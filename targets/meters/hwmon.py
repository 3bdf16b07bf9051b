"""Current sensors on the board, through Linux' hwmon: INA219, INA226 and INA3221.

On a Jetson the module's input rail is one channel of an INA3221. Its other rails are branches
behind that one: adding them up counts twice.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from targets.meters._types import MeterError, MeterInfo, PowerSamples
from targets.meters.polling import checked_period_s, poll

Chip = Literal["ina219", "ina226", "ina3221"]


@dataclass(frozen=True)
class _Figures:
    """Of a chip at 25 degrees C, from its data sheet, and of how Linux sets it up.

    Args:
        gain_error: Largest, of the shunt's voltage.
        offset_v: Largest, of the shunt's voltage.
        shunt_step_v: Of the shunt's voltage.
        power_steps: Steps of current in one of ``power1_input``; 0 where there is none.
        channels: It has.
        update_s: Of a value, where the driver does not tell: one conversion of each voltage.
    """

    gain_error: float
    offset_v: float
    shunt_step_v: float
    power_steps: int
    channels: int
    update_s: float


_FIGURES = {
    "ina219": _Figures(0.005, 200e-6, 10e-6, 20, 1, 1.06e-3),  # SBOS448G, Sec. 7.5; PGA = 8
    "ina226": _Figures(0.001, 10e-6, 2.5e-6, 25, 1, 35.2e-3),  # SBOS547A, Sec. 6.5; 16 averaged
    "ina3221": _Figures(0.0025, 80e-6, 40e-6, 0, 3, 6.6e-3),  # SBOS576A, p. 3
}
_SHUNT_OHM = 0.01
"""Where the driver does not tell: its default."""

_INPUT_RAILS = ("VDD_IN", "VIN_SYS_5V0")
"""Of Jetsons: all other rails of their sensors are branches of it."""

_SHUNT_ERROR = 0.01
_LEAST_PERIOD_S = 0.01
_BOXCAR = 0.443
"""Bandwidth of a mean over a time, times that time: where sinc(f T)**2 is one half."""

_MICRO, _MILLI = 1e-6, 1e-3


class Hwmon:
    """Reads one rail; see `targets.meters.PowerSampler`.

    Args:
        chip: As in the sensor's ``name``.
        label: Of the rail, as in ``inN_label``; where it has none, the sensor's address on its
            bus, such as ``1-0040``, and ``:N`` if it has several. Not needed where there is
            only one.
        period_s: Mean time between two readings; by default as long as the chip takes for a
            new value, and at least 10 ms.
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
        figures = _FIGURES[chip]
        rail = _choose(_rails(Path(root) / "class" / "hwmon", chip), chip, label)
        update_s = rail.update_s() or figures.update_s
        self._period_s = checked_period_s(
            max(_LEAST_PERIOD_S, update_s) if period_s is None else period_s, update_s
        )
        self._read_w = rail.reader()
        self._read_w()
        voltage_v, shunt_ohm = rail.voltage_v(), rail.shunt_ohm()
        step_a = figures.shunt_step_v / (shunt_ohm or _SHUNT_OHM)
        step_w = step_a * figures.power_steps if rail.has_power else voltage_v * step_a
        shunt = "of its shunt" if shunt_ohm else "of its shunt, 10 mOhm being assumed"
        self._info = MeterInfo(
            rail=f"hwmon:{chip}:{rail.name}",
            scope=f"rail {rail.name} of the {chip} on the board, and what is fed from it",
            update_period_s=self._period_s,
            resolution=max(step_w, voltage_v * _MILLI),  # currents are told in mA
            range_w=None,
            gain_error=figures.gain_error + _SHUNT_ERROR,
            offset_error_w=voltage_v * figures.offset_v / (shunt_ohm or _SHUNT_OHM),
            averages=False,  # readings are not in step with the chip's own means
            polled=True,
            bandwidth_hz=_BOXCAR / update_s,
            voltage_v=voltage_v,
            branch_of=tuple(
                f"hwmon:{chip}:{whole}" for whole in _INPUT_RAILS if whole != rail.name
            ),
            source=f"the chip's data sheet, and 1 % {shunt}",
        )
        self._closed = threading.Event()

    @property
    def info(self) -> MeterInfo:
        """What it measures, and how well."""
        return self._info

    def stream(self) -> Iterator[PowerSamples]:
        """Yield readings at random times, a period apart on average."""
        return poll(self._read_w, self._period_s, self._closed)

    def close(self) -> None:
        """End the stream."""
        self._closed.set()


@dataclass(frozen=True)
class _Rail:
    """A channel of a sensor that measures a voltage and a current."""

    folder: Path
    number: int

    @property
    def name(self) -> str:
        """Its label, else the sensor's address or folder, and the channel if it has several."""
        label = self.folder / f"in{self.number}_label"
        if label.exists():
            return _text(label)
        device = self.folder / "device"
        sensor = device.resolve().name if device.exists() else self.folder.name
        several = (self.folder / "curr2_input").exists()
        return f"{sensor}:{self.number}" if several else sensor

    @property
    def has_power(self) -> bool:
        return (self.folder / f"power{self.number}_input").exists()

    def reader(self) -> Callable[[], float]:
        """Return what reads the power, in watts."""
        power = self.folder / f"power{self.number}_input"
        if self.has_power:
            return lambda: _number(power) * _MICRO
        volts, amperes = self._file("in{}_input"), self._file("curr{}_input")
        return lambda: _number(volts) * _MILLI * _number(amperes) * _MILLI

    def voltage_v(self) -> float:
        return _number(self._file("in{}_input")) * _MILLI

    def shunt_ohm(self) -> float | None:
        for name in (f"shunt{self.number}_resistor", "shunt_resistor"):
            if (self.folder / name).exists():
                return _number(self.folder / name) * _MICRO or None
        return None

    def update_s(self) -> float | None:
        path = self.folder / "update_interval"
        return _number(path) * _MILLI or None if path.exists() else None

    def _file(self, pattern: str) -> Path:
        return self.folder / pattern.format(self.number)


def _rails(folder: Path, chip: Chip) -> list[_Rail]:
    """Return the rails of all sensors of a kind.

    Raises:
        MeterError: If there are none.
    """
    sensors = {path: _text(path / "name") for path in sorted(folder.glob("hwmon*"))}
    rails = [
        _Rail(path, number)
        for path, name in sensors.items()
        if name == chip
        for number in range(1, _FIGURES[chip].channels + 1)
        if (path / f"curr{number}_input").exists() and (path / f"in{number}_input").exists()
    ]
    if not rails:
        raise MeterError(
            f"{folder}: no {chip}; there are {', '.join(sorted(sensors.values())) or 'no sensors'}",
            "read it where it is: at: board, or at: ssh://user@board",
        )
    return rails


def _choose(rails: list[_Rail], chip: Chip, label: str | None) -> _Rail:
    named = [rail for rail in rails if label in (None, rail.name)]
    if len(named) != 1:
        known = ", ".join(rail.name for rail in rails)
        raise MeterError(f"label: wanted one rail of the {chip}: {known}; got {label!r}")
    return named[0]


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
        raise MeterError(f"{path}: permission denied", f"as root: chmod o+r {path}") from None
    except OSError as error:
        raise MeterError(f"{path}: cannot be read ({error.strerror})") from None
