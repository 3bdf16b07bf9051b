"""A TVM RPC tracker and server on this computer, each a process group of its own."""

from __future__ import annotations

import weakref

from targets.child_process import ChildProcess, ProcessEndedError
from targets.rpc_client import Endpoint
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
        self._endpoint: Endpoint | None = None
        weakref.finalize(self, _kill_all, self._processes)

    @property
    def process_ids(self) -> dict[str, int]:
        """Process (and group) id of each of ``tracker`` and ``server`` that runs."""
        return {role: p.pid for role, p in list(self._processes.items()) if p.is_alive}

    def start(self) -> Endpoint:
        """Start both unless they run; return where the server registers itself.

        Raises:
            ProcessEndedError: If one ends or says nothing; its last words are in the message.
        """
        if self._endpoint is None or set(self.process_ids) != {"tracker", "server"}:
            self.kill()
            tracker, server = self._spawn("tracker"), self._spawn("server", _KEY)
            port = _port(tracker)
            server.send(b"%d\n" % port)
            _port(server)
            self._endpoint = Endpoint(HOST, port, _KEY)
        return self._endpoint

    def kill(self) -> None:
        """Kill tracker, server and everything they started; `start` makes new ones."""
        _kill_all(self._processes)

    def _spawn(self, role: str, *arguments: str) -> ChildProcess:
        process = ChildProcess("targets.rpc_process", (role, *arguments), self._threads)
        self._processes[role] = process
        return process


def _port(process: ChildProcess) -> int:
    if not process.says_something_within(_START_TIMEOUT_S):
        raise ProcessEndedError(f"the RPC processes did not start within {_START_TIMEOUT_S:g} s")
    return int(process.receive_line())


def _kill_all(processes: dict[str, ChildProcess]) -> None:
    while processes:
        processes.popitem()[1].kill()
