"""The energy counters that Intel and AMD processors have: RAPL, through Linux' powercap."""

from __future__ import annotations

import re
import time
from pathlib import Path

from targets.meters._types import MeterError, MeterInfo

_UPDATE_PERIOD_S = 1e-3
_RESOLUTION_J = 2**-14
_PLAUSIBLE_POWER_W = 1000.0
"""Of one zone: twice the rating of the largest processors."""

_LATE_S = 0.1
"""By which a counter's update, or this program, may be late."""

_MICRO = 1e-6
_READ_FIX = (
    "only root may read it (CVE-2020-8694): as root, chmod o+r the file after every start, "
    "or see docs/meters/rapl.md for the rule that does"
)
_BRANCH_OF = {
    "package": ("psys",),
    "dram": ("psys",),
    "core": ("package", "psys"),
    "uncore": ("package", "psys"),
}
_SCOPES = {
    "package": "CPU packages (cores, caches, memory controller, graphics), not the board",
    "psys": "the platform as the processor counts it, usually without peripherals",
    "core": "CPU cores alone",
    "dram": "memory alone",
    "uncore": "graphics beside the cores alone",
}


class Rapl:
    """Adds up the counters of all zones of one kind; see `targets.meters.EnergyCounter`.

    A package holds its cores and graphics, and a platform its packages: kinds are never
    mixed, so that nothing counts twice.

    Args:
        zone: ``package``, ``psys``, ``core``, ``dram`` or ``uncore``.
        gain_error: Limit of its relative error, where it was compared with a meter. The makers
            state none: by default intervals hold the scatter alone.
        root: Of sysfs.

    Raises:
        MeterError: If there is no such zone, or it may not be read.

    References:
        https://docs.kernel.org/power/powercap/powercap.html; Intel 64 and IA-32 Architectures
        Software Developer's Manual, Vol. 3B, Sec. 15.10 (update about every millisecond,
        energy unit 2^-14 J where not stated otherwise).
    """

    def __init__(
        self, *, zone: str = "package", gain_error: float = 0.0, root: str = "/sys"
    ) -> None:
        if zone not in _SCOPES:
            raise MeterError(f"zone: wanted one of {', '.join(_SCOPES)}, got {zone!r}")
        self._zones = _zones(Path(root) / "class" / "powercap", zone)
        self._range_j = [_range_j(z) for z in self._zones]
        self._last_s = time.monotonic()
        self._last_j = [_energy_j(z) for z in self._zones]
        self._total_j = 0.0
        limits = [_optional(z / "constraint_0_max_power_uw") for z in self._zones]
        self._most_w = [
            max(_PLAUSIBLE_POWER_W, 2 * limit * _MICRO) if limit else _PLAUSIBLE_POWER_W
            for limit in limits
        ]
        stated = "" if gain_error else "; its maker states no accuracy"
        self._info = MeterInfo(
            rail=f"powercap:{zone}",
            scope=f"{_SCOPES[zone]}{stated}",
            update_period_s=_UPDATE_PERIOD_S,
            resolution=_RESOLUTION_J,
            range_w=None,
            gain_error=gain_error,
            offset_error_w=0.0,
            averages=True,
            polled=True,
            bandwidth_hz=10.0,  # powers are means between readings a tenth of a second apart
            counts=True,
            branch_of=tuple(f"powercap:{whole}" for whole in _BRANCH_OF.get(zone, ())),
            source="Intel SDM Vol. 3B, Sec. 15.10",
        )

    @property
    def info(self) -> MeterInfo:
        """What it measures, and how well."""
        return self._info

    @property
    def wrap_s(self) -> float:
        """Shortest time in which a zone's register could come round."""
        return min(r / w for r, w in zip(self._range_j, self._most_w, strict=True))

    def joules(self) -> float:
        """Return the energy of all zones since it was opened.

        Raises:
            MeterError: If a zone is gone or may not be read any more, or its counter was set
                to another value.
        """
        began_s = time.monotonic()
        for index, zone in enumerate(self._zones):
            before_j, self._last_j[index] = self._last_j[index], _energy_j(zone)
            grown_j = (self._last_j[index] - before_j) % self._range_j[index]
            most_j = self._most_w[index] * (time.monotonic() - self._last_s + _LATE_S)
            if grown_j > most_j:
                raise MeterError(
                    f"{zone}: went from {before_j:.6f} to {self._last_j[index]:.6f} J where "
                    f"{most_j:.0f} J are the most possible: the counter was set",
                    "measure again; do not suspend the computer or reload its drivers",
                )
            self._total_j += grown_j
        self._last_s = began_s
        return self._total_j

    def close(self) -> None:
        """Do nothing: files are opened for each reading."""


def _zones(folder: Path, kind: str) -> list[Path]:
    """Return the folders of zones of a kind; each package is there once, not by MMIO again."""
    named = {
        path: _text(path / "name")
        for path in sorted(folder.glob("intel-rapl:*"))
        if re.fullmatch(r"intel-rapl:\d+(:\d+)?", path.name)
    }
    if not named:
        raise MeterError(
            f"{folder}: this computer has no RAPL counters",
            "virtual machines have none; on a real one, modprobe intel_rapl_msr",
        )
    pattern = r"package-\d+(-die-\d+)?" if kind == "package" else re.escape(kind)
    found = [path for path, name in named.items() if re.fullmatch(pattern, name)]
    if not found:
        raise MeterError(f"zone: no {kind!r} here; there are {', '.join(sorted(named.values()))}")
    return found


def _energy_j(zone: Path) -> float:
    return _number(zone / "energy_uj") * _MICRO


def _range_j(zone: Path) -> float:
    path = zone / "max_energy_range_uj"
    if (range_uj := _number(path)) <= 0:
        raise MeterError(f"{path}: wanted a number above 0, got {range_uj}")
    return range_uj * _MICRO


def _number(path: Path) -> int:
    text = _text(path)
    try:
        return int(text)
    except ValueError:
        raise MeterError(f"{path}: wanted a number, got {text!r}") from None


def _optional(path: Path) -> int | None:
    try:
        return _number(path)
    except MeterError:
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except PermissionError:
        raise MeterError(f"{path}: permission denied", _READ_FIX) from None
    except OSError as error:
        raise MeterError(f"{path}: cannot be read ({error.strerror})") from None
