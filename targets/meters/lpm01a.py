"""ST's power shield X-NUCLEO-LPM01A, over its serial port.

The shield supplies 1.8 to 3.3 V and 50 mA at most. It is told to send the energy of each
sampling period, an exact mean, as text: ``6409-07`` is 6409e-07 J. A line may hold several
values; lines that begin with ``TimeStamp`` or ``event`` stand between them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Literal

import numpy as np

from targets.meters._types import MeterError, MeterInfo, PowerSamples
from targets.meters.sample_clock import SampleClock
from targets.meters.serial_port import SerialPort

_BAUD = 3_686_400
_MOST_A = 50e-3
_LEAST_A = 100e-9
_ANSWER_S = 3.0
_STOP_S = 1.0
_SILENCE_S = 1.0
_PIECE_S = 0.1
_PAUSE_S = 0.004
_VALUES = re.compile(r"(\d{4}[+-]\d{2})+")
_VALUE_LENGTH = 7
_EVENT = re.compile(r"event \d+ (ris|fal)", re.IGNORECASE)
_REMARK = re.compile(r"timestamp|ack|summary|pwr|temp", re.IGNORECASE)
_TROUBLE = re.compile(r"err|over|end|acquisition completed|.*power.?down", re.IGNORECASE)


class Lpm01a:
    """Samples the energy that the shield supplies; see `PowerSampler`.

    It switches the device on when it is opened, and leaves it on.

    Args:
        port: Such as ``/dev/ttyACM0``.
        voltage_v: That it supplies.
        rate_hz: Samples a second.
        marker_input: Whether a falling edge on D7 begins, and the next one ends, what is to be
            measured.

        gain_error: Limit of its relative error.

    Raises:
        MeterError: If it is missing, forbidden, or no such shield, or an argument is wrong.

    References:
        ST UM2243, Sec. 10, "Dynamic current measurement principle": 100 nA to 50 mA, accuracy
        in the range of 2 %, 100 kHz; protected from 59 mA on. ST UM2269: its commands; as text,
        an endless acquisition has at most 5,000 samples a second.
    """

    def __init__(
        self,
        *,
        port: str,
        voltage_v: float,
        rate_hz: Literal[100, 200, 500, 1000, 2000, 5000] = 1000,
        marker_input: Literal["d7"] | None = None,
        gain_error: float = 0.02,
    ) -> None:
        if not 1.8 <= voltage_v <= 3.3:
            raise MeterError(f"voltage_v: wanted 1.8 to 3.3 V, got {voltage_v:g}")
        self._rate_hz = rate_hz
        self._marked = marker_input is not None
        self._rest = b""
        self._port = SerialPort("LPM01A", port, _BAUD)
        try:
            self._stop()  # what a program that was cut off left running
            for command in (
                "htc",
                f"volt {round(1000 * voltage_v)}m",
                f"freq {rate_hz // 1000}k" if rate_hz >= 1000 else f"freq {rate_hz}",
                "acqmode dyn",
                "acqtime inf",
                "trigdelay 0",
                "trigsrc sw",
                *(["eventsrc d7 fal"] if self._marked else []),
                "output energy",
                "format ascii_dec",
                "pwr on nostatus",
            ):
                self._command(command)
        except MeterError:
            self._port.close()
            raise
        self._info = MeterInfo(
            rail=f"lpm01a:{port}",
            scope=f"all that the LPM01A supplies at {voltage_v:g} V",
            update_period_s=1 / rate_hz,
            resolution=_LEAST_A * voltage_v,
            range_w=_MOST_A * voltage_v,
            gain_error=gain_error,
            offset_error_w=_LEAST_A * voltage_v,
            averages=True,
            polled=False,
            bandwidth_hz=rate_hz / 2,
            voltage_v=voltage_v,
            markers=self._marked,
            source="ST UM2243, Sec. 10",
        )

    @property
    def info(self) -> MeterInfo:
        """What it measures, and how well."""
        return self._info

    def stream(self) -> Iterator[PowerSamples]:
        """Yield samples as they arrive, a piece each 0.1 s."""
        clock, taken, marker = SampleClock(1 / self._rate_hz), 0, 0
        self._command("start")
        heard = time.monotonic()
        try:
            while True:
                numbers: list[int] = []
                powers: list[float] = []
                markers: list[int] = []
                before, end = taken, time.monotonic() + _PIECE_S
                while time.monotonic() < end:
                    lines = self._lines()
                    for line in lines:
                        if _EVENT.match(line):
                            marker ^= self._marked
                        elif values := self._powers_w(line):
                            numbers += range(taken, taken + len(values))
                            powers += values
                            markers += [marker] * len(values)
                            taken += len(values)
                        else:
                            taken += self._lost(line)
                    if lines:
                        heard = time.monotonic()
                        clock.arrived(taken, heard)
                        time.sleep(_PAUSE_S)
                if time.monotonic() - heard > _SILENCE_S:
                    raise MeterError(
                        f"{self._info.rail}: no samples for {_SILENCE_S:g} s",
                        "press the shield's reset button, and measure again",
                    )
                unseen = clock.missing()
                taken += unseen
                times = clock.times(np.array(numbers, np.int64) + unseen, taken)
                yield PowerSamples(
                    times,
                    np.array(powers),
                    np.array(markers, np.uint8),
                    taken - before - len(powers),
                )
        finally:
            with suppress(MeterError):
                self._stop()

    def close(self) -> None:
        """Give the shield back to its buttons; the device keeps its supply."""
        self._port.last_write(b"hrc\r\n")
        self._port.close()

    def _powers_w(self, line: str) -> list[float]:
        if not _VALUES.fullmatch(line):
            return []
        pieces = (line[i : i + _VALUE_LENGTH] for i in range(0, len(line), _VALUE_LENGTH))
        return [float(f"{p[:4]}e{p[4:]}") * self._rate_hz for p in pieces]

    def _lost(self, line: str) -> int:
        """Return how many samples a line stands for that holds none that can be read.

        Raises:
            MeterError: If the shield says that something is wrong.
        """
        if _REMARK.match(line):
            return 0
        if _TROUBLE.match(line):
            raise MeterError(
                f"{self._info.rail}: {line!r} instead of samples",
                "lower rate_hz where its buffer is full; it supplies 50 mA at most",
            )
        return max(1, round(len(line) / _VALUE_LENGTH))

    def _stop(self) -> None:
        """Stop an acquisition, and read what was still on its way."""
        self._port.last_write(b"stop\r\n")
        end = time.monotonic() + _STOP_S
        while time.monotonic() < end:
            if any("completed" in line or line.startswith("error") for line in self._lines()):
                return

    def _command(self, command: str) -> None:
        """Send a command and wait until it is acknowledged."""
        self._port.write(f"{command}\r\n".encode())
        end, said = time.monotonic() + _ANSWER_S, ""
        while time.monotonic() < end:
            lines = self._lines()
            for index, line in enumerate(lines):
                if line == f"ack {command}":
                    # what follows a start is samples already
                    self._rest = "".join(f"{x}\n" for x in lines[index + 1 :]).encode() + self._rest
                    return
                if line.startswith(f"error {command}"):
                    end = min(end, time.monotonic() + 0.3)  # for the detail that follows
                said = line
        if said.lower().startswith("error"):
            raise MeterError(
                f"LPM01A at {self._port.path}: refused {command!r}: {said}",
                "press the shield's reset button, and try again",
            )
        raise MeterError(
            f"LPM01A at {self._port.path}: no answer to {command!r}"
            + (f" but {said[:40]!r}" if said else ""),
            "is it the shield's port? If so, press the shield's reset button",
        )

    def _lines(self) -> list[str]:
        """Return the whole lines that have arrived, without prompts and empty ones."""
        *lines, self._rest = (self._rest + self._port.read()).split(b"\n")
        texts = (line.decode("ascii", errors="replace") for line in lines)
        stripped = (text.replace("PowerShield >", "").strip(" \r\0") for text in texts)
        return [text for text in stripped if text]
