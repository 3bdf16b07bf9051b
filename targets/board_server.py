"""What runs on a board: a TVM RPC server that outlives whatever it is sent.

This file needs Python, apache-tvm and numpy, and nothing else of hwnas: copy it to the
board and run it there::

    python3 board_server.py --tracker 127.0.0.1:9190 --key rpi4 --port 9091

TVM's RPC has no authentication and runs what it is sent. The server listens on
loopback unless told otherwise; reach it, and let it reach the tracker, through SSH::

    ssh -R 9190:127.0.0.1:9190 -L 9091:127.0.0.1:9091 user@board

Every session is a process of its own: a library that crashes or hangs ends its session
and nothing else, which TVM's own server (``python -m tvm.exec.rpc_server``) does not
survive.
"""

from __future__ import annotations

import argparse
import ctypes
import glob
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from typing import Any

READ_FILE = "hwnas.read_file"
"""Name of a function that TVM's own server lacks: path to text, or ``None``."""

METER_OPEN = "hwnas.meter_open"
"""Starts Python code that reads a power meter: code and its first input to a process id."""

METER_ASK = "hwnas.meter_ask"
"""A process id and a request to the answer: a line of JSON with a ``size``, and so many bytes."""

METER_CLOSE = "hwnas.meter_close"
"""Ends such a process."""

_PING_S = 2.0
_RETRY_S = 1.0
_WATCH_S = 0.01
_GRACE_S = 1.0
_SESSION_PREFIX = "hwnas-session-"
_HANDSHAKE_TIMEOUT_S = 10.0
# a match key that was taken but not shown for so long is replaced
_UNUSED_PERIODS = 3
_PR_SET_PDEATHSIG = 1


