"""Joulescope JS110 and JS220, through their maker's driver."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from targets.meters._types import MeterError, MeterInfo, PowerSamples
from targets.meters.sample_clock import SampleClock

_RATE_HZ = 10_000
_PIECE_S = 0.1
_SILENCE_S = 1.0
_BUFFER_S = 15
_RESOLUTION_A = 1.5e-9
CurrentRange = Literal["auto", "10 A", "2 A", "180 mA", "18 mA", "1.8 mA", "180 uA", "18 uA"]
_MOST_A = {
    "auto": 10.0,
    "10 A": 10.0,
    "2 A": 2.0,
    "180 mA": 0.18,
    "18 mA": 0.018,
    "1.8 mA": 1.8e-3,
    "180 uA": 180e-6,
    "18 uA": 18e-6,
}
_MOST_V = {"15V": 15.0, "5V": 5.0, "2V": 2.0}
_OF_ONE_MODEL = {"5V": "JS110", "2V": "JS220", "2 A": "JS110"}
_INPUTS = {0: ("current_lsb", "gpi0"), 1: ("voltage_lsb", "gpi1")}
"""The driver's field of each general purpose input, and the value that puts the input there."""


class Joulescope:
    """Samples the power that flows through the instrument; see `PowerSampler`.

    The maker's driver averages one or two million samples a second to ten thousand.

    Args:
        serial_number: Of the instrument, where there are several.
        current_range: ``auto`` switches by itself, without a gap.
        voltage_range: Largest voltage of the device; 5V is the JS110's, 2V the JS220's.
        marker_input: Number of the general purpose input that marks inferences.
        gain_error: Limit of its relative error.

    Raises:
        MeterError: If the driver or the instrument is missing, or an argument is wrong.

    References:
        https://joulescope.readthedocs.io, and joulescope 1.5's ``StreamProcessApi``.
    """

    def __init__(
        self,
        *,
        serial_number: str | None = None,
        current_range: CurrentRange = "auto",
        voltage_range: Literal["15V", "5V", "2V"] = "15V",
        marker_input: Literal[0, 1] | None = None,
        gain_error: float = 0.01,
    ) -> None:
        self._device = _find(serial_number)
        for choice in (current_range, voltage_range):
            if not str(self._device).startswith(_OF_ONE_MODEL.get(choice, "")):
                raise MeterError(
                    f"joulescope: {self._device} has no range {choice!r}; "
                    f"it is the {_OF_ONE_MODEL[choice]}'s"
                )
        self._fields = ["power"]
        parameters = {
            "sampling_frequency": _RATE_HZ,
            "buffer_duration": _BUFFER_S,
            "i_range": current_range.replace("uA", "\N{MICRO SIGN}A"),
            "v_range": voltage_range,
        }
        if marker_input is not None:
            field, source = _INPUTS[marker_input]
            self._fields.append(field)
            parameters[field] = source
        try:
            # before it is open: the driver's buffer would else be of the highest rate first
            for name, value in parameters.items():
                self._device.parameter_set(name, value)
            self._device.open()
        except Exception as error:  # the driver's errors share no type
            self.close()
            raise MeterError(
                f"joulescope: {self._device}: {' '.join(str(error).split())}",
                "close its own program; on Linux, install the driver's udev rules",
            ) from None
        most_v = _MOST_V[voltage_range]
        self._info = MeterInfo(
            rail=f"joulescope:{self._device}",
            scope="all that flows through the Joulescope",
            update_period_s=1 / _RATE_HZ,
            resolution=_RESOLUTION_A * most_v,
            range_w=_MOST_A[current_range] * most_v,
            gain_error=gain_error,
            offset_error_w=_RESOLUTION_A * most_v,
            averages=True,
            polled=False,
            bandwidth_hz=_RATE_HZ / 2,
            markers=marker_input is not None,
            source="joulescope's documentation; its gain error is an assumption",
        )

    @property
    def info(self) -> MeterInfo:
        """What it measures, and how well."""
        return self._info

    def stream(self) -> Iterator[PowerSamples]:
        """Yield samples as they arrive, a piece each 0.1 s."""
        clock, taken = SampleClock(1 / _RATE_HZ), 0
        tap = _Tap(self._fields)
        self._device.stream_process_register(tap)
        self._device.start(stop_fn=tap.stopped)
        heard = time.monotonic()
        try:
            while True:
                pieces = tap.take(_PIECE_S)
                if pieces:
                    heard = pieces[-1].arrived_s
                elif time.monotonic() - heard > _SILENCE_S:
                    raise MeterError(
                        f"{self._info.rail}: no samples for {_SILENCE_S:g} s",
                        "unplug the Joulescope and plug it in again",
                    )
                if tap.stop_reason is not None:
                    raise MeterError(
                        f"{self._info.rail}: unplugged? (it stopped: {tap.stop_reason})",
                        "look after the cable, and measure again",
                    )
                before = taken
                for piece in pieces:
                    taken = piece.first + len(piece.power_w)
                    clock.arrived(taken, piece.arrived_s)
                yield _joined(pieces, clock, taken, before)
        finally:
            self._device.stream_process_unregister(tap)
            if tap.stop_reason is None:
                self._device.stop()

    def close(self) -> None:
        """Let go of it."""
        with suppress(Exception):  # an instrument that is gone cannot be closed
            self._device.close()


