"""Joulescope JS110 and JS220, through their maker's driver."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from targets.meters._types import MeterError, MeterInfo, PowerSamples
from targets.meters.sample_clock import SampleClock

_RATE_HZ = 10_000
_LOOK_S = 0.05
_SILENCE_S = 2.0
_BUFFER_S = 10
CurrentRange = Literal["auto", "10 A", "2 A", "180 mA", "18 mA", "1.8 mA", "180 µA", "18 µA"]
_MOST_A = {
    "auto": 10.0,
    "10 A": 10.0,
    "2 A": 2.0,
    "180 mA": 0.18,
    "18 mA": 0.018,
    "1.8 mA": 1.8e-3,
    "180 µA": 180e-6,
    "18 µA": 18e-6,
}


class Joulescope:
    """Samples the power that flows through the instrument; see `PowerSampler`.

    Two million samples a second are averaged to ten thousand by the driver.

    Args:
        serial_number: Of the instrument, where there are several.
        current_range: ``auto`` switches by itself, without a gap.
        voltage_range: Largest voltage of the device.
        marker_input: Whether general purpose input 0 is recorded as the marker.

    Raises:
        MeterError: If the driver or the instrument is missing.

    References:
        JS220 user's guide, "Specifications": 0.3 % of the reading in power is taken, which
        holds between 1 mA and 1 A; https://joulescope.readthedocs.io
    """

    def __init__(
        self,
        *,
        serial_number: str | None = None,
        current_range: CurrentRange = "auto",
        voltage_range: Literal["15V", "5V"] = "15V",
        marker_input: bool = False,
    ) -> None:
        self._device = _find(serial_number)
        self._fields = ["power", "current_lsb"] if marker_input else ["power"]
        try:
            self._device.open()
            self._device.parameter_set("sampling_frequency", _RATE_HZ)
            self._device.parameter_set("buffer_duration", _BUFFER_S)
            self._device.parameter_set("i_range", current_range)
            self._device.parameter_set("v_range", voltage_range)
            if marker_input:
                self._device.parameter_set("current_lsb", "gpi0")
        except Exception as error:  # the driver's errors share no type
            raise MeterError(
                f"joulescope: {self._device}: {' '.join(str(error).split())}",
                "close its own program; on Linux, install the driver's udev rules",
            ) from None
        most_v = 15.0 if voltage_range == "15V" else 5.0
        self._info = MeterInfo(
            rail=f"joulescope:{self._device}",
            scope="all that flows through the Joulescope",
            update_period_s=1 / _RATE_HZ,
            resolution=1e-9 * most_v,
            range_w=_MOST_A[current_range] * most_v,
            gain_error=0.003,
            offset_error_w=1e-9 * most_v,
            averages=True,
            polled=False,
            bandwidth_hz=_RATE_HZ / 2,
            markers=marker_input,
            source="JS220 user's guide",
        )

    @property
    def info(self) -> MeterInfo:
        """What it measures, and how well."""
        return self._info

    def stream(self) -> Iterator[PowerSamples]:
        """Yield samples as they arrive."""
        device, clock = self._device, SampleClock(1 / _RATE_HZ)
        stopped: list[str] = []
        device.start(stop_fn=lambda event, message: stopped.append(f"{message or event}"))
        following, heard = None, time.monotonic()
        try:
            while True:
                time.sleep(_LOOK_S)
                now = time.monotonic()
                first, end = device.stream_buffer.sample_id_range
                if stopped:
                    raise MeterError(f"{self._info.rail}: it stopped ({stopped[0]}); unplugged?")
                following = first if following is None else following
                if end is None or following is None or end <= following:
                    if now - heard > _SILENCE_S:
                        raise MeterError(f"{self._info.rail}: no samples for {_SILENCE_S:g} s")
                    yield PowerSamples(np.empty(0), np.empty(0), np.empty(0, np.uint8))
                    continue
                heard = now
                overrun = max(0, first - following)
                yield self._samples(clock, max(first, following), end, overrun, now)
                following = end
        finally:
            if not stopped:
                device.stop()

    def close(self) -> None:
        """Let go of it."""
        self._device.close()

    def _samples(
        self, clock: SampleClock, start: int, end: int, overrun: int, now_s: float
    ) -> PowerSamples:
        """Return the samples with numbers from ``start`` to before ``end``."""
        signals = self._device.stream_buffer.samples_get(start, end, self._fields)["signals"]
        power = np.asarray(signals["power"]["value"], dtype=np.float64)
        marker = np.zeros(len(power), np.uint8)
        if "current_lsb" in signals:
            marker = np.asarray(signals["current_lsb"]["value"], dtype=np.uint8)
        times = clock.times(len(power), overrun, now_s)
        here = np.isfinite(power)  # what USB lost is there as NaN
        lost = overrun + int((~here).sum())
        return PowerSamples(times[here], power[here], marker[here], lost)


def _find(serial_number: str | None) -> Any:
    try:
        import joulescope
    except ImportError:
        raise MeterError(
            "joulescope: the package joulescope is missing", "pip install 'hwnas[meters]'"
        ) from None
    devices = joulescope.scan(config="ignore")
    if serial_number is not None:
        devices = [device for device in devices if str(device).endswith(serial_number)]
    if len(devices) != 1:
        names = ", ".join(map(str, devices)) or "none"
        wanted = f"with serial number {serial_number}" if serial_number else "and only one"
        raise MeterError(
            f"joulescope: wanted an instrument {wanted}, found {names}",
            "plug it in, or choose one with serial_number",
        )
    return devices[0]
