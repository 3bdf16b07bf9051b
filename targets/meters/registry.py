"""From a meter's kind and options to an open meter; drivers are imported when first used."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Literal, get_args, get_origin, get_type_hints

from targets.meters._types import MeterError, PowerMeter

ENTRY_POINT_GROUP = "hwnas.power_meters"

_BUILT_IN = {
    "hwmon": "targets.meters.hwmon:Hwmon",
    "joulescope": "targets.meters.joulescope:Joulescope",
    "lpm01a": "targets.meters.lpm01a:Lpm01a",
    "nvml": "targets.meters.nvml:Nvml",
    "pi_pmic": "targets.meters.pi_pmic:PiPmic",
    "ppk2": "targets.meters.ppk2:Ppk2",
    "rapl": "targets.meters.rapl:Rapl",
    "trace": "targets.meters.trace:RecordedTrace",
}


def meter_kinds() -> tuple[str, ...]:
    """Return the names of all registered meters."""
    plugged = {entry.name for entry in entry_points(group=ENTRY_POINT_GROUP)}
    return tuple(sorted(plugged | set(_BUILT_IN)))


def open_meter(kind: str, options: Mapping[str, Any]) -> PowerMeter:
    """Open a meter.

    Raises:
        MeterError: If it is missing, forbidden, or an option is wrong.
    """
    check_options(kind, options)
    meter: PowerMeter = _driver(kind)(**options)
    return meter


def check_options(kind: str, options: Mapping[str, Any]) -> None:
    """Compare options with the arguments of a driver's constructor, which are what it takes.

    Raises:
        MeterError: If there is no such kind, or an option is unknown, missing or of a wrong type.
    """
    driver = _driver(kind)
    parameters = inspect.signature(driver).parameters
    hints = get_type_hints(driver.__init__)
    for name, value in options.items():
        if name not in parameters:
            close = difflib.get_close_matches(name, parameters, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else f" It takes {_listed(parameters)}."
            raise MeterError(f"{name}: unknown option of meter {kind!r}.{hint}")
        if not _fits(value, hints[name]):
            raise MeterError(f"{name}: wanted {_shown(hints[name])}, got {value!r}")
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in options:
            raise MeterError(f"{name}: missing; meter {kind!r} needs it")


def _driver(kind: str) -> Any:
    if kind in _BUILT_IN:
        module, name = _BUILT_IN[kind].split(":")
        return getattr(import_module(module), name)
    for entry in entry_points(group=ENTRY_POINT_GROUP, name=kind):
        return entry.load()
    raise MeterError(
        f"kind: unknown meter {kind!r}. Known: {', '.join(meter_kinds())}. "
        f"A plug-in registers its own in the entry-point group {ENTRY_POINT_GROUP!r}"
    )


def _fits(value: Any, hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return any(value == choice and type(value) is type(choice) for choice in get_args(hint))
    if choices := get_args(hint):  # a union
        return any(_fits(value, choice) for choice in choices)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is hint or (hint is type(None) and value is None)


def _shown(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " or ".join(repr(choice) for choice in get_args(hint))
    if choices := get_args(hint):
        return " or ".join(_shown(c) for c in choices if c is not type(None))
    return {str: "text", float: "a number", int: "a whole number", bool: "true or false"}.get(
        hint, str(hint)
    )


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(names) or "no options"
