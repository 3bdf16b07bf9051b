"""A board with a 64-bit Arm processor that qemu emulates, behind a real tracker."""

import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

import targets
from targets.child_process import ChildProcess
from targets.rpc_process import HOST
from targets.rpc_tracker import Tracker
from targets.spec import BOARDS
from targets.tvm_target import TvmTarget
from tests.emulated.userland import build, command, environment, missing

KEY = "emulated-aarch64"
# Python and TVM start in about 5 s under emulation on a quiet machine
_START_TIMEOUT_S = 120.0


@dataclass
class EmulatedBoard:
    """A board that can be started again.

    Args:
        userland: Its files.
        port: Of its tracker.
        temporary: What its sessions are sent; a board that ends leaves it.
        server: What runs now.
    """

    userland: Path
    port: int
    temporary: Path
    server: "subprocess.Popen[bytes] | None" = field(default=None)

    def start(self) -> None:
        script = Path(targets.__file__).with_name("board_server.py")
        self.server = subprocess.Popen(
            [
                *command(self.userland),
                str(script),
                *("--tracker", f"{HOST}:{self.port}", "--key", KEY),
                *("--port", "0", "--in-process"),
            ],
            env=environment(self.userland) | {"TMPDIR": str(self.temporary)},
        )
        end = time.monotonic() + _START_TIMEOUT_S
        while not self.is_registered():
            assert self.server.poll() is None, "the emulated board ended"
            assert time.monotonic() < end, "the emulated board did not register"
            time.sleep(0.1)

    def is_registered(self) -> bool:
        tracker = Tracker(HOST, self.port)
        try:
            return bool(tracker.boards(KEY))
        finally:
            tracker.close()

    def stop(self) -> None:
        if self.server is not None:
            self.server.kill()
            self.server.wait()


@pytest.fixture(scope="session")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatedBoard]:
    reason = missing()
    if reason is not None:
        if os.environ.get("HWNAS_REQUIRE_ALL") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    userland = build()
    tracker = ChildProcess("targets.rpc_process", ("tracker",))
    port = int(tracker.receive_line())
    board = EmulatedBoard(userland, port, tmp_path_factory.mktemp("sessions"))
    try:
        board.start()
        yield board
    finally:
        board.stop()
        tracker.kill()


@pytest.fixture(scope="session")
def target_file(board: EmulatedBoard, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Raspberry Pi 4's, but for where the board is and what its timings are worth."""
    spec = yaml.safe_load((BOARDS / "raspberry-pi-4.yaml").read_text(encoding="utf-8"))
    spec.pop("clock_khz", None)
    spec |= {
        "name": KEY,
        "provenance": "emulated",
        "rpc": {"tracker": f"{HOST}:{board.port}", "key": KEY},
    }
    path = tmp_path_factory.mktemp("target") / "board.yaml"
    path.write_text(yaml.safe_dump(spec), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def target(target_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TvmTarget]:
    with targets.create(target_file, cache_dir=tmp_path_factory.mktemp("cache")) as target:
        assert isinstance(target, TvmTarget)
        yield target
