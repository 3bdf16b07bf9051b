"""The power management chip of a Raspberry Pi 5, through its firmware."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Iterator

from targets.meters._types import MeterError, MeterInfo, PowerSamples
from targets.meters.polling import checked_period_s, poll

_LINE = re.compile(r"\s*(\S+)_([AV])\s+(?:current|volt)\(\d+\)=([-+0-9.eE]+)[AV]\s*")
_TIMEOUT_S = 5.0


class PiPmic:
    """Adds up voltage times current of all rails of the chip; see `PowerSampler`.

    Every reading starts a program, which costs energy itself: a few milliseconds of a core.

    Args:
        period_s: Mean time between two readings.
        command: To read the chip: ``vcgencmd``, or its path.

    Raises:
        MeterError: If the command is missing, or does not list rails.

    References:
        https://www.raspberrypi.com/documentation/computers/os.html#vcgencmd
        (``pmic_read_adc``). Its accuracy is not stated: 2 % are assumed.
    """

    def __init__(self, *, period_s: float = 0.1, command: str = "vcgencmd") -> None:
        self._command = [command, "pmic_read_adc"]
        self._period_s = checked_period_s(period_s)
        self._closed = threading.Event()
        first_w = self._power_w()
        self._info = MeterInfo(
            rail="pi5:pmic",
            scope="the rails that the Pi 5's power chip makes: processor, memory and wireless; "
            "not what draws from 5 V directly, such as USB devices and HATs",
            update_period_s=period_s,
            resolution=max(1e-3, first_w * 1e-3),
            range_w=None,
            gain_error=0.02,
            offset_error_w=0.0,
            averages=False,
            polled=True,
            bandwidth_hz=1 / period_s,
            source="assumed; the maker states none",
        )

    @property
    def info(self) -> MeterInfo:
        """What it measures, and how well."""
        return self._info

    def stream(self) -> Iterator[PowerSamples]:
        """Yield readings at random times, a period apart on average."""
        return poll(self._power_w, self._period_s, self._closed)

    def close(self) -> None:
        """End the stream."""
        self._closed.set()

    def _power_w(self) -> float:
        text = self._read()
        amperes: dict[str, float] = {}
        volts: dict[str, float] = {}
        for line in text.splitlines():
            if match := _LINE.fullmatch(line):
                (amperes if match[2] == "A" else volts)[match[1]] = float(match[3])
        rails = amperes.keys() & volts.keys()
        if not rails:
            raise MeterError(
                f"{' '.join(self._command)}: wanted currents and voltages of rails, "
                f"got {' '.join(text.split())[:80]!r}",
                "only a Raspberry Pi 5 and its kin have this chip",
            )
        return sum(amperes[rail] * volts[rail] for rail in rails)

    def _read(self) -> str:
        try:
            done = subprocess.run(
                self._command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
            )
        except FileNotFoundError:
            raise MeterError(
                f"{self._command[0]}: no such command",
                "read the chip on the Raspberry Pi itself: at: board, or at: ssh://user@board",
            ) from None
        except subprocess.TimeoutExpired:
            raise MeterError(f"{' '.join(self._command)}: no answer in {_TIMEOUT_S:g} s") from None
        if done.returncode:
            words = (done.stderr or done.stdout).strip().splitlines()
            raise MeterError(
                f"{' '.join(self._command)}: {words[-1] if words else 'failed'}",
                "let the user read the firmware: usermod -aG video USER",
            )
        return done.stdout
