"""Metrics as files hold them: checked before anything is computed from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, get_args

from targets import Boundary, Provenance

# of these any number is a wrong one that is not above 0
_POSITIVE = ("latency_s", "latency_p99_s", "energy_j")
_FRACTIONS = ("accuracy", "validation_accuracy")


def checked_metrics(metrics: Mapping[str, dict[str, Any]]) -> Mapping[str, dict[str, Any]]:
    """Return metrics as `hwnas.front.Metric.to_dict` writes them, once they are checked.

    Args:
        metrics: By name, parsed from JSON.

    Raises:
        ValueError: For the first part of one that is of a wrong type, not finite or out of its
            range; says which.
    """
    if not isinstance(metrics, Mapping):
        raise ValueError(f"wanted metrics by name. Got {_shown(metrics)}.")
    for name, metric in metrics.items():
        if not isinstance(metric, Mapping) or "value" not in metric:
            raise ValueError(
                f"{name}: wanted a value and where it comes from. Got {_shown(metric)}."
            )
        for part, value in metric.items():
            wanted, holds = _PARTS.get(part, _UNKNOWN)
            if not holds(value):
                raise ValueError(f"{name}.{part}: wanted {wanted}. Got {_shown(value)}.")
        if name.endswith(_POSITIVE) and metric["value"] <= 0:
            raise ValueError(f"{name}.value: wanted more than 0. Got {metric['value']:g}.")
        if name in _FRACTIONS and not 0 <= metric["value"] <= 1:
            raise ValueError(f"{name}.value: wanted 0 to 1. Got {metric['value']:g}.")
    return metrics


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer of hundreds of digits
        return False


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _one_of(names: tuple[str, ...]) -> tuple[str, Callable[[object], bool]]:
    return f"one of {', '.join(names)}", lambda value: value in names


_NUMBERS = ("value", "low", "high", "predicted", "expected", "voltage_v", "bandwidth_hz", "seeds")
_PARTS: dict[str, tuple[str, Callable[[object], bool]]] = {
    **dict.fromkeys(_NUMBERS, ("a finite number", _is_number)),
    **dict.fromkeys(("split", "flags", "note"), ("text", _is_text)),
    **dict.fromkeys(("selected", "partial"), ("true or false", _is_flag)),
    "provenance": _one_of(get_args(Provenance)),
    "boundary": _one_of(get_args(Boundary)),
}
_UNKNOWN = ("no such part", lambda value: False)


def _shown(value: object) -> str:
    try:
        shown = repr(value)
    except ValueError:  # an integer of thousands of digits
        shown = "a number of thousands of digits"
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
