"""Boards behind a tracker that this process did not start: shared, hung, killed, full, wrong."""

import contextlib
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import targets
from targets import Artifact, Failure, MeasureConfig, Measurement
from targets.parity import random_inputs
from targets.rpc_process import HOST
from targets.testing import QUICK, small_model
from targets.tvm_target import TvmTarget
from tests.integration.board_rack import KEY, Rack, board_file, wait_until

LONG = MeasureConfig(
    warmup_s=0.0, min_samples=200, max_samples=1_000_000, min_time_s=1.5, timeout_s=60
)


def compiled(target: TvmTarget, seed: int = 0) -> Artifact:
    artifact = target.compile(small_model(seed=seed))
    assert isinstance(artifact, Artifact), artifact
    return artifact


def test_a_board_behind_a_tracker_compiles_runs_measures_and_is_given_back(
    rack: Rack, target: TvmTarget
) -> None:
    rack.add_board()
    artifact = compiled(target)
    measurement = target.measure(artifact, QUICK)
    assert isinstance(measurement, Measurement), measurement
    assert measurement.target == KEY
    assert [measurement.device_state["board_address"]] == rack.addresses()
    assert measurement.device_state["kernel"] == os.uname().release
    assert set(target.process_ids) == {"client"}
    # given back after each operation, so that others get their turn
    other = board_process_with_session(rack)
    assert wait_until(lambda: not other())


def board_process_with_session(rack: Rack) -> Callable[[], bool]:
    return lambda: any(psutil.Process(board.pid).children() for board in rack.boards)


def test_a_wrong_key_is_a_failure_that_names_the_keys_there_are(
    rack: Rack, target: TvmTarget
) -> None:
    rack.add_board(key="another")
    failure = target.compile(small_model())
    assert isinstance(failure, Failure)
    assert failure.stage == "connect"
    assert "after 3 s" in failure.message
    assert "keys there: another" in failure.message


