"""A TVM RPC tracker and server on this computer, each a process group of its own."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

from targets.rpc_process import HOST

_START_TIMEOUT_S = 60.0
_KEY = "hwnas"


class RpcError(RuntimeError):
    """The tracker or the server did not start or does not answer."""


class RpcHost:
    """Starts a tracker and a server on first use and keeps them until `close`.

    Both listen on the loopback interface only. They end with this process, even
    if it is killed.

    Args:
        threads: Threads the server may use for an inference.
    """

    def __init__(self, threads: int = 1) -> None:
        self._environment = os.environ | {
            name: str(threads)
            for name in ("TVM_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        }
        self._processes: dict[str, _Process] = {}
        self._tracker: Any = None
        weakref.finalize(self, _kill_all, self._processes, os.getpid())

    @property
    def process_ids(self) -> dict[str, int]:
        """Process (and group) id of each of ``tracker`` and ``server`` that runs."""
        return {role: p.pid for role, p in self._processes.items() if p.is_alive}

    def start(self) -> None:
        """Start whatever does not run, and wait until the server is registered.

        Raises:
            RpcError: If a process ends or says nothing; its last words are in the message.
        """
        if set(self.process_ids) == {"tracker", "server"}:
            return
        self.kill()
        tracker, server = self._spawn("tracker"), self._spawn("server", _KEY)
        port = tracker.port()
        server.tell(port)
        server.port()
        from tvm import rpc

        self._tracker = rpc.connect_tracker(HOST, port)
        self._await_server()

    @contextmanager
    def session(self, timeout_s: float) -> Iterator[Any]:
        """Open an RPC session; it and both processes are killed when the time is over.

        Whatever blocks on the session then raises at once.

        Args:
            timeout_s: From now until the end of the ``with`` block.

        Raises:
            RpcError: If the processes cannot be started.
            TimeoutError: Instead of any error in the block, if the time was over.
        """
        self.start()
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            self.kill()

        watchdog = threading.Timer(timeout_s, expire)
        watchdog.daemon = True
        watchdog.start()
        try:
            self._await_server()
            yield self._tracker.request(_KEY, max_retry=1)
        except Exception as error:
            if expired.is_set():
                raise TimeoutError(f"no answer within {timeout_s:g} s") from error
            raise
        finally:
            watchdog.cancel()
            watchdog.join()  # it must not kill what is started next

    def kill(self) -> None:
        """Kill tracker, server and everything they started; `start` makes new ones."""
        self._tracker = None
        _kill_all(self._processes, os.getpid())

    close = kill

    def _spawn(self, role: str, *arguments: str) -> _Process:
        process = _Process(role, arguments, self._environment)
        self._processes[role] = process
        return process

    def _await_server(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            queue = self._tracker.summary()["queue_info"].get(_KEY, {"free": 0})
            if queue["free"]:
                return
            if "server" not in self.process_ids:
                raise RpcError(self._processes["server"].last_words())
            time.sleep(0.005)
        raise RpcError(f"the RPC server did not register within {_START_TIMEOUT_S:g} s")


class _Process:
    """One of the two; its standard input is its lifeline, its standard output tells its port."""

    def __init__(self, role: str, arguments: tuple[str, ...], environment: dict[str, str]) -> None:
        self._role = role
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed by kill)
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "targets.rpc_process", role, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            process_group=0,
        )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def is_alive(self) -> bool:
        return self._popen.poll() is None

    def port(self) -> int:
        """Wait for the process to listen.

        Raises:
            RpcError: If it ends before, or takes too long.
        """
        output = self._popen.stdout
        if output is None or not select.select([output], [], [], _START_TIMEOUT_S)[0]:
            raise RpcError(f"the RPC {self._role} did not start within {_START_TIMEOUT_S:g} s")
        line = output.readline()
        if not line:
            raise RpcError(self.last_words())
        return int(line)

    def tell(self, number: int) -> None:
        """Write a line to its standard input."""
        if self._popen.stdin is not None:
            with suppress(OSError):  # it has ended: `port` says so
                self._popen.stdin.write(b"%d\n" % number)
                self._popen.stdin.flush()

    def last_words(self) -> str:
        """Return why it ended, as far as it said."""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f"the RPC {self._role} ended: {lines[-1] if lines else 'it said nothing'}"

    def kill(self) -> None:
        """Kill its process group, if it still runs or not, and reap it."""
        with suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()
        for stream in (self._popen.stdin, self._popen.stdout, self._errors):
            if stream is not None:
                with suppress(OSError):
                    stream.close()


def _kill_all(processes: dict[str, _Process], owner: int) -> None:
    if os.getpid() != owner:
        return  # a fork of the owner must leave the owner's processes alone
    while processes:
        processes.popitem()[1].kill()
