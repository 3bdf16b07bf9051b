"""A TVM RPC tracker and server on this computer, each a process group of its own."""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from targets.child_process import ChildProcess, ProcessEndedError, watchdog
from targets.rpc_process import HOST

_START_TIMEOUT_S = 60.0
_KEY = "hwnas"


class RpcHost:
    """Starts a tracker and a server on first use and keeps them until `kill`.

    Both listen on the loopback interface only. They end with this process, even
    if it is killed.

    Args:
        threads: Threads the server may use for an inference.
    """

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads
        self._processes: dict[str, ChildProcess] = {}
        self._tracker: Any = None
        weakref.finalize(self, _kill_all, self._processes)

    @property
    def process_ids(self) -> dict[str, int]:
        """Process (and group) id of each of ``tracker`` and ``server`` that runs."""
        return {role: p.pid for role, p in list(self._processes.items()) if p.is_alive}

    def start(self) -> None:
        """Start both unless they run.

        Raises:
            ProcessEndedError: If one ends or says nothing; its last words are in the message.
        """
        if set(self.process_ids) == {"tracker", "server"}:
            return
        self.kill()
        tracker, server = self._spawn("tracker"), self._spawn("server", _KEY)
        port = _port(tracker)
        server.send(b"%d\n" % port)
        _port(server)
        from tvm import rpc

        self._tracker = rpc.connect_tracker(HOST, port)

    @contextmanager
    def session(self, timeout_s: float) -> Iterator[Any]:
        """Open an RPC session; it and both processes are killed when the time is over.

        Args:
            timeout_s: From now until the end of the ``with`` block.

        Raises:
            ProcessEndedError: If the processes cannot be started.
            TimeoutError: Instead of any error in the block, if the time was over.
        """
        self.start()
        with watchdog(timeout_s, self.kill):
            self._await_server()
            # more than one try would wait for a killed tracker
            yield self._tracker.request(_KEY, max_retry=1)

    def kill(self) -> None:
        """Kill tracker, server and everything they started; `start` makes new ones."""
        _kill_all(self._processes)

    def _spawn(self, role: str, *arguments: str) -> ChildProcess:
        process = ChildProcess("targets.rpc_process", (role, *arguments), self._threads)
        self._processes[role] = process
        return process

    def _await_server(self) -> None:
        """A request for a key without a free server would block until there is one."""
        while not self._tracker.summary()["queue_info"].get(_KEY, {"free": 0})["free"]:
            if "server" not in self.process_ids:
                raise ProcessEndedError("the RPC server has ended")
            time.sleep(0.002)


def _port(process: ChildProcess) -> int:
    if not process.says_something_within(_START_TIMEOUT_S):
        raise ProcessEndedError(f"the RPC processes did not start within {_START_TIMEOUT_S:g} s")
    return int(process.receive_line())


def _kill_all(processes: dict[str, ChildProcess]) -> None:
    while processes:
        processes.popitem()[1].kill()
