"""What runs in the tracker's and the server's own process: ``python -m targets.rpc_process``.

The process ends, with everything it forked, when its standard input closes: that
is when whoever started it is gone, however it ended.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from typing import Any

from targets.board_server import BoardServer, use_runtime_only

HOST = "127.0.0.1"
_PORTS = range(20000, 29000)
_PORTS_TRIED = 1000


def main(role: str, key: str = "") -> None:
    """Serve until standard input closes or the listening thread fails.

    The port it listens on is the first line of standard output.

    Args:
        role: ``tracker``, or ``server``, whose first line of input is the tracker's port.
        key: Under which a server registers itself.
    """
    use_runtime_only()
    if role == "tracker":
        tracker = _track()
        port, serve = tracker.port, tracker.thread.join
    else:
        server = _server(key)
        port, serve = server.port, server.serve_forever
    threading.Thread(target=_end_with_standard_input, daemon=True).start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    serve()
    os._exit(1)


def _track() -> Any:
    from tvm.rpc.tracker import PopenTrackerServerState

    port = random.choice(_PORTS)
    return PopenTrackerServerState(HOST, port, port + _PORTS_TRIED, silent=True)


def _server(key: str) -> BoardServer:
    import tvm.rpc  # noqa: F401 - seconds, while the tracker starts

    line = sys.stdin.buffer.readline()
    if not line:
        sys.exit("no tracker")
    return BoardServer(HOST, 0, (HOST, int(line)), key)


def _end_with_standard_input() -> None:
    # not through sys.stdin: a fork would inherit its lock, held
    while os.read(0, 1):
        pass
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(*sys.argv[1:])
