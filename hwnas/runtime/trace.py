"""A trace: when a device inferred, whether there was an event, and its surroundings; as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwnas.config_errors import did_you_mean
from hwnas.errors import UserError
from hwnas.runtime.signals import SIGNAL_RANGES

MAX_GAP_S = 3600.0
"""A trace that says nothing for longer has a gap."""

_REQUIRED = ("time_s", "event")


@dataclass(frozen=True)
class Trace:
    """One inference per row.

    Args:
        time_s: When, ascending, seconds; shape ``(n,)`` as all others.
        event: Whether there was anything to recognise, or only background.
        temperature_c: Degrees Celsius, where known.
        charging: Whether the device is supplied from outside, where known.
    """

    time_s: NDArray[np.float64]
    event: NDArray[np.bool_]
    temperature_c: NDArray[np.float64] | None = None
    charging: NDArray[np.bool_] | None = None

    @property
    def intervals_s(self) -> NDArray[np.float64]:
        """Time from each inference to the next; that of the last is the median of others."""
        gaps = np.diff(self.time_s)
        return np.append(gaps, np.median(gaps))

    @property
    def duration_s(self) -> float:
        """Of the whole, seconds."""
        return float(self.intervals_s.sum())

    def to_csv(self) -> str:
        """Return the content of its file."""
        columns: dict[str, Sequence[str]] = {
            "time_s": [f"{t:.3f}" for t in self.time_s],
            "event": [str(int(e)) for e in self.event],
        }
        if self.temperature_c is not None:
            columns["temperature_c"] = [f"{t:.2f}" for t in self.temperature_c]
        if self.charging is not None:
            columns["charging"] = [str(int(c)) for c in self.charging]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
        return text.getvalue()


def read_trace(path: Path) -> Trace:
    """Read a trace from CSV: ``time_s``, ``event``, and perhaps ``temperature_c``, ``charging``.

    Raises:
        UserError: Naming the line: for unknown or missing columns, cells that are empty or no
            such value, times that do not ascend, or more than an hour without a row.
    """
    try:
        # spreadsheets begin UTF-8 with a byte order mark
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            header = next(rows, [])
            _check_header(path, header)
            cells: list[list[float]] = []
            for row in rows:
                cells.append(_parsed(f"{path}:{rows.line_num}", header, row))
                _check_time(f"{path}:{rows.line_num}", header, cells)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not CSV ({error})") from None
    if len(cells) < 2:
        raise UserError(f"{path}: wanted at least two rows. Got {len(cells)}.")
    columns = dict(zip(header, np.array(cells).T, strict=True))
    charging = columns.get("charging")
    return Trace(
        columns["time_s"],
        columns["event"] > 0,
        columns.get("temperature_c"),
        None if charging is None else charging > 0,
    )


def _check_header(path: Path, header: list[str]) -> None:
    for name in header:
        if name not in _COLUMNS:
            raise UserError(
                f"{path}:1: unknown column {name!r}.{did_you_mean(name, list(_COLUMNS))} "
                f"Known: {', '.join(_COLUMNS)}."
            )
    if repeated := {name for name in header if header.count(name) > 1}:
        raise UserError(f"{path}:1: column {min(repeated)!r} is there twice.")
    for name in _REQUIRED:
        if name not in header:
            raise UserError(f"{path}:1: column {name!r} is missing.")


def _parsed(where: str, header: list[str], row: list[str]) -> list[float]:
    if len(row) != len(header):
        raise UserError(f"{where}: wanted {len(header)} cells. Got {len(row)}.")
    return [_COLUMNS[name](where, name, cell) for name, cell in zip(header, row, strict=True)]


def _check_time(where: str, header: list[str], cells: list[list[float]]) -> None:
    if len(cells) < 2:
        return
    column = header.index("time_s")
    before_s, now_s = cells[-2][column], cells[-1][column]
    if now_s <= before_s:
        raise UserError(f"{where}: time_s: wanted later than {before_s:g}. Got {now_s:g}.")
    if now_s - before_s > MAX_GAP_S:
        raise UserError(
            f"{where}: time_s: a gap of {now_s - before_s:g} s; wanted a row every "
            f"{MAX_GAP_S:g} s at least. Cut the trace there, or fill it."
        )


def _number(where: str, name: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{where}: {name}: wanted a number. Got {cell!r}.")
    return value


def _flag(where: str, name: str, cell: str) -> float:
    if cell not in ("0", "1"):
        raise UserError(f"{where}: {name}: wanted 0 or 1. Got {cell!r}.")
    return float(cell)


def _temperature(where: str, name: str, cell: str) -> float:
    low, high = SIGNAL_RANGES["temperature_c"]
    value = _number(where, name, cell)
    if not low <= value <= high:
        raise UserError(f"{where}: {name}: wanted {low:g} to {high:g}. Got {cell}.")
    return value


_COLUMNS: dict[str, Callable[[str, str, str], float]] = {
    "time_s": _number,
    "event": _flag,
    "temperature_c": _temperature,
    "charging": _flag,
}
