"""ST's X-NUCLEO-LPM01A power shield, over its serial port.

The shield supplies 1.8 to 3.3 V and 50 mA at most. It is told to send the energy of each
sampling period, an exact mean, as text: ``6409-07`` is 6409e-07 J. A line may hold several
values; lines that begin with ``TimeStamp`` or ``event`` stand between them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import numpy as np

from targets.meters._types import MeterError, MeterInfo, PowerSamples
from targets.meters.sample_clock import SampleClock
from targets.meters.serial_port import SerialPort

_BAUD = 3_864_000
_PROMPT = "PowerShield >"
_RATES_HZ = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
_MOST_A = 50e-3
_ANSWER_S = 2.0
_SILENCE_S = 2.0
_PIECE_S = 0.1
_VALUE = re.compile(r"(\d{4})([+-]\d{2})")
_EVENT = re.compile(r"event \d+ (ris|fal)")


class Lpm01a:
    """Samples the energy that the shield supplies; see `PowerSampler`.

    Args:
        port: Such as ``/dev/ttyACM0``.
        voltage_v: That it supplies.
        rate_hz: Samples a second: 1, 2 or 5 times a power of ten, up to 10,000.
        baud: Of the port; the shield's own where it is USB.

    Raises:
        MeterError: If it is missing, forbidden, or no such shield.

    References:
        ST UM2243 (the shield: 100 nA to 50 mA, 2 % in dynamic mode) and UM2269 (its commands).
    """

    def __init__(
        self, *, port: str, voltage_v: float, rate_hz: int = 1000, baud: int = _BAUD
    ) -> None:
        if not 1.8 <= voltage_v <= 3.3:
            raise MeterError(f"voltage_v: wanted 1.8 to 3.3 V, got {voltage_v:g}")
        if rate_hz not in _RATES_HZ:
            raise MeterError(f"rate_hz: wanted one of {_RATES_HZ}, got {rate_hz}")
        self._rate_hz = rate_hz
        self._port = SerialPort("LPM01A", port, baud, timeout_s=_PIECE_S)
        try:
            for command in (
                "htc",
                f"volt {round(1000 * voltage_v)}m",
                "acqtime inf",
                "trigdelay 0",
                "trigsrc sw",
                "eventsrc d7 fal",
                "output energy",
                "format ascii_dec",
                f"freq {rate_hz}",
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
            resolution=100e-9 * voltage_v,
            range_w=_MOST_A * voltage_v,
            gain_error=0.02,
            offset_error_w=100e-9 * voltage_v,
            averages=True,
            polled=False,
            bandwidth_hz=rate_hz / 2,
            voltage_v=voltage_v,
            markers=True,
            source="ST UM2243",
        )

    @property
    def info(self) -> MeterInfo:
        """What it measures, and how well."""
        return self._info

    def stream(self) -> Iterator[PowerSamples]:
        """Yield samples as they arrive; a falling edge on D7 turns the marker over."""
        period_s = 1 / self._rate_hz
        clock, marker = SampleClock(period_s), 0
        self._command("start")
        heard = told = time.monotonic()
        powers: list[float] = []
        markers: list[int] = []
        try:
            while True:
                line = self._port.read_line().replace(_PROMPT, "").strip()
                now = time.monotonic()
                if line:
                    heard = now
                elif now - heard > _SILENCE_S:
                    raise MeterError(f"{self._info.rail}: no samples for {_SILENCE_S:g} s")
                if _EVENT.match(line):
                    marker ^= 1
                elif line.lower().startswith("error"):
                    raise MeterError(f"{self._info.rail}: {line}", "lower rate_hz")
                else:
                    values = [float(f"{m}e{e}") * self._rate_hz for m, e in _VALUE.findall(line)]
                    powers += values
                    markers += [marker] * len(values)
                if powers and now - told >= _PIECE_S:
                    told = now
                    # the middle of the period that a sample sums up
                    times = clock.times(len(powers), 0, now) - period_s / 2
                    yield PowerSamples(times, np.array(powers), np.array(markers, np.uint8))
                    powers, markers = [], []
        finally:
            self._port.write(b"stop\r\n")

    def close(self) -> None:
        """Give it back to its buttons; the device keeps its supply."""
        self._port.write(b"hrc\r\n")
        self._port.close()

    def _command(self, command: str) -> None:
        """Send a command and wait until it is acknowledged."""
        self._port.drop_input()
        self._port.write(f"{command}\r\n".encode())
        end = time.monotonic() + _ANSWER_S
        said = ""
        while time.monotonic() < end:
            line = self._port.read_line().replace(_PROMPT, "").strip()
            if line.startswith("ack"):
                return
            if line.lower().startswith("error"):
                raise MeterError(f"LPM01A: refused {command!r}: {line}")
            said = line or said
        raise MeterError(
            f"LPM01A: no answer to {command!r} (said {said[:40]!r})",
            "is it the shield's own USB port, and is the shield not in standalone mode?",
        )
