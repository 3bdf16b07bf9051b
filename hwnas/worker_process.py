"""Which process evaluates, so that others on its host see at once when it has died."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PID_NAMESPACE = "/proc/self/ns/pid"


@dataclass(frozen=True)
class WorkerProcess:
    """A process, told from any other that runs, ran or will run.

    Args:
        host: Name of its host, for people.
        kernel: Boot and process namespace in which ``pid`` means something; empty where
            the system does not say.
        pid: Process number.
        started: When it started, in clock ticks since the boot: numbers are used again.
    """

    host: str
    kernel: str
    pid: int
    started: int

    @classmethod
    def current(cls) -> Self:
        """Return the calling process."""
        pid = os.getpid()
        started, _ = _process_status(pid) or (0, "")
        return cls(socket.gethostname(), _kernel(), pid, started)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild a process from `to_dict`."""
        return cls(**data)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return asdict(self)

    def is_known_dead(self) -> bool:
        """Return whether it has surely ended; ``False`` for whatever runs elsewhere."""
        if not self.kernel or self.kernel != _kernel():
            return False
        status = _process_status(self.pid)
        # a killed process stays in the table as Z until its parent asks for it
        return status is None or status[0] != self.started or status[1] in "ZX"


@cache
def _kernel() -> str:
    try:
        return f"{_BOOT_ID.read_text().strip()} {os.readlink(_PID_NAMESPACE)}"
    except OSError:
        return ""


def _process_status(pid: int) -> tuple[int, str] | None:
    """Return start time and state; ``None`` where there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # the name, in parentheses, may hold anything; proc(5) numbers fields from 1
    fields = text[text.rindex(")") + 2 :].split()
    return int(fields[22 - 3]), fields[3 - 3]
