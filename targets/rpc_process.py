"""What runs in the tracker's and the server's own process: ``python -m targets.rpc_process``.

The process ends, with everything it forked, when its standard input closes: that
is when whoever started it is gone, however it ended.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import random
import signal
import sys
import threading
from typing import Any

from targets.device_files import LocalFiles

HOST = "127.0.0.1"
READ_FILE = "hwnas.read_file"
"""Name of a function, beyond TVM's own, that a server may offer: path to text or ``None``."""
_PORTS = range(20000, 29000)
_PORTS_TRIED = 1000
_PR_SET_PDEATHSIG = 1


def main(role: str, key: str = "") -> None:
    """Serve until standard input closes or the listening thread fails.

    The port it listens on is the first line of standard output.

    Args:
        role: ``tracker``, or ``server``, whose first line of input is the tracker's port.
        key: Under which a server registers itself.
    """
    import_only_the_runtime()
    # sessions are forked from the server's listening thread and must not outlive it
    multiprocessing.set_start_method("fork")
    os.register_at_fork(after_in_child=_die_with_parent)
    state = _track() if role == "tracker" else _serve(key)
    threading.Thread(target=_end_with_standard_input, daemon=True).start()
    sys.stdout.write(f"{state.port}\n")
    sys.stdout.flush()
    state.thread.join()
    # a session that crashed ends the listening thread: the parent starts a new server
    os._exit(1)


def import_only_the_runtime() -> None:
    """Import neither compiler nor torch, which TVM imports if it can: 0.4 s instead of 4 s."""
    os.environ["TVM_USE_RUNTIME_LIB"] = "1"
    sys.modules["torch"] = None  # type: ignore[assignment]


def _track() -> Any:
    from tvm.rpc.tracker import PopenTrackerServerState

    port = random.choice(_PORTS)
    return PopenTrackerServerState(HOST, port, port + _PORTS_TRIED, silent=True)


def _serve(key: str) -> Any:
    import tvm_ffi
    from tvm.rpc.server import PopenRPCServerState

    tvm_ffi.register_global_func(READ_FILE, LocalFiles().read)

    # read after the import, which takes seconds: the tracker starts meanwhile
    line = sys.stdin.buffer.readline()
    if not line:
        sys.exit("no tracker")
    port = random.choice(_PORTS)
    return PopenRPCServerState(
        HOST,
        port,
        port + _PORTS_TRIED,
        tracker_addr=(HOST, int(line)),
        key=key,
        custom_addr=HOST,
        silent=True,
    )


def _end_with_standard_input() -> None:
    # not through sys.stdin: a fork would inherit its lock, held
    while os.read(0, 1):
        pass
    os.killpg(0, signal.SIGKILL)


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main(*sys.argv[1:])
