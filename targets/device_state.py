"""What a device was like while something was measured on it."""

from __future__ import annotations

import os
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TypeAlias

from targets.cpu_clock import available_clocks_khz, clocks_khz, is_pinned, policies
from targets.device_files import DeviceFiles, LocalFiles
from targets.operating_points import POWER_MODE_FILE, power_mode

State: TypeAlias = dict[str, str | int | float | None]

THROTTLE_BITS = "/sys/devices/platform/soc/soc:firmware/get_throttled"
"""A Raspberry Pi's: bits 0 to 3 tell of now, 16 to 19 of since the start.

https://www.raspberrypi.com/documentation/computers/os.html#get_throttled
"""

_THERMAL_ZONES = 16


def device_state(files: DeviceFiles) -> State:
    """Read CPU, clocks, load, temperature and versions; ``None`` where unreadable."""
    clocks = available_clocks_khz(files, policies(files))
    return {
        "cpu_model": _cpu_model(files),
        "board": files.read("/sys/firmware/devicetree/base/model"),
        "kernel": files.read("/proc/sys/kernel/osrelease"),
        "cores": _n_cores(files),
        "available_clocks_khz": " ".join(map(str, clocks)) or None,
        "power_mode": power_mode(files.read(POWER_MODE_FILE)),
        **changing_state(files),
        **toolchain_versions(),
    }


def changing_state(files: DeviceFiles) -> State:
    """Read only what may change while something is measured."""
    folders = policies(files)
    clocks = clocks_khz(files, folders)
    load = files.read("/proc/loadavg")
    return {
        "governor": files.read(f"{folders[0]}/scaling_governor") if folders else None,
        "clock_khz": max(clocks.values(), default=None),
        "clock_pinned": int(is_pinned(files, folders)) if folders else None,
        "load_average": float(load.split()[0]) if load else None,
        "temperature_c": _temperature_c(files),
        "throttle_bits": files.read(THROTTLE_BITS),
    }


@cache
def cpu_model() -> str:
    """Return the name this computer's CPU gives itself, or the machine's architecture."""
    return _cpu_model(LocalFiles()) or platform.machine()


@cache
def toolchain_versions() -> dict[str, str | None]:
    """Return the installed versions of what compiles and runs models."""
    return {name: _version(name) for name in ("apache-tvm", "onnxruntime", "onnx")}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_model(files: DeviceFiles) -> str | None:
    names = ("model name", "Hardware", "Model", "uarch")
    lines = (line.partition(":") for line in (files.read("/proc/cpuinfo") or "").splitlines())
    fields = {key.strip(): value.strip() for key, _, value in lines}
    return next((fields[name] for name in names if fields.get(name)), None)


def _n_cores(files: DeviceFiles) -> int | None:
    online = files.read("/sys/devices/system/cpu/online")
    if online is None:
        return os.cpu_count() if isinstance(files, LocalFiles) else None
    ranges = (part.split("-") for part in online.split(","))
    return sum(int(ends[-1]) - int(ends[0]) + 1 for ends in ranges)


def _temperature_c(files: DeviceFiles) -> float | None:
    """Return the hottest zone's temperature."""
    hottest = None
    for zone in range(_THERMAL_ZONES):
        text = files.read(f"/sys/class/thermal/thermal_zone{zone}/temp")
        if text is None:
            break
        if text.lstrip("-").isdigit():
            hottest = max(hottest if hottest is not None else -274.0, int(text) / 1000)
    return hottest