@dataclass(frozen=True)
class _Piece:
    """What the driver told at once: samples from a number on; the power is NaN where lost."""

    first: int
    power_w: NDArray[np.float64]
    marker: NDArray[np.uint8]
    arrived_s: float


class _Tap:
    """Takes samples in the driver's thread; a "stream process" in the driver's words."""

    def __init__(self, fields: list[str]) -> None:
        self.driver_active = True
        self.stop_reason: str | None = None
        self._fields = fields
        self._pieces: queue.SimpleQueue[_Piece] = queue.SimpleQueue()
        self._start: int | None = None
        self._next = 0

    def stream_notify(self, stream_buffer: Any) -> bool:
        """Copy what is new; called by the driver, whose buffer is reused afterwards."""
        first, end = stream_buffer.sample_id_range
        if end is None or end <= max(first, self._next):
            return False
        now_s = time.monotonic()
        if self._start is None:
            self._start = first
        first = max(first, self._next)
        signals = stream_buffer.samples_get(first, end, fields=self._fields)["signals"]
        power = np.array(signals["power"]["value"], np.float64)
        marker = np.zeros(len(power), np.uint8)
        for name in self._fields[1:]:
            marker = np.array(signals[name]["value"], np.uint8)
        self._next = end
        self._pieces.put(_Piece(first - self._start, power, marker, now_s))
        return False

    def stopped(self, event: int, message: str) -> None:
        """Take note of the end; called by the driver."""
        self.stop_reason = message or f"event {event}"

    def take(self, wait_s: float) -> list[_Piece]:
        """Return what was told within a time."""
        end, pieces = time.monotonic() + wait_s, []
        while (left_s := end - time.monotonic()) > 0:
            try:
                pieces.append(self._pieces.get(timeout=left_s))
            except queue.Empty:
                break
        return pieces


def _joined(pieces: list[_Piece], clock: SampleClock, taken: int, before: int) -> PowerSamples:
    if not pieces:
        return PowerSamples(np.empty(0), np.empty(0), np.empty(0, np.uint8))
    numbers = np.concatenate([p.first + np.arange(len(p.power_w)) for p in pieces])
    power = np.concatenate([p.power_w for p in pieces])
    marker = np.concatenate([p.marker for p in pieces])
    times = clock.times(numbers, taken)
    here = np.isfinite(power)
    n_dropped = taken - before - int(np.count_nonzero(here))
    return PowerSamples(times[here], power[here], marker[here], n_dropped)


def _find(serial_number: str | None) -> Any:
    try:
        import joulescope
    except ImportError:
        raise MeterError(
            "joulescope: the package joulescope is missing",
            "pip install 'hwnas[meters]', or joulescope where the meter is attached",
        ) from None
    devices = joulescope.scan(config="ignore")
    names = ", ".join(map(str, devices)) or "none"
    if serial_number is not None:
        devices = [d for d in devices if str(d).rsplit("-", 1)[-1] == serial_number]
    if len(devices) != 1:
        wanted = f"number {serial_number}" if serial_number else "exactly one"
        raise MeterError(
            f"joulescope: wanted {wanted}, found {names}",
            "plug it in, or choose one with serial_number",
        )
    return devices[0]
