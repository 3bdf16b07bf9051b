"""A real TVM tracker and server on loopback: killed, stopped, crashed, abandoned."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
import pytest

import targets
from targets import Artifact, Failure, MeasureConfig, Measurement, rpc_client, tvm_schedule
from targets.measurement_log import MeasurementLog
from targets.parity import random_inputs
from targets.testing import QUICK, GraphBuilder, run_onnxruntime, small_model
from targets.tvm_target import TvmTarget

# a second of sampling: time enough to get in between, and far from the time limit
LONG = MeasureConfig(
    warmup_s=0.0, min_samples=200, max_samples=1_000_000, min_time_s=1.5, timeout_s=60
)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TvmTarget]:
    with targets.create("host", cache_dir=tmp_path_factory.mktemp("cache")) as target:
        assert isinstance(target, TvmTarget)
        yield target


@pytest.fixture(scope="module")
def artifact(target: TvmTarget) -> Artifact:
    artifact = target.compile(small_model())
    assert isinstance(artifact, Artifact), artifact
    return artifact


def wait_until(condition: Callable[[], bool], timeout_s: float = 20.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def during_sampling(target: TvmTarget, action: Callable[[int], None]) -> threading.Thread:
    """Do something to the server in the middle of a measurement that begins now."""
    server = target.process_ids["server"]
    timer = threading.Timer(0.7, action, (server,))
    timer.start()
    return timer


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_server_killed_while_it_measures_is_replaced_and_the_measurement_retried(
    target: TvmTarget, artifact: Artifact
) -> None:
    target.run(artifact, random_inputs(small_model(), 0))
    before = target.process_ids["server"]
    killer = during_sampling(target, lambda pid: os.kill(pid, signal.SIGKILL))
    measurement = target.measure(artifact, LONG, fresh=True)
    killer.join()
    assert isinstance(measurement, Measurement), measurement
    assert len(measurement.latency_s) >= LONG.min_samples
    assert target.process_ids["server"] != before


def test_a_server_that_hangs_is_killed_by_the_watchdog_and_the_measurement_retried(
    target: TvmTarget, artifact: Artifact
) -> None:
    target.run(artifact, random_inputs(small_model(), 0))
    before = target.process_ids["server"]
    stopper = during_sampling(target, lambda pid: os.killpg(pid, signal.SIGSTOP))
    measurement = target.measure(artifact, replace(LONG, timeout_s=6), fresh=True)
    stopper.join()
    assert isinstance(measurement, Measurement), measurement
    assert target.process_ids["server"] != before
    assert is_gone(before)


def test_a_server_that_hangs_before_the_session_is_replaced_too(
    target: TvmTarget, artifact: Artifact
) -> None:
    target.run(artifact, random_inputs(small_model(), 0))
    for pid in target.process_ids.values():
        os.killpg(pid, signal.SIGSTOP)
    measurement = target.measure(artifact, replace(QUICK, timeout_s=4), fresh=True)
    assert isinstance(measurement, Measurement), measurement


def test_a_measurement_that_takes_too_long_twice_is_a_failure(
    target: TvmTarget, artifact: Artifact
) -> None:
    endless = replace(LONG, min_time_s=3600, max_samples=10**9, timeout_s=1.0)
    failure = target.measure(artifact, endless, fresh=True)
    assert isinstance(failure, Failure)
    assert failure.stage == "timeout"
    assert "1 s" in failure.message


def test_an_artifact_that_crashes_takes_neither_the_caller_nor_the_target_with_it(
    target: TvmTarget, artifact: Artifact, tmp_path: Path
) -> None:
    library = tmp_path / "crash.so"
    source = tmp_path / "crash.c"
    source.write_text(
        "#include <signal.h>\n__attribute__((constructor)) void f(void) { raise(SIGSEGV); }"
    )
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    failure = target.run(replace(artifact, path=library), random_inputs(small_model(), 0))
    assert isinstance(failure, Failure)
    assert failure.stage in ("upload", "run")
    assert isinstance(target.measure(artifact, QUICK, fresh=True), Measurement)


def test_a_file_that_is_no_library_is_a_failure(
    target: TvmTarget, artifact: Artifact, tmp_path: Path
) -> None:
    (tmp_path / "text.so").write_text("no library")
    failure = target.measure(replace(artifact, path=tmp_path / "text.so"), QUICK, fresh=True)
    assert isinstance(failure, Failure)
    assert failure.stage == "run"


def test_a_session_that_many_libraries_have_made_large_is_renewed(
    target: TvmTarget, artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = 4 * artifact.path.stat().st_size
    monkeypatch.setattr(rpc_client, "_LARGEST_SESSION_BYTES", limit)
    target.close()
    n_loaded = []
    for _ in range(12):
        assert isinstance(target.measure(artifact, QUICK, fresh=True), Measurement)
        (session,) = psutil.Process(target.process_ids["server"]).children()
        mapped = {m.path for m in session.memory_maps() if "library" in Path(m.path).name}
        n_loaded.append(len(mapped))
    # TVM unloads none; were that to change, sessions need not be renewed. A measurement that
    # was disturbed and repeated loads two
    assert max(n_loaded) == 5
    assert sum(later < earlier for earlier, later in pairwise(n_loaded)) >= 2


def test_close_leaves_no_process(target: TvmTarget, artifact: Artifact) -> None:
    target.run(artifact, random_inputs(small_model(), 0))
    roots = [psutil.Process(pid) for pid in target.process_ids.values()]
    assert len(roots) == 3
    started = [process for root in roots for process in (root, *root.children(recursive=True))]
    target.close()
    assert target.process_ids == {}
    assert all(is_gone(process.pid) for process in started)


def test_both_processes_listen_on_loopback_only(target: TvmTarget, artifact: Artifact) -> None:
    target.run(artifact, random_inputs(small_model(), 0))
    for role in ("tracker", "server"):
        listening = [
            c.laddr.ip
            for c in psutil.Process(target.process_ids[role]).net_connections("inet")
            if c.status == psutil.CONN_LISTEN
        ]
        assert listening == ["127.0.0.1"]


def test_tracker_and_server_end_with_a_parent_that_is_killed() -> None:
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import time\nfrom targets.rpc_host import RpcHost\nhost = RpcHost()\nhost.start()\n"
            "print(*host.process_ids.values(), flush=True)\ntime.sleep(600)",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    with parent.stdout:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 2
    parent.kill()
    parent.wait()
    try:
        assert wait_until(lambda: all(is_gone(pid) for pid in pids))
    finally:
        for pid in pids:
            if not is_gone(pid):
                os.killpg(pid, signal.SIGKILL)


def test_a_schedule_that_computes_wrong_numbers_is_caught_before_anything_is_timed(
    target: TvmTarget, artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = GraphBuilder((1, 16, 12, 12))
    y = graph.node("Relu", graph.conv(graph.node("Relu", graph.conv("x", (16, 32))), (32, 32)))
    model = graph.build(graph.classifier(y, 32, 10))
    # 8 pixels neither divide a row of 12 nor are whole rows
    wrong = tvm_schedule.Tile(pixels=8, vectors=1, lanes=16)
    with monkeypatch.context() as patch:
        patch.setattr(tvm_schedule._TileSpace, "default", lambda *_: wrong)
        failure = target.compile(model)
    assert isinstance(failure, Failure)
    assert failure.stage == "parity"
    assert "off by" in failure.message
    # and the artifact was not cached; its kernels were, as the rules are part of their key
    shutil.rmtree(artifact.path.parent.parent / "kernels")
    assert isinstance(target.compile(model), Artifact)


def test_another_models_library_is_caught_by_comparing_outputs(
    target: TvmTarget, artifact: Artifact
) -> None:
    other = target.compile(small_model(seed=1))
    assert isinstance(other, Artifact), other
    assert hashlib.sha256(other.path.read_bytes()).hexdigest() == other.sha256 != artifact.sha256
    inputs = random_inputs(small_model(), 0)
    outputs = target.run(other, inputs)
    assert not isinstance(outputs, Failure), outputs
    expected = run_onnxruntime(small_model(), inputs)
    assert np.abs(outputs[0] - expected[0]).max() > 0.1 * np.abs(expected[0]).max()


def test_two_targets_at_once_do_not_meet(target: TvmTarget, artifact: Artifact) -> None:
    with targets.create("host", cache_dir=artifact.path.parent) as other:
        assert isinstance(other, TvmTarget)
        assert isinstance(other.measure(artifact, QUICK), Measurement)
        target.run(artifact, random_inputs(small_model(), 0))
        assert set(other.process_ids.values()).isdisjoint(target.process_ids.values())


def test_without_a_compiler_the_failure_says_what_to_install(
    target: TvmTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    assert shutil.which("cc") is None
    failure = target.compile(small_model(seed=2))
    assert isinstance(failure, Failure)
    assert failure.stage == "compile"
    assert "install gcc or clang" in failure.message


def test_a_session_that_stays_open_outlives_the_time_limit_of_its_first_measurement(
    target: TvmTarget, artifact: Artifact
) -> None:
    target.close()
    short = replace(QUICK, timeout_s=2.0)
    assert isinstance(target.measure(artifact, short, fresh=True), Measurement)
    server = psutil.Process(target.process_ids["server"])
    (session,) = server.children()
    time.sleep(2.5)
    assert isinstance(target.measure(artifact, short, fresh=True), Measurement)
    assert server.children() == [session]


class SlowDown(threading.Thread):
    """Lets a server's sessions run a seventh of the time, from the middle of a measurement on.

    In pieces shorter than an inference, until the measurement is in the log. So much slower
    that it shows beside whatever else runs on the computer.

    Args:
        pid: Of the server.
        after_s: How much processor time its sessions get before.
        log: Where measurements are kept.
    """

    def __init__(self, pid: int, after_s: float, log: Path) -> None:
        super().__init__(daemon=True)
        self._server, self._after_s, self._log = psutil.Process(pid), after_s, log

    def run(self) -> None:
        start_s = self._used_s()
        while not self._log.exists() and self._used_s() < start_s + self._after_s:
            time.sleep(0.01)
        while not self._log.exists():
            for process in self._server.children():
                process.suspend()
                time.sleep(0.012)
                process.resume()
            time.sleep(0.002)

    def _used_s(self) -> float:
        return sum(process.cpu_times().user for process in self._server.children())


def test_a_device_that_throttles_half_way_is_measured_again_and_every_try_is_kept(
    tmp_path: Path,
) -> None:
    graph = GraphBuilder((1, 64, 64, 64))
    y = graph.node("Relu", graph.conv("x", (64, 64), (3, 3)))
    model = graph.build(graph.classifier(graph.conv(y, (64, 64), (3, 3)), 64, 10))
    config = replace(LONG, min_samples=50, repeats=2, cooldown_s=0.0)
    with targets.create("host", cache_dir=tmp_path) as target:
        assert isinstance(target, TvmTarget)
        artifact = target.compile(model)
        assert isinstance(artifact, Artifact), artifact
        log = tmp_path / "measurements.jsonl"
        # sampling is planned to take 1.5 s, half of it processor time on a busy computer:
        # this is after the first sixth of it, and before the first half
        slow_down = SlowDown(target.process_ids["server"], after_s=0.35, log=log)
        slow_down.start()
        measurement = target.measure(artifact, config, fresh=True)
        slow_down.join()
    assert isinstance(measurement, Measurement), measurement
    recorded = MeasurementLog(log)
    kept = [recorded.record(head).result for head in recorded.heads()]
    tries = [m for m in kept if isinstance(m, Measurement)]
    assert len(tries) > 1
    assert "drifting" in tries[0].flags
    # the slow half shows: the device was not itself
    assert np.median(tries[0].latency_s[-10:]) > 1.3 * np.median(tries[0].latency_s[:5])
    assert tries[-1] == measurement