def test_no_tracker_is_a_failure_that_says_how_to_start_one(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind((HOST, 0))
        port = unused.getsockname()[1]
    with targets.create(board_file(tmp_path, port), cache_dir=tmp_path) as target:
        start = time.monotonic()
        failure = target.compile(small_model())
    assert isinstance(failure, Failure)
    assert failure.stage == "connect"
    assert f"no tracker answers at {HOST}:{port}" in failure.message
    assert "tvm.exec.rpc_tracker" in failure.message
    # TVM's own client tries for a minute
    assert time.monotonic() - start < 30


def test_something_else_at_the_trackers_port_is_a_failure(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        file = board_file(tmp_path, server.getsockname()[1])
        with targets.create(file, cache_dir=tmp_path) as target:
            failure = target.compile(small_model())
    assert isinstance(failure, Failure)
    assert "not a TVM RPC tracker" in failure.message


def test_a_killed_board_is_replaced_by_another_in_the_middle_of_a_measurement(
    rack: Rack, target: TvmTarget
) -> None:
    first = rack.add_board()
    artifact = compiled(target)
    rack.add_board()

    def kill_the_busy_one() -> None:
        busy = [b.pid for b in rack.boards if psutil.Process(b.pid).children()]
        os.killpg(busy[0] if busy else first, signal.SIGKILL)

    timer = threading.Timer(0.8, kill_the_busy_one)
    timer.start()
    measurement = target.measure(artifact, LONG, fresh=True)
    timer.join()
    assert isinstance(measurement, Measurement), measurement
    assert len(measurement.latency_s) >= LONG.min_samples
    assert sum(board.poll() is None for board in rack.boards) == 1


def test_a_board_that_hangs_costs_one_try_and_another_one_does_the_work(
    rack: Rack, target: TvmTarget
) -> None:
    rack.add_board()
    artifact = compiled(target)
    hung = rack.boards[0].pid
    os.killpg(hung, signal.SIGSTOP)
    rack.add_board()
    result = target.measure(artifact, replace(QUICK, timeout_s=4), fresh=True)
    os.killpg(hung, signal.SIGCONT)
    assert isinstance(result, Measurement), result


def test_a_board_whose_sessions_all_hang_is_quarantined_with_a_message(
    rack: Rack, target: TvmTarget, caplog: pytest.LogCaptureFixture
) -> None:
    rack.add_board()
    (good,) = rack.addresses()
    artifacts = [compiled(target, seed) for seed in range(3)]
    rack.add_odd_board("board_server.serve_session = lambda *_: time.sleep(600)")
    (bad,) = set(rack.addresses()) - {good}
    target.attempts = 1
    with rack.taken(bad):
        for artifact in artifacts:
            failure = target.measure(artifact, replace(QUICK, timeout_s=1), fresh=True)
            assert isinstance(failure, Failure), failure
            assert failure.stage == "timeout"
            assert failure.message == f"board {bad}: no answer within 1 s"
    assert target.quarantined == (bad,)
    warning = f"board {bad} got lost 3 times in a row, at last: no answer within 1 s"
    assert [warning in record.getMessage() for record in caplog.records] == [True]
    for artifact in artifacts:
        assert isinstance(target.measure(artifact, QUICK, fresh=True), Measurement)


def test_when_every_board_hangs_the_failure_says_so_and_nothing_blocks(
    rack: Rack, target: TvmTarget
) -> None:
    rack.add_board()
    artifact = compiled(target)
    os.killpg(rack.boards[0].pid, signal.SIGSTOP)
    failure = target.measure(artifact, replace(QUICK, timeout_s=3), fresh=True)
    os.killpg(rack.boards[0].pid, signal.SIGCONT)
    assert isinstance(failure, Failure)
    assert failure.stage in ("timeout", "connect")


def test_a_tracker_that_restarts_gets_its_boards_back(
    rack: Rack, target: TvmTarget, tmp_path: Path
) -> None:
    rack.add_board()
    artifact = compiled(target)
    rack.tracker.kill()
    failure = target.measure(artifact, QUICK, fresh=True)
    assert isinstance(failure, Failure)
    assert failure.stage == "connect"
    restart = (
        "from tvm.rpc.tracker import PopenTrackerServerState as T; import sys;"
        f"t = T('127.0.0.1', {rack.port}, {rack.port + 1}, silent=True); t.thread.join()"
    )
    tracker = subprocess.Popen(
        [sys.executable, "-c", restart], env=os.environ | {"TVM_USE_RUNTIME_LIB": "1"}
    )
    try:
        assert wait_until(lambda: is_listening(rack.port))
        assert wait_until(lambda: len(rack.addresses()) == 1)
        measurement = target.measure(artifact, QUICK, fresh=True)
        assert isinstance(measurement, Measurement), measurement
    finally:
        tracker.kill()
        tracker.wait()


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def test_an_artifact_that_crashes_costs_a_session_and_not_the_board(
    rack: Rack, target: TvmTarget, tmp_path: Path
) -> None:
    pid = rack.add_board()
    artifact = compiled(target)
    source = tmp_path / "crash.c"
    source.write_text(
        "#include <signal.h>\n__attribute__((constructor)) void f(void) { raise(SIGSEGV); }"
    )
    library = tmp_path / "crash.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    for _ in range(2):
        failure = target.run(replace(artifact, path=library), random_inputs(small_model(), 0))
        assert isinstance(failure, Failure)
        assert failure.stage == "run"
    assert psutil.Process(pid).is_running()
    # nor is the board blamed, though it got lost with each try
    assert target.quarantined == ()
    assert isinstance(target.measure(artifact, QUICK, fresh=True), Measurement)


def test_a_kernel_that_returns_nan_fails_the_parity_check(
    rack: Rack, target: TvmTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    from targets import rpc_client

    rack.add_board()
    run = rpc_client.RpcSession.run

    def spoilt(self: rpc_client.RpcSession, inputs: Any) -> Any:
        logits, *rest = run(self, inputs)
        return (np.full_like(logits, np.nan), *rest)

    monkeypatch.setattr(rpc_client.RpcSession, "run", spoilt)
    failure = target.compile(small_model())
    assert isinstance(failure, Failure)
    assert failure.stage == "parity"


def test_a_full_disk_on_the_board_is_a_failure_and_not_a_number(
    rack: Rack, target: TvmTarget, tmp_path: Path
) -> None:
    import resource

    def small_files_only() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    full = rack.add_board(preexec_fn=small_files_only)
    failure = target.compile(small_model())
    assert isinstance(failure, Failure), failure
    assert failure.stage == "upload"
    assert "is the board's disk full?" in failure.message
    rack.add_board()
    assert wait_until(lambda: not psutil.Process(full).children())
    assert isinstance(target.compile(small_model()), Artifact)


class CuttingProxy:
    """Passes a client's bytes on to a board until so many have gone, then cuts the line."""

    def __init__(self, board: tuple[str, int], limit: int) -> None:
        self._board, self._limit = board, limit
        self._server = socket.create_server((HOST, 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:  # closed
                return
            board = socket.create_connection(self._board)
            threading.Thread(target=self._pump, args=(board, client, None), daemon=True).start()
            threading.Thread(
                target=self._pump, args=(client, board, self._limit), daemon=True
            ).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket, limit: int | None) -> None:
        passed = 0
        try:
            while (part := source.recv(4096)) and (limit is None or passed < limit):
                sink.sendall(part)
                passed += len(part)
        except OSError:
            pass
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def test_an_upload_that_is_cut_off_is_a_failure(
    rack: Rack, target: TvmTarget, request: pytest.FixtureRequest
) -> None:
    with socket.socket() as unused:
        unused.bind((HOST, 0))
        board_port = unused.getsockname()[1]
    proxy = CuttingProxy((HOST, board_port), limit=20_000)
    request.addfinalizer(proxy.close)
    # a board reached through a bad line: it advertises the proxy's port
    rack.add_odd_board(f"server.port = {proxy.port}", board_port)
    failure = target.compile(small_model())
    assert isinstance(failure, Failure), failure
    assert failure.stage in ("upload", "connect", "run")
    assert not list((target._cache.folder / "artifacts").glob("*.json"))


def measure_often(file: str, cache: str, config: MeasureConfig, queue: Any) -> None:
    with targets.create(file, cache_dir=Path(cache)) as target:
        artifact = target.compile(small_model())
        assert isinstance(artifact, Artifact), artifact
        results = [target.measure(artifact, config, fresh=True) for _ in range(5)]
        queue.put([isinstance(result, Measurement) for result in results])


@contextlib.contextmanager
def two_studies(file: Path, config: MeasureConfig) -> Iterator[Callable[[], list[list[bool]]]]:
    """Start two processes that measure; what is yielded waits for their outcomes."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    studies = [
        context.Process(target=measure_often, args=(file, file.parent / str(i), config, queue))
        for i in range(2)
    ]
    for study in studies:
        study.start()
    try:
        yield lambda: [queue.get(timeout=120) for _ in studies]
    finally:
        for study in studies:
            study.join(timeout=20)
            study.kill()


def test_two_studies_share_one_board_and_both_get_all_their_measurements(
    rack: Rack, tmp_path: Path
) -> None:
    rack.add_board()
    with two_studies(board_file(tmp_path, rack.port, wait_s=30), QUICK) as outcomes:
        assert outcomes() == [[True] * 5] * 2


def test_two_boards_measure_at_the_same_time_and_when_one_dies_the_other_does_it_all(
    rack: Rack, tmp_path: Path
) -> None:
    boards = [psutil.Process(rack.add_board()) for _ in range(2)]
    config = replace(LONG, min_time_s=1.0)
    with two_studies(board_file(tmp_path, rack.port, wait_s=30), config) as outcomes:
        assert wait_until(lambda: all(board.children() for board in boards), 60)
        os.killpg(boards[0].pid, signal.SIGKILL)
        assert outcomes() == [[True] * 5] * 2
    assert rack.boards[0].poll() is not None


def test_ctrl_c_during_a_measurement_leaves_no_process_behind(rack: Rack, tmp_path: Path) -> None:
    pid = rack.add_board()
    file = board_file(tmp_path, rack.port)
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "import targets\n"
        "from targets.testing import small_model\n"
        "from targets import MeasureConfig\n"
        "with targets.create(sys.argv[1], cache_dir=Path(sys.argv[2])) as target:\n"
        "    artifact = target.compile(small_model())\n"
        "    print('ready', flush=True)\n"
        "    target.measure(artifact, MeasureConfig(min_time_s=600, max_samples=10**9), fresh=True)"
    )
    study = subprocess.Popen(
        [sys.executable, "-c", script, file, tmp_path / "cache"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert study.stdout is not None
    with study.stdout:
        assert study.stdout.readline() == b"ready\n"
    time.sleep(1.0)
    children = psutil.Process(study.pid).children(recursive=True)
    assert children
    os.kill(study.pid, signal.SIGINT)
    assert study.wait(timeout=20) != 0
    assert wait_until(lambda: not any(child.is_running() for child in children))
    # and the board is free again
    assert wait_until(lambda: not psutil.Process(pid).children())
