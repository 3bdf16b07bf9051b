"""Recorded results as one file: JSON lines that can be replayed, or a Parquet table."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from hwnas.errors import UserError
from hwnas.measurement_listing import MeasurementQuery, read_record, select
from targets import (
    EnergyMeasurement,
    Failure,
    MeasureConfig,
    MeasurementLog,
    Record,
    RecordHead,
    open_measurement_log,
)

_ROWS_AT_ONCE = 500
_ENERGIES = ("gross_j", "net_j", "idle_power_w", "active_power_w")
_INTERVAL = ("value", "low", "high")


def export_measurements(path: Path, query: MeasurementQuery = MeasurementQuery()) -> int:
    """Write recorded results to a new file.

    Args:
        path: ``.jsonl`` for the records as they are, which a target with ``backend: replay``
            answers from; ``.parquet`` for a table of one row per record, with the samples in
            the list column ``latency_s``.
        query: Which records.

    Returns:
        How many records were written.

    Raises:
        UserError: If the file cannot be of that kind or exists already, pyarrow is missing, or
            as `list_measurements`.
    """
    writers = {".jsonl": _write_jsonl, ".parquet": _write_parquet}
    write = writers.get(path.suffix)
    if write is None:
        raise UserError(f"--export {path}: wanted a name that ends in {' or '.join(writers)}")
    if path.exists():
        raise UserError(f"--export {path}: exists already. Remove it or choose another name.")
    if not path.parent.is_dir():
        raise UserError(f"--export {path}: there is no folder {path.parent}. Make it first.")
    log = open_measurement_log()
    heads = select(log, query)
    with _whole_or_absent(path) as unfinished:
        write(unfinished, log, heads)
    return len(heads)


@contextmanager
def _whole_or_absent(path: Path) -> Iterator[Path]:
    """Yield where to write; the file gets its name only when it is complete."""
    unfinished = path.parent / f".{path.name}.{uuid.uuid4().hex}"
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _write_jsonl(path: Path, log: MeasurementLog, heads: Sequence[RecordHead]) -> None:
    with path.open("wb") as file:
        file.writelines(log.line(head) + b"\n" for head in heads)


def _write_parquet(path: Path, log: MeasurementLog, heads: Sequence[RecordHead]) -> None:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError(
            "--export: Parquet needs pyarrow. Run: pip install 'hwnas[parquet]'"
        ) from None

    schema = pyarrow.schema(_columns(pyarrow))
    with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for start in range(0, len(heads), _ROWS_AT_ONCE):
            chunk = heads[start : start + _ROWS_AT_ONCE]
            rows = [_row(read_record(log, head)) for head in chunk]
            writer.write_table(pyarrow.Table.from_pylist(rows, schema))


def _columns(pyarrow: Any) -> list[tuple[str, Any]]:
    text, integer, real = pyarrow.string(), pyarrow.int64(), pyarrow.float64()
    settings = [
        (f"config_{field.name}", integer if isinstance(field.default, int) else real)
        for field in fields(MeasureConfig)
    ]
    return [
        ("id", text),
        ("recorded_at", pyarrow.timestamp("us", tz="UTC")),
        ("kind", text),
        ("target", text),
        ("model_sha256", text),
        ("artifact_sha256", text),
        ("latency_s", pyarrow.list_(real)),
        *((f"{name}_{part}", real) for name in _ENERGIES for part in _INTERVAL),
        ("flash_bytes", integer),
        ("peak_ram_bytes", integer),
        ("provenance", text),
        ("flags", pyarrow.list_(text)),
        ("measured_at", text),
        *settings,
        ("device_state_json", text),
        ("failure_stage", text),
        ("failure_message", text),
    ]


def _row(record: Record) -> dict[str, Any]:
    result = record.result
    row: dict[str, Any] = {
        "id": record.id,
        "recorded_at": datetime.fromisoformat(record.recorded_at),
        "target": result.target,
        "model_sha256": result.model_sha256,
    }
    if isinstance(result, Failure):
        return row | {
            "kind": "failure",
            "failure_stage": result.stage,
            "failure_message": result.message,
        }
    if isinstance(result, EnergyMeasurement):
        intervals = {name: getattr(result, name) for name in _ENERGIES}
        return row | {
            "kind": "energy",
            "artifact_sha256": result.artifact_sha256,
            **{
                f"{name}_{part}": getattr(found, part)
                for name, found in intervals.items()
                if found is not None
                for part in _INTERVAL
            },
            "provenance": result.provenance,
            "measured_at": result.measured_at,
            "device_state_json": json.dumps(dict(result.device_state)),
        }
    return row | {
        "kind": "measurement",
        "artifact_sha256": result.artifact_sha256,
        "latency_s": result.latency_s,
        "flash_bytes": result.flash_bytes,
        "peak_ram_bytes": result.peak_ram_bytes,
        "provenance": result.provenance,
        "flags": result.flags,
        "measured_at": result.measured_at,
        **{f"config_{name}": value for name, value in asdict(result.config).items()},
        "device_state_json": json.dumps(dict(result.device_state)),
    }
