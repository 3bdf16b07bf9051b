"""The power management chip of a Raspberry Pi 5, through its firmware."""

from __future__ import annotations

import math
import re
import subprocess
import threading
from collections.abc import Iterator

from targets.meters._types import MeterError, MeterInfo, PowerSamples
from targets.meters.polling import checked_period_s, poll

_LINE = re.compile(r"\s*(?P<rail>\S+)_(?P<kind>[AV])\s+(?:current|volt)\(\d+\)=(?P<value>\S+)[AV]")
_RESOLUTION_W = 0.01
"""Currents of VDD_CORE in published outputs are multiples of 8.93 mA, at 0.7 to 1 V."""

_TIMEOUT_S = 5.0


class PiPmic:
    """Adds up voltage times current of all rails of the chip; see `targets.meters.PowerSampler`.

    Every reading starts a program, which costs energy itself: a few milliseconds of a core.

    Args:
        period_s: Mean time between two readings.
        command: To read the chip: ``vcgencmd``, or its path.
        gain_error: Limit of its relative error, where it was compared with a meter. The maker
            states none: by default intervals hold the scatter alone.

    Raises:
        MeterError: If the command is missing, or does not list rails.

    References:
        https://www.raspberrypi.com/documentation/computers/os.html#vcgencmd
        (``pmic_read_adc``).
    """

    def __init__(
        self, *, period_s: float = 0.1, command: str = "vcgencmd", gain_error: float = 0.0
    ) -> None:
        self._command = [command, "pmic_read_adc"]
        self._period_s = checked_period_s(period_s)
        self._power_w()
        stated = "" if gain_error else "; its maker states no accuracy"
        self._info = MeterInfo(
            rail="pi5:pmic",
            scope="what the Pi 5's power chip gives out: processor, memory, wireless; not its "
            f"losses, nor what draws from 5 V, such as USB devices, HATs and the fan{stated}",
            update_period_s=period_s,
            resolution=_RESOLUTION_W,
            range_w=None,
            gain_error=gain_error,
            offset_error_w=0.0,
            averages=False,
            polled=True,
            bandwidth_hz=1 / (2 * period_s),
            source="published outputs of vcgencmd pmic_read_adc",
        )
        self._closed = threading.Event()

    @property
    def info(self) -> MeterInfo:
        """What it measures, and how well."""
        return self._info

    def stream(self) -> Iterator[PowerSamples]:
        """Yield readings at random times, a period apart on average."""
        return poll(self._power_w, self._period_s, self._closed)

    def close(self) -> None:
        """End the stream; every reading is a process of its own."""
        self._closed.set()

    def _power_w(self) -> float:
        told = " ".join(self._command)
        text = self._read(told)
        amperes: dict[str, float] = {}
        volts: dict[str, float] = {}
        for line in text.splitlines():
            if match := _LINE.fullmatch(line.rstrip()):
                (amperes if match["kind"] == "A" else volts)[match["rail"]] = _number(
                    match["value"]
                )
        if not amperes:
            raise MeterError(
                f"{told}: wanted currents and voltages of rails, "
                f"got {' '.join(text.split())[:80]!r}",
                "only a Raspberry Pi 5 and its kin have this chip",
            )
        # voltages without a current, of the 5 V input and the clock's battery, are no rails
        for rail, current_a in amperes.items():
            if not math.isfinite(current_a) or not math.isfinite(volts.get(rail, math.nan)):
                raise MeterError(
                    f"{told}: wanted a current and a voltage of {rail}, got "
                    f"{current_a:g} A and {volts.get(rail, math.nan):g} V",
                    "update the firmware: sudo rpi-eeprom-update -a",
                )
        return sum(current_a * volts[rail] for rail, current_a in amperes.items())

    def _read(self, told: str) -> str:
        try:
            done = subprocess.run(
                self._command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
            )
        except FileNotFoundError:
            raise MeterError(
                f"{self._command[0]}: no such command",
                "read the chip on the Raspberry Pi itself: at: board, or at: ssh://user@board",
            ) from None
        except OSError as error:
            raise MeterError(f"{self._command[0]}: cannot be run ({error.strerror})") from None
        except subprocess.TimeoutExpired:
            raise MeterError(f"{told}: no answer in {_TIMEOUT_S:g} s") from None
        if done.returncode:
            words = " ".join((done.stderr or done.stdout).split())
            raise MeterError(
                f"{told}: {words[:80] or f'ended with code {done.returncode}'}",
                "let the user ask the firmware: sudo usermod -aG video USER, and log in again",
            )
        return done.stdout


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
