"""Measurements and failures as JSON, and a log of them that survives a crash."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

from targets._types import Failure, MeasureConfig, Measurement

_log = logging.getLogger(__name__)
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
    latency_s = tuple(float(value) for value in fields.pop("latency_s"))
    if not latency_s or min(latency_s) <= 0:
        raise ValueError("latency_s: wanted positive numbers")
    return Measurement(
        **fields | {"config": MeasureConfig(**fields["config"])},
        latency_s=latency_s,
        energy_j=None if energy is None else tuple(float(value) for value in energy),
    )


class MeasurementLog:
    """Append-only JSON lines; a killed process loses at most the line in flight.

    Args:
        path: The file; made at the first `append`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, result: Result) -> None:
        """Write one result and flush it to the disk."""
        line = json.dumps(result_to_dict(result), allow_nan=False).encode() + b"\n"
        with self.path.open("ab") as file:
            if file.tell() and not _ends_with_newline(self.path):
                line = b"\n" + line
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def __iter__(self) -> Iterator[Result]:
        """Yield every result in order; torn lines are skipped and reported as a warning.

        Raises:
            ValueError: If a whole line is no result; the message names file and line.
        """
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    data = json.loads(line)
                except ValueError:
                    _log.warning("%s:%d: skipped a torn line", self.path, number)
                    continue
                try:
                    yield result_from_dict(data)
                except ValueError as error:
                    raise ValueError(f"{self.path}:{number}: {error}") from None


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
