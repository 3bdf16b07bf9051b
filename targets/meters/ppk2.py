"""Nordic Semiconductor's Power Profiler Kit II, over its USB serial port.

The kit sends 100,000 samples a second of four bytes, least significant first:

======== ==========================================
bits     meaning
======== ==========================================
0 to 13  reading of the analog-digital converter
14 to 16 range: 0 for the smallest currents, 4 for the largest
18 to 23 counter, one more with each sample
24 to 31 logic inputs D0 to D7
======== ==========================================

A reading ``a`` becomes a current with the calibration that the kit tells of itself, per range:
``x = (4 a - O) * 1.8 / 163840 / R`` and ``I = UG * (x (GS x + GI) + S V + I0)``, with the supply
voltage ``V``. https://docs.nordicsemi.com/bundle/ug_ppk2
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from targets.meters._types import MeterError, MeterInfo, PowerSamples
from targets.meters.sample_clock import SampleClock
from targets.meters.serial_port import SerialPort

_PERIOD_S = 1e-5
_VOLT_PER_READING = 1.8 / 163840
_GAIN_BEFORE = 4
_RANGES = 5
_COUNTS = 64
_MOST_A = 1.0
_PIECE_BYTES = 1 << 16
_START, _STOP = b"\x06", b"\x07"
_METADATA, _VOLTAGE, _MODE, _POWER = b"\x19", b"\x0d", b"\x11", b"\x0c"
_MODES = {"ampere": b"\x01", "source": b"\x02"}
_METADATA_S = 2.0
_SILENCE_S = 1.0
_DEFAULTS = {"R": 1.0, "GS": 1.0, "GI": 1.0, "O": 0.0, "S": 0.0, "I": 0.0, "UG": 1.0}


class Ppk2:
    """Samples the power that the kit supplies or passes on; see `PowerSampler`.

    Args:
        port: Such as ``/dev/ttyACM0``.
        voltage_v: In source mode what it supplies; in ampere mode what flows through it has:
            the kit measures currents alone.
        mode: ``source``: the kit is the supply, and stays on. ``ampere``: it sits in the line.

    Raises:
        MeterError: If it is missing, forbidden, or no such kit.

    References:
        Power Profiler Kit II user guide, "PPK2 hardware": 200 nA to 1 A, 100 kS/s; accuracy
        better than 10 % below 1 mA and, from the calibration, a few percent above: 5 % is
        taken here.
    """

    def __init__(
        self, *, port: str, voltage_v: float, mode: Literal["source", "ampere"] = "source"
    ) -> None:
        if not 0.8 <= voltage_v <= 5.0:
            raise MeterError(f"voltage_v: wanted 0.8 to 5 V, got {voltage_v:g}")
        self._port = SerialPort("PPK2", port, 115200)
        self._voltage_v = voltage_v
        try:
            self._port.write(_STOP)
            self._calibration = self._read_calibration()
            self._port.write(_VOLTAGE + round(1000 * voltage_v).to_bytes(2, "big"))
            self._port.write(_MODE + _MODES[mode])
            self._port.write(_POWER + b"\x01")
        except MeterError:
            self._port.close()
            raise
        self._info = MeterInfo(
            rail=f"ppk2:{port}",
            scope=f"all that the PPK2 supplies at {voltage_v:g} V"
            if mode == "source"
            else f"all that flows through the PPK2, taken at {voltage_v:g} V",
            update_period_s=_PERIOD_S,
            resolution=200e-9 * voltage_v,
            range_w=_MOST_A * voltage_v,
            gain_error=0.05,
            offset_error_w=200e-9 * voltage_v,
            averages=True,
            polled=False,
            bandwidth_hz=50e3,
            voltage_v=voltage_v,
            markers=True,
            source="PPK2 user guide",
        )

    @property
    def info(self) -> MeterInfo:
        """What it measures, and how well."""
        return self._info

    def stream(self) -> Iterator[PowerSamples]:
        """Yield samples as they arrive; the logic inputs are the marker."""
        clock, rest, counter = SampleClock(_PERIOD_S), b"", None
        heard = time.monotonic()
        self._port.drop_input()
        self._port.write(_START)
        try:
            while True:
                rest += self._port.read(_PIECE_BYTES)
                now = time.monotonic()
                if len(rest) < 4:
                    if now - heard > _SILENCE_S:
                        raise MeterError(f"{self._info.rail}: no samples for {_SILENCE_S:g} s")
                    continue
                heard = now
                words, rest = _aligned(rest, counter)
                if not len(words):
                    continue
                counts = (words >> 18) & (_COUNTS - 1)
                dropped = _dropped(counts, counter)
                counter = int(counts[-1])
                power = self._voltage_v * self._current_a(words)
                marker = (words >> 24).astype(np.uint8)
                yield from _pieces(clock, power, marker, dropped, now)
        finally:
            self._port.write(_STOP)

    def close(self) -> None:
        """Stop it and close the port; in source mode the device keeps its supply."""
        self._port.close()

    def _current_a(self, words: NDArray[np.uint32]) -> NDArray[np.float64]:
        reading = (words & 0x3FFF).astype(np.float64) * _GAIN_BEFORE
        level = np.minimum((words >> 14) & 7, _RANGES - 1)
        c = {name: values[level] for name, values in self._calibration.items()}
        x = (reading - c["O"]) * _VOLT_PER_READING / c["R"]
        return np.asarray(
            c["UG"] * (x * (c["GS"] * x + c["GI"]) + c["S"] * self._voltage_v + c["I"])
        )

    def _read_calibration(self) -> dict[str, NDArray[np.float64]]:
        """Return each coefficient, one value per range."""
        self._port.drop_input()
        self._port.write(_METADATA)
        end = time.monotonic() + _METADATA_S
        text = b""
        while b"END" not in text:
            text += self._port.read(_PIECE_BYTES)
            if time.monotonic() > end:
                raise MeterError(
                    f"the device at the port does not answer as a PPK2 (said {text[:40]!r})",
                    "the kit has two ports: try the other; or unplug it and plug it in again",
                )
        fields = dict(
            line.split(":", 1)
            for line in text.decode("ascii", errors="replace").splitlines()
            if ":" in line
        )
        try:
            return {
                name: np.array([float(fields.get(f"{name}{i}", default)) for i in range(_RANGES)])
                for name, default in _DEFAULTS.items()
            }
        except ValueError as error:
            raise MeterError(f"the PPK2's calibration cannot be read ({error})") from None


def _aligned(content: bytes, counter: int | None) -> tuple[NDArray[np.uint32], bytes]:
    """Return whole samples, from where their counter counts on, and the bytes that are left."""
    best: NDArray[np.uint32] = np.empty(0, np.uint32)
    for skip in range(4):
        n = (len(content) - skip) // 4
        words = np.frombuffer(content, "<u4", n, skip)
        counts = ((words >> 18) & (_COUNTS - 1)).astype(np.int64)
        before = [] if counter is None else [counter]
        steps = np.diff(np.concatenate([before, counts])) % _COUNTS
        if np.mean(steps == 1) > 0.5 or len(steps) < 2:
            return words, content[skip + 4 * n :]
        best = words if len(best) == 0 else best
    # no order in any of the four: noise, of which nothing is kept
    return np.empty(0, np.uint32), content[-3:]


def _dropped(counts: NDArray[Any], counter: int | None) -> NDArray[np.int64]:
    """Return how many samples are missing before each."""
    previous = (int(counts[0]) - 1) % _COUNTS if counter is None else counter
    steps = np.diff(np.concatenate([[previous], counts.astype(np.int64)])) % _COUNTS
    return np.asarray((steps - 1) % _COUNTS)


def _pieces(
    clock: SampleClock,
    power: NDArray[np.float64],
    marker: NDArray[np.uint8],
    dropped: NDArray[np.int64],
    now_s: float,
) -> Iterator[PowerSamples]:
    """Yield runs of samples between gaps; a piece without gaps is one run."""
    cuts = [0, *(int(i) for i in np.flatnonzero(dropped) if i > 0), len(power)]
    missing_after = [int(dropped[start:].sum()) for start in cuts[1:]]
    for start, end, missing in zip(cuts, cuts[1:], missing_after, strict=False):
        n_dropped = int(dropped[start])
        # what is still to come in this piece arrived with it
        arrived_s = now_s - _PERIOD_S * (len(power) - end + missing)
        times = clock.times(end - start, n_dropped, arrived_s)
        yield PowerSamples(times, power[start:end], marker[start:end], n_dropped)
