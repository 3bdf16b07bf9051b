"""Measurements and failures as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TypeAlias, get_args

from targets._types import Failure, Flag, MeasureConfig, Measurement

SCHEMA_VERSION = 1
Result: TypeAlias = Measurement | Failure


def result_to_dict(result: Result) -> dict[str, Any]:
    """Return a JSON-ready form with its kind and schema version."""
    kind = "measurement" if isinstance(result, Measurement) else "failure"
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
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not a {kind}: {error}") from None
    raise ValueError(f"kind: wanted 'measurement' or 'failure', got {kind!r}")


def measurement_from_dict(data: Mapping[str, Any]) -> Measurement:
    """Rebuild a measurement from `result_to_dict`.

    Raises:
        ValueError: As `result_from_dict`, and for a failure.
    """
    result = result_from_dict(data)
    if isinstance(result, Failure):
        raise ValueError(f"kind: wanted 'measurement', got a failure ({result.message})")
    return result


def _measurement(fields: dict[str, Any]) -> Measurement:
    energy = fields.pop("energy_j", None)
    flags = tuple(fields.pop("flags", ()))
    if unknown := set(flags) - set(get_args(Flag)):
        raise ValueError(f"flags: unknown {', '.join(map(repr, sorted(unknown)))}")
    latency_s = tuple(float(value) for value in fields.pop("latency_s"))
    if not latency_s or min(latency_s) <= 0:
        raise ValueError("latency_s: wanted positive numbers")
    return Measurement(
        **fields | {"config": MeasureConfig(**fields["config"])},
        latency_s=latency_s,
        energy_j=None if energy is None else tuple(float(value) for value in energy),
        flags=flags,
    )
