"""Measured architectures on disk: one JSON line each, append-only, enough to refit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from latency_predictors.measured_architecture import MeasuredArchitecture
from search_spaces import Architecture, SearchSpace
from targets import Failure, JsonLines, Measurement, measurement_from_dict, result_to_dict

SCHEMA_VERSION = 1


class MeasurementRecords:
    """An append-only file of measured architectures.

    A line holds an architecture, the phase it was measured in, and one result
    per stage or the failure; see `JsonLines` for what a crash does to it. Phases may measure
    other networks of an architecture, of fewer stages or in another precision.

    Args:
        path: JSONL file; made on the first `append`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines = JsonLines(path)

    def append(
        self,
        phase: str,
        architecture: Architecture,
        results: tuple[Measurement, ...] | Failure,
        device_point: str | None = None,
    ) -> None:
        """Write one architecture's measurements, or its failure, and flush to disk.

        Args:
            phase: When it was measured.
            architecture: Whose network was measured.
            results: One measurement per stage, or what failed.
            device_point: Operating point that the device was put at, if it was.
        """
        record = {
            "schema_version": SCHEMA_VERSION,
            "phase": phase,
            "architecture": architecture.to_dict(),
            **({} if device_point is None else {"device_point": device_point}),
            **(
                {"failure": result_to_dict(results)}
                if isinstance(results, Failure)
                else {"stages": [result_to_dict(m) for m in results]}
            ),
        }
        self._lines.append(record)

    def measured(self, space: SearchSpace, phase: str | None = None) -> list[MeasuredArchitecture]:
        """Return the measured architectures, of one phase or of all, without failures.

        Raises:
            ValueError: If a line is damaged, of another schema version, or of an
                architecture that the space does not have.
        """
        return list(self._read(space, phase))

    def _read(self, space: SearchSpace, phase: str | None) -> Iterator[MeasuredArchitecture]:
        for place, record in self._lines:
            try:
                if record["schema_version"] != SCHEMA_VERSION:
                    raise ValueError(f"schema_version {record['schema_version']}")
                if phase in (None, record["phase"]) and "failure" not in record:
                    yield _measured_architecture(record, space)
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{place}: not a measurement record ({error})") from None


def _measured_architecture(record: dict[str, Any], space: SearchSpace) -> MeasuredArchitecture:
    if record["architecture"]["space"] != space.name:
        raise ValueError(f"space: wanted {space.name}, got {record['architecture']['space']}")
    arch = space.canonicalize(record["architecture"]["choices"])
    graphs = tuple(stage.workloads for stage in space.stages(arch))
    results = tuple(measurement_from_dict(m) for m in record["stages"])
    if len(results) != len(graphs):
        raise ValueError(f"stages: wanted {len(graphs)}, got {len(results)}")
    return MeasuredArchitecture(arch, graphs, results)
