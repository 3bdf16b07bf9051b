"""``hwnas targets check`` on real boards, good and bad: what fails is named, and what to do."""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from hwnas.target_checking import CheckStep, check_target
from targets.rpc_process import HOST
from tests.integration.board_rack import KEY, Rack, board_file, wait_until


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path / "cache"))


def names(steps: list[CheckStep]) -> list[str]:
    return [step.name for step in steps]


def test_a_good_board_passes_every_step_and_tells_of_itself(rack: Rack, tmp_path: Path) -> None:
    rack.add_board()
    (address,) = rack.addresses()
    steps = check_target(str(board_file(tmp_path, rack.port)))
    assert all(step.ok for step in steps), steps
    found = {step.name: step.detail for step in steps}
    assert list(found) == [
        *("description", "tracker", "session", "compile"),
        *("upload", "parity", "latency", "device", "power meter"),
    ]
    assert found["tracker"].startswith(f"{HOST}:{rack.port}: {address} with key {KEY!r}, ")
    assert found["session"].startswith(f"{address}, {os.uname().release}; opened in ")
    assert "median" in found["latency"]
    assert "threads 1" in found["device"]


def test_a_wrong_key_ends_the_check_with_code_3_and_the_command_for_the_board(
    rack: Rack, tmp_path: Path
) -> None:
    rack.add_board(key="another")
    file = board_file(tmp_path, rack.port)
    check = subprocess.run(
        [sys.executable, "-m", "hwnas", "targets", "check", file, "--json"],
        capture_output=True,
        text=True,
    )
    assert check.returncode == 3, check.stderr
    last = json.loads(check.stdout)[-1]
    assert (last["name"], last["ok"]) == ("tracker", False)
    assert "keys there: another" in last["detail"]
    assert last["fix"].endswith(f"--tracker {HOST}:{rack.port} --key {KEY}")


def test_a_board_whose_port_cannot_be_reached_fails_before_anything_is_compiled(
    rack: Rack, tmp_path: Path
) -> None:
    with socket.socket() as unused:
        unused.bind((HOST, 0))
        port = unused.getsockname()[1]
    rack.add_odd_board(f"server.port = {port}")
    steps = check_target(str(board_file(tmp_path, rack.port)))
    assert names(steps) == ["description", "tracker", "session"]
    assert not steps[-1].ok
    assert f"board {HOST}:{port}" in steps[-1].detail
    assert "tunnel" in steps[-1].fix


def test_a_full_disk_fails_at_the_upload_after_a_compilation_that_worked(
    rack: Rack, tmp_path: Path
) -> None:
    def small_files_only() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    rack.add_board(preexec_fn=small_files_only)
    steps = check_target(str(board_file(tmp_path, rack.port)))
    assert names(steps)[-2:] == ["compile", "upload"]
    assert [step.ok for step in steps] == [True] * (len(steps) - 1) + [False]
    assert "free some space" in steps[-1].fix


def test_ctrl_c_on_a_board_that_hangs_ends_the_check_and_everything_it_started(
    rack: Rack, tmp_path: Path
) -> None:
    rack.add_odd_board("board_server.serve_session = lambda *_: time.sleep(600)")
    server = psutil.Process(rack.boards[0].pid)
    check = subprocess.Popen(
        [sys.executable, "-m", "hwnas", "targets", "check", board_file(tmp_path, rack.port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    assert wait_until(lambda: bool(server.children()), 60)
    started = psutil.Process(check.pid).children(recursive=True)
    assert started
    os.kill(check.pid, signal.SIGINT)
    _, said = check.communicate(timeout=20)
    assert check.returncode == 130
    assert "Traceback" not in said
    assert wait_until(lambda: not any(process.is_running() for process in started))
    assert wait_until(lambda: not server.children())