class BoardServer:
    """Serves one session after the other and registers itself at a tracker.

    Args:
        host: Address to listen on.
        port: To listen on; 0 takes any that is free.
        tracker: Address and port of the tracker.
        key: To register under.
        advertise: Address under which clients reach this server.
        in_process: Serve in this process: where forking does not work, as under
            emulation. A crash then ends the server.
    """

    def __init__(
        self,
        host: str,
        port: int,
        tracker: tuple[str, int],
        key: str,
        advertise: str | None = None,
        in_process: bool = False,
    ) -> None:
        family = socket.getaddrinfo(host, port)[0][0]
        self._listener = socket.socket(family, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((host, port))
        self._listener.listen(8)
        self.port = int(self._listener.getsockname()[1])
        self._tracker, self._key = tracker, key
        self._advertise = advertise or host
        self._in_process = in_process

    def serve_forever(self) -> None:
        """Serve sessions; a tracker that is gone is tried again until it is back."""
        remove_leftovers()
        while True:
            try:
                self._serve_with(self._register())
            except OSError as error:
                say(f"tracker {self._tracker[0]}:{self._tracker[1]}: {error}; trying again")
                time.sleep(_RETRY_S)

    def _register(self) -> socket.socket:
        from tvm.rpc import base

        tracker = socket.create_connection(self._tracker, timeout=_HANDSHAKE_TIMEOUT_S)
        # each message is two small packets, and the second would wait for an acknowledgement
        tracker.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tracker.sendall(struct.pack("<i", base.RPC_TRACKER_MAGIC))
        if struct.unpack("<i", base.recvall(tracker, 4))[0] != base.RPC_TRACKER_MAGIC:
            raise OSError("not a TVM RPC tracker")
        info = {"key": f"server:{self._key}", "addr": (self._advertise, self.port)}
        self._tell(tracker, [base.TrackerCode.UPDATE_INFO, info])
        return tracker

    def _serve_with(self, tracker: socket.socket) -> None:
        with tracker:
            while True:
                connection, options = self._accept(tracker)
                with connection:
                    self._serve(connection, options)

    def _accept(self, tracker: socket.socket) -> tuple[socket.socket, list[str]]:
        """Offer a match key to the tracker until a client shows it."""
        from tvm.rpc import base

        match_key = self._offer(tracker)
        unused = 0
        while True:
            if select.select([self._listener], [], [], _PING_S)[0]:
                connection, _ = self._listener.accept()
                options = self._handshake(connection, match_key)
                if options is not None:
                    return connection, options
                connection.close()
                continue
            pending = self._tell(tracker, [base.TrackerCode.GET_PENDING_MATCHKEYS])
            unused = 0 if match_key in pending else unused + 1
            if unused > _UNUSED_PERIODS:
                match_key, unused = self._offer(tracker), 0

    def _offer(self, tracker: socket.socket) -> str:
        from tvm.rpc import base

        match_key = str(base.random_key(self._key))
        value = [base.TrackerCode.PUT, self._key, (self.port, match_key), self._advertise]
        self._tell(tracker, value)
        return match_key

    def _tell(self, tracker: socket.socket, value: list[Any]) -> Any:
        from tvm.rpc import base

        base.sendjson(tracker, value)
        return base.recvjson(tracker)

    def _handshake(self, connection: socket.socket, match_key: str) -> list[str] | None:
        """Return a client's options; ``None`` if it is no client, or not the expected one."""
        from tvm.rpc import base

        connection.settimeout(_HANDSHAKE_TIMEOUT_S)
        try:
            if struct.unpack("<i", base.recvall(connection, 4))[0] != base.RPC_MAGIC:
                return None
            (size,) = struct.unpack("<i", base.recvall(connection, 4))
            words = base.recvall(connection, size).decode().split()
            if not words or words[0] != f"client:{match_key}":
                connection.sendall(struct.pack("<i", base.RPC_CODE_MISMATCH))
                return None
            name = f"server:{self._key}".encode()
            connection.sendall(struct.pack("<ii", base.RPC_CODE_SUCCESS, len(name)) + name)
        except (OSError, UnicodeDecodeError, struct.error):
            return None
        connection.settimeout(None)
        return list(words[1:])

    def _serve(self, connection: socket.socket, options: list[str]) -> None:
        timeouts = [float(o.partition("=")[2]) for o in options if o.startswith("-timeout=")]
        folder = tempfile.mkdtemp(prefix=f"{_SESSION_PREFIX}{os.getpid()}-")
        try:
            if self._in_process:
                self._serve_here(connection, folder)
            else:
                self._serve_in_child(connection, folder, timeouts[0] if timeouts else None)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _serve_here(self, connection: socket.socket, folder: str) -> None:
        try:
            serve_session(connection, folder)
        except Exception as error:  # a session's errors are the client's
            say(f"session ended: {str(error).strip().splitlines()[-1:]}")
        finally:
            os.chdir("/")
            connection.detach()  # TVM has closed it

    def _serve_in_child(
        self, connection: socket.socket, folder: str, timeout_s: float | None
    ) -> None:
        child = os.fork()
        if child == 0:
            try:
                die_with_parent()
                self._listener.close()
                serve_session(connection, folder)
            except BaseException as error:
                say(f"session ended: {error}")
            finally:
                os._exit(0)
        end = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        hung_up = select.poll()
        hung_up.register(connection, select.POLLRDHUP)
        while os.waitpid(child, os.WNOHANG) == (0, 0):
            # an ending child interrupts no sleep: poll, seldom enough not to disturb
            time.sleep(_WATCH_S)
            if hung_up.poll(0):
                # its client is gone, maybe in the middle of a measurement of hours
                end = min(end, time.monotonic() + _GRACE_S)
                hung_up.unregister(connection)
            if time.monotonic() > end:
                say("session killed: its time is over, or its client is gone")
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return


def remove_leftovers() -> None:
    """Remove the uploads of servers that were killed in the middle of a session."""
    for path in glob.glob(os.path.join(tempfile.gettempdir(), f"{_SESSION_PREFIX}*-*")):
        owner = os.path.basename(path).removeprefix(_SESSION_PREFIX).partition("-")[0]
        if owner.isdigit() and not _lives(int(owner)):
            shutil.rmtree(path, ignore_errors=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def serve_session(connection: socket.socket, folder: str) -> None:
    """Do what a client asks, until it disconnects; uploads go to a folder."""
    import tvm_ffi
    from tvm.rpc import _ffi_api, server
    from tvm.support import utils

    uploads = utils.TempDirectory(os.path.join(folder, "uploads"))
    os.chdir(uploads.path)
    server._server_env("", uploads)
    tvm_ffi.register_global_func(READ_FILE, read_file, override=True)
    meters = Meters()
    tvm_ffi.register_global_func(METER_OPEN, meters.open, override=True)
    tvm_ffi.register_global_func(METER_ASK, meters.ask, override=True)
    tvm_ffi.register_global_func(METER_CLOSE, meters.close, override=True)
    _ffi_api.ServerLoop(connection.fileno())


class Meters:
    """Processes that read power meters for the client of a session, and end with it."""

    def __init__(self) -> None:
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def open(self, code: str, content: bytes) -> int:
        """Start one; its standard input closes, and it ends, with this process."""
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._processes[process.pid] = process
        _write(process, bytes(content))
        return process.pid

    def ask(self, number: int, request: bytes) -> bytes:
        """Pass a request on and return the answer."""
        process = self._processes[number]
        _write(process, bytes(request) + b"\n")
        if process.stdout is None:
            raise RuntimeError("not a pipe")
        line = process.stdout.readline()
        if not line:
            raise RuntimeError("what reads the meter has ended: see the log of the board's server")
        return line + process.stdout.read(json.loads(line)["size"])

    def close(self, number: int) -> None:
        """End one."""
        process = self._processes.pop(number)
        process.kill()
        process.wait()


def _write(process: subprocess.Popen[bytes], content: bytes) -> None:
    if process.stdin is None:
        raise RuntimeError("not a pipe")
    process.stdin.write(content)
    process.stdin.flush()


def read_file(path: str) -> str | None:
    """Return a text file's content; ``None`` where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return None


def use_runtime_only() -> None:
    """Import neither compiler nor torch, which TVM imports if it can: 0.4 s instead of 4 s."""
    os.environ["TVM_USE_RUNTIME_LIB"] = "1"
    sys.modules["torch"] = None  # type: ignore[assignment]


def die_with_parent() -> None:
    """End this process when the one that forked it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def say(text: str) -> None:
    """Write a line to standard error, where a service's log is."""
    sys.stderr.write(f"board_server: {text}\n")
    sys.stderr.flush()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tracker", required=True, metavar="HOST:PORT")
    parser.add_argument("--key", required=True, help="kind of board, as in its target file")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=9091, help="to listen on (default 9091)")
    parser.add_argument("--advertise", help="address under which clients reach this server")
    parser.add_argument(
        "--in-process", action="store_true", help="do not fork for a session: for emulators"
    )
    arguments = parser.parse_args()
    host, _, port = arguments.tracker.rpartition(":")
    use_runtime_only()
    server = BoardServer(
        arguments.host,
        arguments.port,
        (host.strip("[]"), int(port)),
        arguments.key,
        arguments.advertise,
        arguments.in_process,
    )
    say(f"listens on {arguments.host}:{server.port}")
    server.serve_forever()


if __name__ == "__main__":
    main()
