"""Every measurement and failure of every target, in one append-only file."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from targets._types import Failure, Measurement
from targets.energy_measurement import EnergyMeasurement
from targets.json_lines import JsonLines, Line
from targets.result_json import Result, result_from_dict, result_to_dict

_log = logging.getLogger(__name__)

_START = re.compile(rb'\{"id": "([0-9a-f]{64})", (?="key": "([0-9a-f]{64})", )')
# the samples, nearly all of a line, stand last; in JSON no text holds a bare quote
_SAMPLES = b', "latency_s": ['


@dataclass(frozen=True)
class RecordHead:
    """A record without its samples.

    Args:
        place: ``file:line``.
        offset: Of its line in the file.
        fields: All other fields of the record: ``id``, ``key``, ``recorded_at`` and those of
            `targets.result_to_dict`.
    """

    place: str
    offset: int
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Record:
    """A measurement or failure as it was recorded.

    Args:
        id: SHA-256 of its line from the key on: equal records have equal ids.
        key: Hash of whatever the result depends on; what `MeasurementLog.newest` finds it by.
        recorded_at: ISO 8601 time, UTC.
        result: The measurement or failure.
    """

    id: str
    key: str
    recorded_at: str
    result: Result


@dataclass
class _Index:
    """Where the records of each key begin, as far as the file has been read."""

    inode: int = 0
    end: int = 0
    next_number: int = 1
    lines: dict[str, list[Line]] = field(default_factory=dict)


class MeasurementLog:
    """An append-only, content-addressed file of results; see `JsonLines` for its durability.

    A damaged line is skipped with a warning that names it, and left as it is. Two logs
    are merged by joining their files: a record that is there twice counts once.

    Args:
        path: JSONL file; made at the first `append`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines = JsonLines(path)
        self._index = _Index()

    def append(self, key: str, result: Result) -> None:
        """Record a result and flush it to the disk.

        Args:
            key: 64 hexadecimal digits.
            result: Measurement or failure.

        Raises:
            OSError: If it cannot be written; the log is as it was.
        """
        document = result_to_dict(result)
        samples = {"latency_s": document.pop("latency_s")} if "latency_s" in document else {}
        recorded_at = datetime.now(UTC).isoformat(timespec="microseconds")
        content = json.dumps(
            {"key": key, "recorded_at": recorded_at, **document, **samples}, allow_nan=False
        ).encode()[1:]
        digest = hashlib.sha256(content).hexdigest()
        self._lines.append_line(b'{"id": "%s", %s' % (digest.encode(), content))

    def newest(self, key: str) -> Measurement | EnergyMeasurement | None:
        """Return the newest measurement of a key that was not disturbed, if there is one."""
        self._read_what_is_new()
        for line in reversed(self._index.lines.get(key, ())):
            record = self._record(line._replace(content=self._lines.line_at(line.offset)))
            if record is None or isinstance(record.result, Failure):
                continue
            if isinstance(record.result, EnergyMeasurement) or not record.result.disturbed:
                return record.result
        return None

    def heads(self) -> Iterator[RecordHead]:
        """Yield all records, oldest first, without their samples."""
        seen = set()
        for line in self._lines.lines():
            record_id = self._verified_id(line)
            if record_id is None or record_id in seen:
                continue
            seen.add(record_id)
            head, samples, _ = line.content.partition(_SAMPLES)
            fields = json.loads(head + b"}" if samples else head)
            yield RecordHead(self._place(line), line.offset, fields)

    def line(self, head: RecordHead) -> bytes:
        """Return a record as it stands in the file, without its line feed."""
        return self._lines.line_at(head.offset)

    def record(self, head: RecordHead) -> Record:
        """Return a whole record.

        Raises:
            ValueError: If it is of another schema version.
        """
        try:
            return _parsed(self.line(head))
        except ValueError as error:
            raise ValueError(f"{head.place}: {error}") from None

    def _read_what_is_new(self) -> None:
        """Index what this or another process has appended, by the key at a line's start."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            self._index = _Index()
            return
        if self._index.inode != status.st_ino or status.st_size < self._index.end - 1:
            self._index = _Index(status.st_ino)
        index = self._index
        for line in self._lines.lines(index.end, index.next_number):
            if start := _START.match(line.content):
                index.lines.setdefault(start[2].decode(), []).append(line._replace(content=b""))
            else:
                self._warn(line, "not a record")
            index.end = line.offset + len(line.content) + 1
            index.next_number = line.number + 1

    def _record(self, line: Line) -> Record | None:
        if self._verified_id(line) is None:
            return None
        try:
            return _parsed(line.content)
        except ValueError as error:
            self._warn(line, error)
            return None

    def _verified_id(self, line: Line) -> str | None:
        start = _START.match(line.content)
        if start is None:
            self._warn(line, "not a record")
            return None
        recorded = start[1].decode()
        if hashlib.sha256(line.content[start.end() :]).hexdigest() != recorded:
            self._warn(line, "its content does not match its id")
            return None
        return recorded

    def _warn(self, line: Line, reason: object) -> None:
        _log.warning("%s: skipped a damaged line (%s)", self._place(line), reason)

    def _place(self, line: Line) -> str:
        return f"{self.path}:{line.number}"


def _parsed(line: bytes) -> Record:
    fields = json.loads(line)
    names = (fields.pop("id"), fields.pop("key"), fields.pop("recorded_at"))
    return Record(*names, result=result_from_dict(fields))
