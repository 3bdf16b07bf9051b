"""A Power Profiler Kit II on a pseudo terminal, speaking the kit's protocol."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import threading
import time
import tty
from collections.abc import Callable

import numpy as np

CALIBRATION_R = (1031.64, 101.65, 10.15, 0.94, 0.043)
BYTES_PER_S = 400_000
NONE = range(0)


def words(
    reading: int, level: int, n: int, first: int = 0, logic: Callable[[int], int] = lambda i: 0
) -> np.ndarray:
    """The kit's samples: reading, range, counter and logic inputs."""
    i = np.arange(first, first + n, dtype=np.int64)
    bits = np.array([logic(int(k)) for k in i], dtype=np.int64)
    return (reading | level << 14 | (i % 64) << 18 | bits << 24).astype("<u4")


def metadata(**changes: str) -> bytes:
    """What a kit with the nominal calibration says of itself."""
    fields = {"Calibrated": "0"}
    for i, resistance in enumerate(CALIBRATION_R):
        fields |= {f"R{i}": f"{resistance}", f"GS{i}": "1", f"GI{i}": "1", f"O{i}": "0"}
        fields |= {f"S{i}": "0", f"I{i}": "0", f"UG{i}": "1"}
    fields |= {"HW": "9173", "IA": "56", **changes}
    return "".join(f"{k}: {v}\n" for k, v in fields.items() if v).encode() + b"END\n"


class Ppk2Emulator:
    """Sends 100,000 samples a second between start and stop.

    Args:
        content: What it sends after each start; then it sends nothing more.
        lost: Numbers of samples of it that get lost on their way.
        answer: To the question for its metadata.
        sending: Whether it was left sending, for ever.
        unplugged_after_s: Seconds from a start after which its cable is pulled.
        deaf: Whether it heeds no command.
    """

    def __init__(
        self,
        content: bytes = b"",
        lost: range = NONE,
        answer: bytes | None = None,
        sending: bool = False,
        unplugged_after_s: float = float("inf"),
        deaf: bool = False,
    ) -> None:
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)  # kept open: the port lives as long as the kit is plugged in
        os.set_blocking(self._master, False)
        self.port = os.ttyname(self._slave)
        self.received = b""
        self._content, self._lost = content, lost
        self._answer = metadata() if answer is None else answer
        self._unplugged_after_s, self._deaf = unplugged_after_s, deaf
        self._waiting = b""
        self._started_s: float | None = None
        self._sent = 0
        if sending:
            self._content = content or words(500, 3, 64).tobytes() * 10_000
            self._start()
        self._plugged = threading.Event()
        self._plugged.set()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def unplug(self) -> None:
        """Pull the cable, and wait until it is out."""
        self._plugged.clear()
        self._thread.join(5)

    def _serve(self) -> None:
        while self._plugged.is_set():
            readable, _, _ = select.select([self._master], [], [], 2e-3)
            if readable:
                self._heed(os.read(self._master, 64))
            if self._started_s is not None:
                passed_s = time.monotonic() - self._started_s
                due = 4 * (int(passed_s * BYTES_PER_S) // 4)
                self._waiting += self._content[self._sent : min(due, 4 * self._lost.start)]
                self._waiting += self._content[max(self._sent, 4 * self._lost.stop) : due]
                self._sent = due
                if passed_s > self._unplugged_after_s:
                    break
            with contextlib.suppress(BlockingIOError):
                self._waiting = self._waiting[os.write(self._master, self._waiting) :]
        os.close(self._slave)
        os.close(self._master)

    def _heed(self, command: bytes) -> None:
        self.received += command
        if self._deaf:
            return
        if b"\x07" in command:
            self._started_s, self._waiting = None, b""
        if b"\x19" in command:
            self._waiting += self._answer
        if b"\x06" in command:
            self._start()

    def _start(self) -> None:
        self._started_s, self._sent = time.monotonic(), 0
