"""A Power Profiler Kit II on a pseudo terminal, speaking the kit's protocol."""

from __future__ import annotations

import os
import pty
import threading
import tty
from collections.abc import Callable

import numpy as np

CALIBRATION_R = (1031.64, 101.65, 10.15, 0.94, 0.043)


def words(
    reading: int, level: int, n: int, first: int = 0, logic: Callable[[int], int] = lambda i: 0
) -> np.ndarray:
    """The kit's samples: reading, range, counter and logic inputs."""
    i = np.arange(first, first + n, dtype=np.int64)
    bits = np.array([logic(int(k)) for k in i], dtype=np.int64)
    return (reading | level << 14 | (i % 64) << 18 | bits << 24).astype("<u4")


class Ppk2Emulator:
    """Sends content when it is told to start.

    Args:
        content: Bytes to send after each start, in pieces.
        silent: Whether it answers nothing at all.
    """

    def __init__(self, content: bytes, piece: int = 4096, silent: bool = False) -> None:
        self._master, slave = pty.openpty()
        tty.setraw(slave)
        self._slave = slave  # kept open: the port lives as long as the kit is plugged in
        self.port = os.ttyname(slave)
        self.received = b""
        self.unplug_when_sent = False
        self._content, self._piece, self._silent = content, piece, silent
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def unplug(self) -> None:
        """Put nothing in place of both ends: the number of a closed one would be used again."""
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (self._slave, self._master):
            os.dup2(nothing, descriptor)
        os.close(nothing)

    def _serve(self) -> None:
        while True:
            try:
                command = os.read(self._master, 64)
            except OSError:
                return
            if not command:
                return
            self.received += command
            if self._silent:
                continue
            if b"\x19" in command:
                os.write(self._master, self._metadata())
            if b"\x06" in command:
                threading.Thread(target=self._send, daemon=True).start()

    def _send(self) -> None:
        try:
            for start in range(0, len(self._content), self._piece):
                os.write(self._master, self._content[start : start + self._piece])
        except OSError:
            return
        if self.unplug_when_sent:
            self.unplug()

    def _metadata(self) -> bytes:
        lines = ["Calibrated: 0"]
        for i, resistance in enumerate(CALIBRATION_R):
            lines += [f"R{i}: {resistance}", f"GS{i}: 1", f"GI{i}: 1", f"O{i}: 0"]
            lines += [f"S{i}: 0", f"I{i}: 0", f"UG{i}: 1"]
        return ("\n".join([*lines, "HW: 9173", "IA: 56", "END"]) + "\n").encode()
