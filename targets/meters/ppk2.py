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
voltage ``V``. Both are what Nordic's own program does
(https://github.com/NordicSemiconductor/pc-nrfconnect-ppk); there is no data sheet of them.
That program also smooths three samples after a change of range; here, they stay as they are.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from targets.meters._types import MeterError, MeterInfo, PowerSamples
from targets.meters.ppk2_frames import COUNTS, counts, decode
from targets.meters.sample_clock import SampleClock
from targets.meters.serial_port import SerialPort

_PERIOD_S = 1e-5
_VOLT_PER_READING = 4 * 1.8 / 163840
_MOST_A = 1.0
_RESOLUTION_A = 200e-9
_START, _STOP = b"\x06", b"\x07"
_METADATA, _VOLTAGE, _MODE, _POWER = b"\x19", b"\x0d", b"\x11", b"\x0c"
_MODES = {"ampere": b"\x01", "source": b"\x02"}
_ANSWER_S = 1.0
_SILENCE_S = 1.0
_PIECE_S = 0.1
_PAUSE_S = 0.004
_NOMINAL = {
    "R": (1031.64, 101.65, 10.15, 0.94, 0.043),
    "GS": (1.0,) * 5,
    "GI": (1.0,) * 5,
    "O": (0.0,) * 5,
    "S": (0.0,) * 5,
    "I": (0.0,) * 5,
    "UG": (1.0,) * 5,
}
"""What Nordic's program takes where a kit has no coefficient of its own."""


class Ppk2:
    """Samples the power that the kit supplies or passes on; see `PowerSampler`.

    It switches the device on when it is opened. It is switched off by no one but the kit
    itself, which does so within a second of being closed.

    Args:
        port: Such as ``/dev/ttyACM0``.
        voltage_v: In source mode what it supplies; in ampere mode what flows through it has:
            the kit measures currents alone.
        mode: ``source``: the kit is the supply. ``ampere``: it sits in the line of another.
        marker_input: Number of the logic input that marks inferences, 0 to 7.
        gain_error: Limit of its relative error; smaller where it was compared with a resistor.

    Raises:
        MeterError: If it is missing, forbidden, or no such kit, or an argument is wrong.

    References:
        Power Profiler Kit II user guide, https://docs.nordicsemi.com/bundle/ug_ppk2: 200 nA to
        1 A, 0.8 to 5 V, 100 kS/s; typical accuracy 10 %, above 50 mA 15 %.
    """

    def __init__(
        self,
        *,
        port: str,
        voltage_v: float,
        mode: Literal["source", "ampere"] = "source",
        marker_input: int | None = None,
        gain_error: float = 0.15,
    ) -> None:
        if not 0.8 <= voltage_v <= 5.0:
            raise MeterError(f"voltage_v: wanted 0.8 to 5 V, got {voltage_v:g}")
        if marker_input is not None and not 0 <= marker_input <= 7:
            raise MeterError(f"marker_input: wanted 0 to 7, got {marker_input}")
        self._marker_bit = 0 if marker_input is None else 1 << marker_input
        self._port = SerialPort("PPK2", port, 115200)
        try:
            self._quiet()
            calibration, nominal = _calibration(self._metadata())
            self._power_w = _power_table(calibration, voltage_v)
            self._port.write(_MODE + _MODES[mode])
            self._port.write(_VOLTAGE + round(1000 * voltage_v).to_bytes(2, "big"))
            self._port.write(_POWER + b"\x01")
        except MeterError:
            self._port.close()
            raise
        verb = "supplies" if mode == "source" else "passes on, taken"
        remark = f"; no calibration of {', '.join(nominal)}: nominal values" if nominal else ""
        self._info = MeterInfo(
            rail=f"ppk2:{port}",
            scope=f"all that the PPK2 {verb} at {voltage_v:g} V",
            update_period_s=_PERIOD_S,
            resolution=_RESOLUTION_A * voltage_v,
            range_w=_MOST_A * voltage_v,
            gain_error=gain_error,
            offset_error_w=_RESOLUTION_A * voltage_v,
            averages=True,
            polled=False,
            bandwidth_hz=0.5 / _PERIOD_S,  # its maker states none: no more than sampling shows
            voltage_v=voltage_v,
            markers=marker_input is not None,
            source="PPK2 user guide; its typical accuracy is 10 %, above 50 mA 15 %" + remark,
        )

    @property
    def info(self) -> MeterInfo:
        """What it measures, and how well."""
        return self._info

    def stream(self) -> Iterator[PowerSamples]:
        """Yield samples as they arrive, a piece each 0.1 s."""
        clock, taken, counter, rest = SampleClock(_PERIOD_S), 0, None, b""
        self._quiet()
        self._port.write(_START)
        heard = time.monotonic()
        try:
            while True:
                rest = self._read_piece(clock, taken, rest)
                words, lost, rest = decode(rest, counter)
                if len(words):
                    heard, counter = time.monotonic(), int(counts(words[-1:])[0])
                elif time.monotonic() - heard > _SILENCE_S:
                    raise MeterError(
                        f"{self._info.rail}: no samples for {_SILENCE_S:g} s",
                        "unplug the PPK2 and plug it in again",
                    )
                unseen = clock.missing(COUNTS)
                numbers = taken + unseen + np.arange(len(words)) + np.cumsum(lost)
                before, taken = taken, int(numbers[-1]) + 1 if len(words) else taken + unseen
                yield self._samples(words, clock.times(numbers, taken), taken - before)
        finally:
            self._port.last_write(_STOP)

    def close(self) -> None:
        """Let go of it."""
        self._port.last_write(_STOP)
        self._port.close()

    def _read_piece(self, clock: SampleClock, taken: int, rest: bytes) -> bytes:
        """Read for a tenth of a second; the clock hears of each arrival."""
        end = time.monotonic() + _PIECE_S
        while time.monotonic() < end:
            content = self._port.read()
            rest += content
            if content:
                clock.arrived(taken + len(rest) // 4, time.monotonic())
                # waking up for each of the USB's packets would cost more than all the rest
                time.sleep(_PAUSE_S)
        return rest

    def _samples(
        self, words: NDArray[np.uint32], times: NDArray[np.float64], n_taken: int
    ) -> PowerSamples:
        power = self._power_w[words & 0x1FFFF]
        marker = (words >> 24).astype(np.uint8) & np.uint8(self._marker_bit)
        valid = ~np.isnan(power)
        return PowerSamples(
            times[valid], power[valid], marker[valid], n_taken - int(np.count_nonzero(valid))
        )

    def _quiet(self) -> None:
        """Stop what another program may have started, and forget what came of it."""
        self._port.write(_STOP)
        end = time.monotonic() + _ANSWER_S
        while self._port.read():
            if time.monotonic() > end:
                raise MeterError(
                    f"PPK2 at {self._port.path}: it goes on sending after a stop",
                    "is it a PPK2? If so, unplug it and plug it in again",
                )

    def _metadata(self) -> str:
        """Return what the kit says of itself: lines like ``R0: 1031.64``, and ``END``."""
        self._port.write(_METADATA)
        end, content = time.monotonic() + _ANSWER_S, b""
        while b"END" not in content:
            content += self._port.read()
            if time.monotonic() > end:
                said = f"said {content[:40]!r}" if content else "said nothing"
                raise MeterError(
                    f"PPK2 at {self._port.path}: no answer as of a PPK2 ({said})",
                    "the kit has two ports: try the other; or unplug it and plug it in again",
                )
        return content.decode("ascii", errors="replace")


def _calibration(metadata: str) -> tuple[dict[str, NDArray[np.float64]], list[str]]:
    """Return each coefficient, one value per range, and the names of those that are nominal.

    Raises:
        MeterError: If one is missing; those that are not a number are nominal, as in
            Nordic's program.
    """
    fields = dict(re.findall(r"^([A-Z]+[0-4]): *(\S+)\s*$", metadata, re.MULTILINE))
    calibration, nominal = {}, []
    for name, defaults in _NOMINAL.items():
        values = []
        for level, default in enumerate(defaults):
            key = f"{name}{level}"
            value = _number(key, fields.get(key))
            if math.isnan(value) or (name == "R" and value <= 0):
                nominal.append(key)
                value = default
            values.append(value)
        calibration[name] = np.array(values)
    return calibration, nominal


def _number(name: str, text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError:
        raise MeterError(
            f"PPK2: its calibration says {text!r} for {name}"
            if text
            else f"PPK2: its calibration lacks {name}",
            "unplug it and plug it in again; Nordic's Power Profiler updates its firmware",
        ) from None


def _power_table(
    calibration: dict[str, NDArray[np.float64]], voltage_v: float
) -> NDArray[np.float64]:
    """Return the power in watts for each value of a sample's 17 lowest bits.

    Ranges 5 to 7 do not exist; their powers are NaN.
    """
    c = {name: values[:, None] for name, values in calibration.items()}
    x = (np.arange(1 << 14) * _VOLT_PER_READING - c["O"] * _VOLT_PER_READING / 4) / c["R"]
    current_a = c["UG"] * (x * (c["GS"] * x + c["GI"]) + c["S"] * voltage_v + c["I"])
    table = np.full((8, 1 << 14), np.nan)
    table[:5] = voltage_v * current_a
    return table.ravel()
