"""A power shield on a pseudo terminal, speaking the shield's protocol."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import threading
import time
import tty
from collections.abc import Callable, Sequence


class Lpm01aEmulator:
    """Acknowledges commands; sends lines at a steady rate when it is told to start.

    Args:
        lines: Sent after a start; then it sends nothing more.
        lines_per_s: How many.
        refuses: Commands that are answered with an error.
        silent: Whether it answers nothing at all.
        unplugged_after_s: Seconds from a start after which its cable is pulled.
    """

    def __init__(
        self,
        lines: Sequence[str] = (),
        lines_per_s: float = 1000,
        refuses: Callable[[str], bool] = lambda command: False,
        silent: bool = False,
        unplugged_after_s: float = float("inf"),
    ) -> None:
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)  # kept open: the port lives as long as the shield is plugged in
        os.set_blocking(self._master, False)
        self.port = os.ttyname(self._slave)
        self.commands: list[str] = []
        self._lines, self._lines_per_s = lines, lines_per_s
        self._refuses, self._silent = refuses, silent
        self._unplugged_after_s = unplugged_after_s
        self._heard = self._waiting = b""
        self._started_s: float | None = None
        self._sent = 0
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
            readable, _, _ = select.select([self._master], [], [], 1e-3)
            if readable:
                *commands, self._heard = (self._heard + os.read(self._master, 256)).split(b"\r\n")
                for command in commands:
                    self._heed(command.decode())
            if self._started_s is not None:
                passed_s = time.monotonic() - self._started_s
                due = int(passed_s * self._lines_per_s)
                for line in self._lines[self._sent : due]:
                    self._waiting += f"{line}\r\n".encode("latin-1")
                self._sent = max(self._sent, due)
                if passed_s > self._unplugged_after_s:
                    break
            with contextlib.suppress(BlockingIOError):
                self._waiting = self._waiting[os.write(self._master, self._waiting) :]
        os.close(self._slave)
        os.close(self._master)

    def _heed(self, command: str) -> None:
        self.commands.append(command)
        if self._silent:
            return
        if self._refuses(command):
            self._say(f"error {command}")
            self._waiting += b"\r\nError detail: argument out of range\r\n"
        elif command != "stop":
            self._say(f"ack {command}")
            if command == "start":
                self._started_s, self._sent = time.monotonic(), 0
        elif self._started_s is None:
            self._say("error stop")
        else:
            self._started_s = None
            self._say("Acquisition completed")

    def _say(self, text: str) -> None:
        self._waiting += f"\r\nPowerShield > {text}\r\n\r\n".encode()
