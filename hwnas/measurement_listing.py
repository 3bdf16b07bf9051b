"""Which results the targets recorded, and their summaries."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from hwnas.errors import UserError
from hwnas.target_checking import show_target
from targets import (
    EnergyMeasurement,
    Failure,
    MeasurementLog,
    Record,
    RecordHead,
    open_measurement_log,
    result_to_dict,
)


@dataclass(frozen=True)
class MeasurementQuery:
    """Which records are wanted; with neither ``flagged`` nor ``failures``, any kind.

    Args:
        target: Name of a target, or a path to its YAML file; all by default.
        model: How the model's SHA-256 begins.
        since: ISO 8601 date, or date and time; in UTC unless it says otherwise.
        flagged: Measurements that have flags.
        failures: Failures.
        limit: The newest so many; all by default.
    """

    target: str | None = None
    model: str = ""
    since: str | None = None
    flagged: bool = False
    failures: bool = False
    limit: int | None = None


def list_measurements(query: MeasurementQuery = MeasurementQuery()) -> list[Record]:
    """Return recorded measurements and failures, newest last.

    Raises:
        UserError: If there is no such target, or a query makes no sense.
    """
    log = open_measurement_log()
    return [read_record(log, head) for head in select(log, query)]


def select(log: MeasurementLog, query: MeasurementQuery) -> list[RecordHead]:
    """Return what a query asks for, without the samples, newest last.

    Raises:
        UserError: As `list_measurements`.
    """
    name = None if query.target is None else _target_name(query.target)
    since = None if query.since is None else _moment(query.since)
    found: deque[RecordHead] = deque(maxlen=query.limit)
    is_known = name is None
    for head in log.heads():
        if name in (None, head.fields["target"]):
            is_known = True
            if _is_wanted(head.fields, query, since):
                found.append(head)
    if not is_known:
        # nothing recorded yet is fine, a misspelt name is not
        show_target(str(query.target))
    return list(found)


def read_record(log: MeasurementLog, head: RecordHead) -> Record:
    """Return a record with its samples.

    Raises:
        UserError: If another version of hwnas wrote it.
    """
    try:
        return log.record(head)
    except ValueError as error:
        raise UserError(f"{error}. Read it with the hwnas that wrote it.") from None


def summary(record: Record) -> dict[str, Any]:
    """Return a JSON-ready form without the samples."""
    result = record.result
    common = {
        "id": record.id,
        "recorded_at": record.recorded_at,
        "target": result.target,
        "model_sha256": result.model_sha256,
    }
    if isinstance(result, Failure):
        return common | {"kind": "failure", "stage": result.stage, "message": result.message}
    if isinstance(result, EnergyMeasurement):
        return common | result_to_dict(result)
    return common | {
        "kind": "measurement",
        "artifact_sha256": result.artifact_sha256,
        "latency_median_s": result.latency_median_s,
        "latency_p99_s": result.latency_p99_s,
        "samples": len(result.latency_s),
        "flash_bytes": result.flash_bytes,
        "peak_ram_bytes": result.peak_ram_bytes,
        "flags": list(result.flags),
        "provenance": result.provenance,
        "config": asdict(result.config),
        "device_state": dict(result.device_state),
    }


def _is_wanted(fields: Mapping[str, Any], query: MeasurementQuery, since: datetime | None) -> bool:
    if not fields["model_sha256"].startswith(query.model.lower()):
        return False
    if since is not None and datetime.fromisoformat(fields["recorded_at"]) < since:
        return False
    if not (query.flagged or query.failures):
        return True
    return (query.flagged and bool(fields.get("flags"))) or (
        query.failures and fields["kind"] == "failure"
    )


def _target_name(target: str) -> str:
    return show_target(target).name if target.endswith((".yaml", ".yml")) else target


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(
            f"--since {text}: wanted a date, such as 2026-01-31 or 2026-01-31T12:00"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
