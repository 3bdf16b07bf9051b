"""What this computer was like while something was measured on it."""

from __future__ import annotations

import os
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeAlias

State: TypeAlias = dict[str, str | int | float | None]
_CPUFREQ = Path("sys/devices/system/cpu/cpu0/cpufreq")


def device_state(root: Path = Path("/")) -> State:
    """Read CPU, clock, load, temperature and toolchain versions; ``None`` where unreadable.

    Args:
        root: Of the file system that holds ``proc`` and ``sys``.
    """
    clock = _read(root / _CPUFREQ / "scaling_cur_freq")
    temperature = _read(root / "sys/class/thermal/thermal_zone0/temp")
    return {
        "cpu_model": cpu_model(root),
        "cores": os.cpu_count(),
        "governor": _read(root / _CPUFREQ / "scaling_governor"),
        "clock_khz": int(clock) if clock else _current_clock_khz(root),
        "load_average": os.getloadavg()[0],
        "temperature_c": int(temperature) / 1000 if temperature else None,
        **toolchain_versions(),
    }


@cache
def cpu_model(root: Path = Path("/")) -> str:
    """Return the name the CPU gives itself, or the machine's architecture."""
    return _cpuinfo(root, "model name") or platform.machine()


@cache
def toolchain_versions() -> dict[str, str | None]:
    """Return the installed versions of what compiles and runs models."""
    return {name: _version(name) for name in ("apache-tvm", "onnxruntime", "onnx")}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _current_clock_khz(root: Path) -> int | None:
    megahertz = _cpuinfo(root, "cpu MHz")
    return round(float(megahertz) * 1000) if megahertz else None


def _cpuinfo(root: Path, key: str) -> str | None:
    for line in (_read(root / "proc/cpuinfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None
