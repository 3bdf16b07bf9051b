"""An object with the documented interface of the maker's driver for the Joulescope."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

RATE_HZ = 10_000
ALLOWED = {  # joulescope 1.5, "parameters_v1"
    "sampling_frequency": {10_000, 100_000, 1_000_000},
    "buffer_duration": {15, 30},
    "i_range": {"auto", "10 A", "2 A", "180 mA", "18 mA", "1.8 mA", "180 µA", "18 µA"},
    "v_range": {"15V", "5V", "2V"},
    "current_lsb": {"normal", "gpi0", "gpi1"},
    "voltage_lsb": {"normal", "gpi0", "gpi1"},
}


class Buffer:
    """The newest 15 s of samples, by their numbers; an input changes every 1,000 of them."""

    def __init__(self, power_w: float, lost: range) -> None:
        self.first = self.end = 0
        self._power_w, self._lost = power_w, lost

    @property
    def sample_id_range(self) -> tuple[int, int]:
        return max(self.first, self.end - 15 * RATE_HZ), self.end

    def samples_get(self, start: int, stop: int, fields: list[str]) -> dict[str, Any]:
        number = np.arange(start, stop)
        power = np.full(stop - start, self._power_w, np.float32)
        power[np.isin(number, self._lost)] = np.nan
        signals = {
            "power": {"value": power, "units": "W"},
            "current_lsb": {"value": (number // 1000 % 2).astype(np.uint8), "units": ""},
            "voltage_lsb": {"value": (number // 500 % 2).astype(np.uint8), "units": ""},
        }
        return {"time": {}, "signals": {name: signals[name] for name in fields}}


class Instrument:
    """Tells its stream processes of samples from a thread of its own."""

    def __init__(self, name: str = "JS220-000123", power_w: float = 1.25) -> None:
        self.name, self.power_w = name, power_w
        self.parameters: dict[str, object] = {}
        self.is_open = False
        self.first_number = 7_000_000
        self.lost = range(0)
        self.unplugged_after_s = float("inf")
        self.silent = False
        self.stream_buffer: Buffer | None = None
        self._processes: list[Any] = []
        self._streaming = threading.Event()
        self._stop_fn: Callable[[int, str], None] | None = None
        self._thread: threading.Thread | None = None

    def __str__(self) -> str:
        return self.name

    def open(self) -> None:
        self.is_open = True
        self.stream_buffer = Buffer(self.power_w, self.lost)

    def close(self) -> None:
        self.stop()
        self.is_open = False
        self.stream_buffer = None

    def parameter_set(self, name: str, value: object) -> None:
        if value not in ALLOWED[name]:
            raise KeyError(f"value {value} not allowed for parameter {name}")
        self.parameters[name] = value

    def stream_process_register(self, process: Any) -> None:
        process.driver_active = True
        self._processes.append(process)

    def stream_process_unregister(self, process: Any) -> None:
        process.driver_active = False

    def start(self, stop_fn: Callable[[int, str], None] | None = None) -> None:
        self._stop_fn = stop_fn
        self._streaming.set()
        self._thread = threading.Thread(target=self._stream, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._streaming.is_set():
            self._streaming.clear()
            if self._thread is not None and self._thread is not threading.current_thread():
                self._thread.join()
            if self._stop_fn:
                self._stop_fn(0, "")

    def _stream(self) -> None:
        buffer, began_s = self.stream_buffer, time.monotonic()
        while self._streaming.is_set() and buffer is not None:
            time.sleep(0.01)
            passed_s = time.monotonic() - began_s
            if passed_s > self.unplugged_after_s:
                self.close()  # as the driver does with a device that is gone
                return
            if self.silent:
                continue
            buffer.first = self.first_number
            buffer.end = self.first_number + int(passed_s * RATE_HZ)
            for process in self._processes:
                if process.driver_active:
                    process.stream_notify(buffer)
