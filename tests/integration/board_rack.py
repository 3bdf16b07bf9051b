"""A tracker and boards to shoot at, started as a user starts them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

import targets
from targets.child_process import ChildProcess
from targets.rpc_client import Endpoint, RpcClient
from targets.rpc_process import HOST
from targets.rpc_tracker import Tracker

KEY = "testboard"


class Rack:
    """A tracker, and board servers to kill and stop."""

    def __init__(self) -> None:
        self.tracker = ChildProcess("targets.rpc_process", ("tracker",))
        self.port = int(self.tracker.receive_line())
        self.boards: list[subprocess.Popen[bytes]] = []

    def add_board(self, key: str = KEY, **popen: Any) -> int:
        """Start a board as a user does; return its process id once it is registered."""
        command = ["-m", "targets.board_server", "--key", key, "--port", "0"]
        return self._add(key, [*command, "--tracker", f"{HOST}:{self.port}"], **popen)

    def add_odd_board(self, change: str, port: int = 0) -> int:
        """Start a board on whose ``server`` some lines of Python were tried."""
        lines = (
            "import time",
            "from targets import board_server",
            "board_server.use_runtime_only()",
            f"tracker = ({HOST!r}, {self.port})",
            f"server = board_server.BoardServer({HOST!r}, {port}, tracker, {KEY!r})",
            change,
            "server.serve_forever()",
        )
        return self._add(KEY, ["-c", "\n".join(lines)])

    def _add(self, key: str, arguments: list[str], **popen: Any) -> int:
        before = self.addresses(key)
        board = subprocess.Popen(
            [sys.executable, *arguments], start_new_session=True, stderr=subprocess.DEVNULL, **popen
        )
        self.boards.append(board)
        assert wait_until(lambda: len(self.addresses(key)) > len(before))
        return board.pid

    def addresses(self, key: str = KEY) -> list[str]:
        """Of the boards that are registered."""
        tracker = Tracker(HOST, self.port)
        try:
            return tracker.boards(key)
        finally:
            tracker.close()

    @contextlib.contextmanager
    def taken(self, *others: str) -> Iterator[None]:
        """Take a board that is none of the others, as another process would."""
        client = RpcClient()
        client.open(Endpoint(HOST, self.port, KEY), 0, avoid=others)
        yield
        client.kill()

    def close(self) -> None:
        for board in self.boards:
            if board.poll() is None:
                os.killpg(board.pid, signal.SIGKILL)
            board.wait()
        self.tracker.kill()


def wait_until(condition: Callable[[], bool], timeout_s: float = 20.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def board_file(folder: Path, port: int, **rpc: Any) -> Path:
    spec = yaml.safe_load((Path(targets.__file__).parent / "boards" / "host.yaml").read_text())
    spec["name"] = KEY
    spec["rpc"] = {"tracker": f"{HOST}:{port}", "key": KEY, "wait_s": 3, **rpc}
    path = folder / "board.yaml"
    path.write_text(yaml.safe_dump(spec))
    return path
