"""Measurements and failures as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TypeAlias, get_args

from targets._types import Failure, Flag, MeasureConfig, Measurement
from targets.energy_measurement import EnergyConfig, EnergyMeasurement, EnergyTrial, Interval
from targets.meters import MeterInfo

SCHEMA_VERSION = 2
Result: TypeAlias = Measurement | EnergyMeasurement | Failure

_KINDS: dict[type, str] = {
    Measurement: "measurement",
    EnergyMeasurement: "energy",
    Failure: "failure",
}
_INTERVALS = ("gross_j", "net_j", "idle_power_w", "active_power_w")


def result_to_dict(result: Result) -> dict[str, Any]:
    """Return a JSON-ready form with its kind and schema version."""
    kind = _KINDS[type(result)]
    return {"schema_version": SCHEMA_VERSION, "kind": kind, **asdict(result)}


def result_from_dict(data: Mapping[str, Any]) -> Result:
    """Rebuild a measurement or a failure from `result_to_dict`.

    Raises:
        ValueError: If the schema version or kind is unknown, or a field is missing or wrong.
    """
    fields = dict(data)
    version, kind = fields.pop("schema_version", None), fields.pop("kind", None)
    if version != SCHEMA_VERSION:
        raise ValueError(f"schema_version: wanted {SCHEMA_VERSION}, got {version!r}")
    try:
        if kind == "failure":
            return Failure(**fields)
        if kind == "measurement":
            return _measurement(fields)
        if kind == "energy":
            return _energy(fields)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not a {kind}: {error}") from None
    wanted = ", ".join(map(repr, _KINDS.values()))
    raise ValueError(f"kind: wanted one of {wanted}, got {kind!r}")


def measurement_from_dict(data: Mapping[str, Any]) -> Measurement:
    """Rebuild a measurement from `result_to_dict`.

    Raises:
        ValueError: As `result_from_dict`, and for a failure.
    """
    result = result_from_dict(data)
    if not isinstance(result, Measurement):
        reason = f" ({result.message})" if isinstance(result, Failure) else ""
        raise ValueError(f"kind: wanted 'measurement', got {data['kind']!r}{reason}")
    return result


def _measurement(fields: dict[str, Any]) -> Measurement:
    energy = fields.pop("energy", None)
    flags = tuple(fields.pop("flags", ()))
    if unknown := set(flags) - set(get_args(Flag)):
        raise ValueError(f"flags: unknown {', '.join(map(repr, sorted(unknown)))}")
    latency_s = tuple(float(value) for value in fields.pop("latency_s"))
    tail_latency_s = tuple(float(value) for value in fields.pop("tail_latency_s", ()))
    if not latency_s or min((*latency_s, *tail_latency_s)) <= 0:
        raise ValueError("latency_s: wanted positive numbers")
    return Measurement(
        **fields | {"config": MeasureConfig(**fields["config"])},
        latency_s=latency_s,
        tail_latency_s=tail_latency_s,
        energy=None if energy is None else _energy(dict(energy)),
        flags=flags,
    )


def _energy(fields: dict[str, Any]) -> EnergyMeasurement:
    for name in _INTERVALS:
        found = fields[name]
        fields[name] = None if found is None and name == "net_j" else Interval(**found)
    for name in ("trials", "sustained"):
        fields[name] = tuple(EnergyTrial(**trial) for trial in fields[name])
    fields["meters"] = tuple(MeterInfo(**meter) for meter in fields["meters"])
    fields["config"] = EnergyConfig(**fields["config"])
    return EnergyMeasurement(**fields)
