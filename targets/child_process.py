"""Processes that a target starts, talks to, and can always get rid of."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import IO


class ProcessEndedError(RuntimeError):
    """A process ended, or said nothing; the message holds its last words."""


class ChildProcess:
    """A Python module, or another command, run in a process group of its own.

    Its standard input is its lifeline: the module has to end when that closes, so
    that it ends with this process even if this one is killed.

    Args:
        module: To run, as in ``python -m``; of a command, what messages call it.
        arguments: Of its command line.
        threads: Threads its libraries may use.
        command: To run instead of the module.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str] = (),
        threads: int = 1,
        command: Sequence[str] = (),
    ) -> None:
        self._module = module
        self._owner = os.getpid()
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed by kill)
        self._popen = subprocess.Popen(
            [*(command or (sys.executable, "-m", module)), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=os.environ | _thread_limits(threads),
            process_group=0,
        )

    @property
    def pid(self) -> int:
        """Its process and group id."""
        return self._popen.pid

    @property
    def is_alive(self) -> bool:
        """Whether it runs, be it stopped."""
        return self._popen.poll() is None

    def send(self, content: bytes) -> None:
        """Write to its standard input.

        Raises:
            ProcessEndedError: If it has ended.
        """
        stream = _open_stream(self._popen.stdin)
        try:
            stream.write(content)
            stream.flush()
        except (OSError, ValueError):
            raise ProcessEndedError(self._last_words()) from None

    def receive_line(self) -> bytes:
        """Read a line of its standard output.

        Raises:
            ProcessEndedError: If it ends before.
        """
        try:
            line = _open_stream(self._popen.stdout).readline()
        except (OSError, ValueError):
            line = b""
        if not line.endswith(b"\n"):
            raise ProcessEndedError(self._last_words())
        return line

    def receive(self, size: int) -> bytes:
        """Read from its standard output.

        Raises:
            ProcessEndedError: If it ends before.
        """
        try:
            content = _open_stream(self._popen.stdout).read(size)
        except (OSError, ValueError):
            content = b""
        if len(content) != size:
            raise ProcessEndedError(self._last_words())
        return content

    def says_something_within(self, timeout_s: float) -> bool:
        """Wait for output, or for its end."""
        return bool(select.select([_open_stream(self._popen.stdout)], [], [], timeout_s)[0])

    def kill(self) -> None:
        """Kill its whole process group and reap it; in a fork of its owner, do nothing."""
        if os.getpid() != self._owner:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()
        for stream in (self._popen.stdin, self._popen.stdout, self._errors):
            with suppress(OSError):
                _open_stream(stream).close()

    def _last_words(self) -> str:
        try:
            self._errors.seek(0)
            lines = self._errors.read().decode(errors="replace").strip().splitlines()
        except ValueError:  # killed meanwhile
            lines = []
        return f"{self._module} ended: {lines[-1] if lines else 'it said nothing'}"


@contextmanager
def watchdog(timeout_s: float, kill: Callable[[], None]) -> Iterator[None]:
    """Kill what a ``with`` block waits for when its time is over.

    Args:
        timeout_s: From now until the end of the block.
        kill: Must make whatever blocks in the block raise. Called from another thread.

    Raises:
        TimeoutError: Instead of any error in the block, if the time was over.
    """
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        kill()

    timer = threading.Timer(timeout_s, expire)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception as error:
        if expired.is_set():
            raise TimeoutError(f"no answer within {timeout_s:g} s") from error
        raise
    finally:
        timer.cancel()
        timer.join()  # it must not kill what is started next


def _thread_limits(threads: int) -> Mapping[str, str]:
    names = ("TVM_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {name: str(threads) for name in names}


def _open_stream(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise ValueError("not a pipe")
    return stream
