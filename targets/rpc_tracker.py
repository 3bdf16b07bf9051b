"""Asking a TVM RPC tracker for a board, with an answer in any case.

TVM's own client blocks for ever on a key that nobody registered, and for a minute on
a tracker that is gone. This speaks the same protocol (``tvm/rpc/tracker.py``) over a
socket with a time limit, and says at which address the board is.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from dataclasses import dataclass
from typing import Any

_MAGIC = struct.pack("<i", 0x2F271)
_SUCCESS, _REQUEST, _SUMMARY = 0, 4, 6
_PRIORITY = 1
_ANSWER_TIMEOUT_S = 10.0
_POLL_S = 0.005
_POLL_GROWTH, _LONGEST_POLL_S = 1.5, 0.25
_LARGEST_MESSAGE = 1 << 24


class NoBoardError(RuntimeError):
    """No board can be had; the message says why and what to do."""


@dataclass(frozen=True)
class Board:
    """A board that a tracker has promised to whoever shows the key.

    Args:
        host: Its address.
        port: Its port.
        match_key: To show on connecting.
    """

    host: str
    port: int
    match_key: str

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"{self.host}:{self.port}"


class Tracker:
    """A connection to a tracker.

    Args:
        host: Its address.
        port: Its port.
        timeout_s: For connecting.

    Raises:
        NoBoardError: If none answers there.
    """

    def __init__(self, host: str, port: int, timeout_s: float = _ANSWER_TIMEOUT_S) -> None:
        self.address = f"{host}:{port}"
        try:
            self._socket = socket.create_connection((host, port), timeout=timeout_s)
            self._socket.settimeout(_ANSWER_TIMEOUT_S)
            self._socket.sendall(_MAGIC)
            if self._receive(len(_MAGIC)) != _MAGIC:
                raise NoBoardError(f"what answers at {self.address} is not a TVM RPC tracker")
        except OSError as error:
            raise NoBoardError(
                f"no tracker answers at {self.address} ({_reason(error)}). Start one: python -m "
                f"tvm.exec.rpc_tracker --host {host} --port {port}"
            ) from None

    def close(self) -> None:
        """Close the connection, which cancels a request in flight."""
        self._socket.close()

    def boards(self, key: str) -> list[str]:
        """Return the addresses of the boards registered under a key, busy or free."""
        servers = self._ask([_SUMMARY])[1]["server_info"]
        return sorted(
            ":".join(str(part) for part in server["addr"])
            for server in servers
            if server["key"] == f"server:{key}"
        )

    def keys(self) -> list[str]:
        """Return the keys under which boards are registered."""
        servers = self._ask([_SUMMARY])[1]["server_info"]
        return sorted({server["key"].removeprefix("server:") for server in servers})

    def n_free(self, key: str) -> int:
        """Return how many boards of a key wait for somebody."""
        queue = self._ask([_SUMMARY])[1]["queue_info"].get(key, {"free": 0})
        return int(queue["free"])

    def request(self, key: str, wait_s: float) -> Board:
        """Wait for a free board.

        Polls rather than queues: a request of a client that was killed would stay in
        the tracker's queue and swallow a board.

        Args:
            key: Of the kind of board.
            wait_s: How long at most.

        Raises:
            NoBoardError: If none is free by then.
        """
        end, poll_s = time.monotonic() + wait_s, _POLL_S
        while not self.n_free(key):
            if time.monotonic() > end:
                raise NoBoardError(self._none_free(key, wait_s))
            time.sleep(poll_s)
            poll_s = min(poll_s * _POLL_GROWTH, _LONGEST_POLL_S)
        self._socket.settimeout(max(1.0, end - time.monotonic()))
        try:
            host, port, match_key = self._ask([_REQUEST, key, "", _PRIORITY])[1]
        except TimeoutError:
            # ask no more: the next answer may be the one that did not come
            raise NoBoardError(
                f"No free board with key {key!r} on tracker {self.address} after {wait_s:.0f} s: "
                "somebody else was faster. Wait, or raise rpc.wait_s"
            ) from None
        finally:
            self._socket.settimeout(_ANSWER_TIMEOUT_S)
        return Board(host, int(port), match_key)

    def _none_free(self, key: str, wait_s: float) -> str:
        where = f"No free board with key {key!r} on tracker {self.address} after {wait_s:.0f} s"
        try:
            keys, boards = self.keys(), self.boards(key)
        except OSError:
            return f"{where}, and the tracker no longer answers."
        if boards:
            return f"{where}: {', '.join(boards)} busy, or hung. Wait, or restart its server."
        known = f"keys there: {', '.join(keys)}" if keys else "no board is registered there"
        return f"{where} ({known}). Is the board's server running, and its key {key!r}?"

    def _ask(self, question: list[Any]) -> list[Any]:
        content = json.dumps(question).encode()
        self._socket.sendall(struct.pack("<i", len(content)) + content)
        (size,) = struct.unpack("<i", self._receive(4))
        if not 0 <= size <= _LARGEST_MESSAGE:
            raise NoBoardError(f"what answers at {self.address} is not a TVM RPC tracker")
        answer: list[Any] = json.loads(self._receive(size))
        if answer[0] != _SUCCESS:
            raise NoBoardError(f"tracker {self.address} refused: {answer}")
        return answer

    def _receive(self, size: int) -> bytes:
        content = b""
        while len(content) < size:
            if hasattr(socket, "TCP_QUICKACK"):
                # a tracker's answer is two small packets: the second waits until the first
                # is acknowledged, by default 40 ms later
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            part = self._socket.recv(size - len(content))
            if not part:
                raise ConnectionError("the connection was closed")
            content += part
        return content


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
