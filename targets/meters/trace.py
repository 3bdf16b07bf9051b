"""A file that a meter's own software writes while it measures."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from targets.meters._types import MeterError, MeterInfo, PowerSamples

_COLUMNS = ("t_s", "power_w")
_MARKER = "marker"
_LOOK_S = 0.05
_SILENCE_S = 5.0
_HEAD_ROWS = 100
_GROW_FIX = "start the meter's software, and let it write to this file while it measures"


class RecordedTrace:
    """Follows a CSV file that grows; see `targets.meters.PowerSampler`.

    The file's clock may be any: it is anchored to when rows arrive, which a software that
    writes in large pieces makes late; the measurement finds the rest from the step in power.

    Args:
        path: CSV file with a header that names ``t_s`` and ``power_w``, and ``marker`` if there
            is one, in any order.
        rail: What it measures, in one word.
        averages: Whether its values are means since the one before.
        gain_error: Limit of the meter's relative error.
        resolution_w: Of the meter.
        range_w: Largest power the meter can show.

    Raises:
        MeterError: If the file is missing, or not such a table.
    """

    def __init__(
        self,
        *,
        path: str,
        rail: str = "file",
        averages: bool = True,
        gain_error: float = 0.0,
        resolution_w: float = 1e-6,
        range_w: float | None = None,
    ) -> None:
        self._path = Path(path)
        self._header = self._read_header()
        stated = "" if gain_error else "; no accuracy was stated"
        self._info = MeterInfo(
            rail=f"trace:{rail}",
            scope=f"what the meter behind {self._path.name} measures{stated}",
            update_period_s=self._period_s(),
            resolution=resolution_w,
            range_w=range_w,
            gain_error=gain_error,
            offset_error_w=0.0,
            averages=averages,
            polled=False,
            bandwidth_hz=1 / self._period_s(),
            markers=_MARKER in self._header,
            source="the target's file",
        )

    @property
    def info(self) -> MeterInfo:
        """What it measures, and how well."""
        return self._info

    def stream(self) -> Iterator[PowerSamples]:
        """Yield what is appended from now on.

        Raises:
            MeterError: If nothing is appended for 5 s, or a row is wrong.
        """
        with self._path.open(newline="", encoding="utf-8") as file:
            number = sum(1 for _ in file)
            rest = ""
            late_s, last_s, heard = math.inf, -math.inf, time.monotonic()
            while True:
                rest += file.read()
                lines, _, rest = rest.rpartition("\n")
                if not lines:
                    if time.monotonic() - heard > _SILENCE_S:
                        raise MeterError(
                            f"{self._path}: does not grow for {_SILENCE_S:g} s", _GROW_FIX
                        )
                    time.sleep(_LOOK_S)
                    yield PowerSamples(np.empty(0), np.empty(0), np.empty(0, np.uint8))
                    continue
                heard = time.monotonic()
                rows = []
                for line in lines.split("\n"):
                    number += 1
                    row = self._row(line, number)
                    if row[0] <= last_s:
                        raise MeterError(
                            f"{self._path}:{number}: t_s {row[0]:g} after {last_s:g}; "
                            "times must increase"
                        )
                    last_s = row[0]
                    rows.append(row)
                # the row that came soonest tells most of how the clocks differ
                late_s = min(late_s, heard - last_s)
                t, power, marker = np.array(rows).T
                yield PowerSamples(t + late_s, power, marker.astype(np.uint8))

    def close(self) -> None:
        """Do nothing: the file is open while it is followed."""

    def _read_header(self) -> list[str]:
        try:
            with self._path.open(newline="", encoding="utf-8") as file:
                header = [name.strip() for name in next(csv.reader(file), [])]
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not text"
            raise MeterError(f"{self._path}: cannot be read ({reason})", _GROW_FIX) from None
        if missing := [name for name in _COLUMNS if name not in header]:
            raise MeterError(
                f"{self._path}:1: wanted a header with {', '.join(_COLUMNS)}; "
                f"{', '.join(missing)} is missing in {', '.join(header) or 'an empty file'}"
            )
        return header

    def _period_s(self) -> float:
        """Return the median time between the first rows."""
        with self._path.open(newline="", encoding="utf-8") as file:
            lines = [line for _, line in zip(range(_HEAD_ROWS + 1), file, strict=False)][1:]
        whole = [line for line in lines if line.endswith("\n")]
        times = [self._row(line, number)[0] for number, line in enumerate(whole, start=2)]
        if len(times) < 2:
            raise MeterError(f"{self._path}: holds fewer than two rows", _GROW_FIX)
        return float(np.median(np.diff(times)))

    def _row(self, line: str, number: int) -> tuple[float, float, float]:
        cells = next(csv.reader([line]), [])
        named = dict(zip(self._header, cells, strict=False))
        try:
            values = (float(named["t_s"]), float(named["power_w"]), float(named.get(_MARKER, 0)))
        except (KeyError, ValueError):
            raise MeterError(
                f"{self._path}:{number}: wanted numbers for {', '.join(_COLUMNS)}, "
                f"got {line.strip()[:60]!r}"
            ) from None
        if not all(map(math.isfinite, values)):
            raise MeterError(f"{self._path}:{number}: wanted finite numbers, got {line.strip()!r}")
        return values
