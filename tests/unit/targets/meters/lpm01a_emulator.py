"""A power shield on a pseudo terminal, speaking the shield's protocol."""

from __future__ import annotations

import contextlib
import os
import pty
import threading
import time
import tty
from collections.abc import Callable, Sequence


class Lpm01aEmulator:
    """Acknowledges commands; sends lines when it is told to start.

    Args:
        lines: Sent after a start, each after so many seconds.
        refuses: Commands that are answered with an error.
        silent: Whether it answers nothing at all.
    """

    def __init__(
        self,
        lines: Sequence[str] = (),
        pause_s: float = 0.0,
        refuses: Callable[[str], bool] = lambda command: False,
        silent: bool = False,
    ) -> None:
        self._master, slave = pty.openpty()
        tty.setraw(slave)
        self._slave = slave
        self.port = os.ttyname(slave)
        self.commands: list[str] = []
        self.unplug_when_sent = False
        self._lines, self._pause_s = lines, pause_s
        self._refuses, self._silent = refuses, silent
        threading.Thread(target=self._serve, daemon=True).start()

    def unplug(self) -> None:
        """Put nothing in place of both ends: the number of a closed one would be used again."""
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (self._slave, self._master):
            os.dup2(nothing, descriptor)
        os.close(nothing)

    def _serve(self) -> None:
        rest = b""
        with contextlib.suppress(OSError):  # unplugged
            while content := os.read(self._master, 256):
                *lines, rest = (rest + content).split(b"\r\n")
                for line in lines:
                    self._answer(line.decode())

    def _answer(self, command: str) -> None:
        self.commands.append(command)
        if self._silent:
            return
        if self._refuses(command):
            self._say(f"PowerShield > error {command}")
            self._say("Error detail: value out of range")
            return
        if command == "stop":
            self._say("PowerShield > Acquisition completed")
            return
        self._say(f"PowerShield > ack {command}")
        if command == "start":
            threading.Thread(target=self._send, daemon=True).start()

    def _send(self) -> None:
        try:
            for line in self._lines:
                self._say(line)
                time.sleep(self._pause_s)
        except OSError:
            return
        if self.unplug_when_sent:
            self.unplug()

    def _say(self, line: str) -> None:
        os.write(self._master, line.encode() + b"\r\n")
