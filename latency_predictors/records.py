"""Measured architectures on disk: one JSON line each, append-only, enough to refit."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from latency_predictors.calibration import MeasuredArchitecture
from search_spaces import Architecture, SearchSpace
from targets import Failure, Measurement, measurement_from_dict, result_to_dict

SCHEMA_VERSION = 1


class MeasurementRecords:
    """An append-only file of measured architectures.

    A line holds an architecture, the phase it was measured in, and one result
    per stage or the failure. A torn last line, left by a killed process, is
    dropped when the file is opened.

    Args:
        path: JSONL file; made on the first `append`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.exists():
            _drop_torn_line(path)

    def append(
        self,
        phase: str,
        architecture: Architecture,
        results: tuple[Measurement, ...] | Failure,
    ) -> None:
        """Write one architecture's measurements, or its failure, and flush to disk."""
        record = {
            "schema_version": SCHEMA_VERSION,
            "phase": phase,
            "architecture": architecture.to_dict(),
            **(
                {"failure": result_to_dict(results)}
                if isinstance(results, Failure)
                else {"stages": [result_to_dict(m) for m in results]}
            ),
        }
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def measured(self, space: SearchSpace, phase: str | None = None) -> list[MeasuredArchitecture]:
        """Return the measured architectures, of one phase or of all, without failures.

        Raises:
            ValueError: If a line is damaged, of another schema version, or of an
                architecture that the space does not have.
        """
        return [m for p, m in self._read(space) if phase in (None, p)]

    def _read(self, space: SearchSpace) -> Iterator[tuple[str, MeasuredArchitecture]]:
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    record = json.loads(line)
                    if record["schema_version"] != SCHEMA_VERSION:
                        raise ValueError(f"schema_version {record['schema_version']}")
                    if "failure" not in record:
                        yield record["phase"], _measured_architecture(record, space)
                except (KeyError, TypeError, ValueError) as error:
                    where = f"{self.path}:{number}"
                    raise ValueError(f"{where}: not a measurement record ({error})") from None


def _measured_architecture(record: dict[str, Any], space: SearchSpace) -> MeasuredArchitecture:
    if record["architecture"]["space"] != space.name:
        raise ValueError(f"space: wanted {space.name}, got {record['architecture']['space']}")
    arch = space.canonicalize(record["architecture"]["choices"])
    graphs = tuple(stage.workloads for stage in space.stages(arch))
    results = tuple(measurement_from_dict(m) for m in record["stages"])
    if len(results) != len(graphs):
        raise ValueError(f"stages: wanted {len(graphs)}, got {len(results)}")
    return MeasuredArchitecture(arch, graphs, results)


def _drop_torn_line(path: Path) -> None:
    content = path.read_bytes()
    end = content.rfind(b"\n") + 1
    if end != len(content):
        with path.open("rb+") as file:
            file.truncate(end)
