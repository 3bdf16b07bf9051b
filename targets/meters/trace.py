"""A file that a meter's own software writes while it measures."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from targets.meters._types import MeterError, MeterInfo, PowerSamples

_COLUMNS = ("t_s", "power_w")
_MARKER = "marker"
_LOOK_S = 0.02
_SETTLE_S = 0.5
_SILENCE_S = 5.0
_HEAD_ROWS = 1000
_GAP = 1.75
"""Rows that are further apart than so many periods have lost others between them."""

_GROW_FIX = "start the meter's software, and let it write to this file while it measures"


class RecordedTrace:
    """Follows a CSV file that grows; see `targets.meters.PowerSampler`.

    The file's clock may be any: it is anchored to when rows arrive, and a software that writes
    in large pieces makes them arrive late. The rows that came soonest in the first half second
    tell most; the measurement finds the rest from the step in power.

    Args:
        path: CSV file with a header that names ``t_s`` (seconds) and ``power_w``, and
            ``marker`` (0 to 255) if there is one, in any order and among others.
        rail: What the meter is wired to, in a few words.
        averages: Whether its values are means since the one before.
        gain_error: Limit of the meter's relative error.
        resolution_w: Of the meter.
        range_w: Largest power that the meter can show.

    Raises:
        MeterError: If the file is missing, or not such a table.
    """

    def __init__(
        self,
        *,
        path: str,
        rail: str = "file",
        averages: bool = False,
        gain_error: float = 0.0,
        resolution_w: float = 1e-6,
        range_w: float | None = None,
    ) -> None:
        self._table, self._period_s = _opened(Path(path))
        stated = "" if gain_error else "; no accuracy was stated"
        self._info = MeterInfo(
            rail=f"trace:{rail}",
            scope=f"{rail}: what the meter that writes {self._table.path.name} is wired to{stated}",
            update_period_s=self._period_s,
            resolution=resolution_w,
            range_w=range_w,
            gain_error=gain_error,
            offset_error_w=0.0,
            averages=averages,
            polled=False,
            bandwidth_hz=1 / (2 * self._period_s),
            markers=self._table.marker is not None,
            source="the target's file, and the median step of the recording",
        )
        self._closed = threading.Event()

    @property
    def info(self) -> MeterInfo:
        """What it measures, and how well."""
        return self._info

    def stream(self) -> Iterator[PowerSamples]:
        """Yield what is appended from now on, from when the file's clock is anchored.

        Raises:
            MeterError: If nothing is appended for 5 s, or a row is wrong.
        """
        began_s, late_s, settled, last_s = time.monotonic(), math.inf, False, math.nan
        waiting = [np.empty((0, 3))]
        for arrived_s, rows in self._appended():
            waiting.append(rows)
            if not settled:
                if len(rows):
                    late_s = min(late_s, arrived_s - rows[-1, 0])
                settled = math.isfinite(late_s) and time.monotonic() - began_s >= _SETTLE_S
            if not settled:
                yield PowerSamples(np.empty(0), np.empty(0), np.empty(0, np.uint8))
                continue
            t_s, power_w, marker = np.concatenate(waiting).T
            waiting = []
            steps_s = np.diff(t_s, prepend=last_s) if len(t_s) else t_s
            last_s = t_s[-1] if len(t_s) else last_s
            lost = np.rint(steps_s[steps_s > _GAP * self._period_s] / self._period_s) - 1
            yield PowerSamples(t_s + late_s, power_w, marker.astype(np.uint8), int(lost.sum()))

    def close(self) -> None:
        """End the stream."""
        self._closed.set()

    def _appended(self) -> Iterator[tuple[float, NDArray[np.float64]]]:
        """Yield when something was looked for and the rows ``t_s, power_w, marker`` found."""
        path = self._table.path
        try:
            with path.open("rb") as file:
                number, torn = _skipped(file)
                last_s, heard_s = -math.inf, time.monotonic()
                while not self._closed.wait(_LOOK_S):
                    new = file.read()
                    arrived_s = time.monotonic()
                    if os.fstat(file.fileno()).st_size < file.tell():
                        raise MeterError(f"{path}: was cut while it was read", _GROW_FIX)
                    heard_s = arrived_s if new else heard_s
                    if arrived_s - heard_s > _SILENCE_S:
                        raise MeterError(
                            f"{path}: the recording does not grow for {_SILENCE_S:g} s", _GROW_FIX
                        )
                    *lines, torn = (torn + new).split(b"\n")
                    rows = self._table.rows(lines, number, last_s)
                    number += len(lines)
                    last_s = rows[-1, 0] if len(rows) else last_s
                    yield arrived_s, rows
        except OSError as error:
            raise MeterError(f"{path}: cannot be read ({error.strerror})", _GROW_FIX) from None


@dataclass(frozen=True)
class _Table:
    """A CSV file's columns.

    Args:
        path: Of the file.
        t_s: Index of the column.
        power_w: Index of the column.
        marker: Index of the column, where there is one.
    """

    path: Path
    t_s: int
    power_w: int
    marker: int | None

    @classmethod
    def from_header(cls, path: Path, line: bytes) -> _Table:
        """Read the header.

        Raises:
            MeterError: If a column is missing.
        """
        names = [name.strip().strip('"') for name in line.decode("utf-8-sig", "replace").split(",")]
        if missing := [name for name in _COLUMNS if name not in names]:
            raise MeterError(
                f"{path}:1: wanted a header with {' and '.join(_COLUMNS)}, got "
                f"{', '.join(names)[:80]!r}; {' and '.join(missing)} missing"
            )
        marker = names.index(_MARKER) if _MARKER in names else None
        return cls(path, names.index("t_s"), names.index("power_w"), marker)

    def rows(self, lines: list[bytes], number: int, last_s: float) -> NDArray[np.float64]:
        """Return ``t_s, power_w, marker`` of lines, after ``number`` lines and a last time.

        Raises:
            MeterError: If one is no row, or not later than the one before it.
        """
        found = []
        for line in lines:
            number += 1
            row = self._row(line, number)
            if row[0] <= last_s:
                raise MeterError(
                    f"{self.path}:{number}: wanted a t_s above {last_s:.9g}, got {row[0]:.9g}",
                    "let the software write rows in order, and each once",
                )
            last_s = row[0]
            found.append(row)
        return np.array(found, np.float64).reshape(-1, 3)

    def _row(self, line: bytes, number: int) -> tuple[float, float, float]:
        cells = line.split(b",")
        try:
            t_s, power_w = float(cells[self.t_s]), float(cells[self.power_w])
            marker = 0.0 if self.marker is None else float(cells[self.marker])
        except (IndexError, ValueError):
            t_s = power_w = marker = math.nan
        finite = math.isfinite(t_s) and math.isfinite(power_w)
        if not (finite and marker.is_integer() and 0 <= marker <= 255):
            raise MeterError(
                f"{self.path}:{number}: wanted numbers for t_s and power_w, and 0 to 255 for a "
                f"marker, got {line.decode('utf-8', 'replace').strip()[:60]!r}"
            )
        return t_s, power_w, marker


def _opened(path: Path) -> tuple[_Table, float]:
    """Return a file's columns and the median time between its first rows.

    Raises:
        MeterError: If it cannot be read, or has no two rows.
    """
    try:
        with path.open("rb") as file:
            head = [line for line, _ in zip(file, range(_HEAD_ROWS), strict=False)]
    except OSError as error:
        raise MeterError(f"{path}: cannot be read ({error.strerror})", _GROW_FIX) from None
    table = _Table.from_header(path, head[0] if head else b"")
    rows = table.rows([line for line in head[1:] if line.endswith(b"\n")], 1, -math.inf)
    if len(rows) < 2:
        raise MeterError(f"{path}: wanted at least two rows, got {len(rows)}", _GROW_FIX)
    return table, float(np.median(np.diff(rows[:, 0])))


def _skipped(file: BinaryIO) -> tuple[int, bytes]:
    """Go to a file's end; return how many lines end before it, and the part of one there."""
    number, line = 0, b""
    for line in file:
        number += line.endswith(b"\n")
    return number, b"" if line.endswith(b"\n") else line
