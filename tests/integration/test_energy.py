"""Energies of real models on real processes, by a power meter whose truth is known."""

import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

import hwnas
import targets
from targets import Artifact, EnergyConfig, EnergyMeasurement, Failure, Measurement
from targets.testing import QUICK, small_model
from tests.integration.board_rack import Rack, board_file, wait_until
from tests.integration.powercap_emulator import DYNAMIC_W, IDLE_W, make_tree

pytestmark = pytest.mark.alone

# how far trials may scatter is not tested here: a virtual machine whose host is busy loses its
# CPU for parts of a second, while the kernel goes on counting that time as computing
SHORT = EnergyConfig(
    trials=5,
    max_trials=12,
    relative_error=1.0,
    max_relative_error=2.0,
    min_window_s=1.0,
    idle_s=1.0,
    max_idle_drift=1.0,
    warmup_s=0.2,
    max_warmup_s=2.0,
)


@pytest.fixture
def powercap(tmp_path: Path) -> Iterator[Path]:
    """A sysfs tree that is alive; ``pid`` in it says whose computing draws power."""
    root = tmp_path / "sys"
    make_tree(root)
    emulator = subprocess.Popen([sys.executable, "-m", "tests.integration.powercap_emulator", root])
    yield root
    emulator.kill()
    emulator.wait()


@pytest.fixture
def ssh_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A real SSH server on loopback; its sessions find this Python, which has numpy."""
    daemon = needs("sshd", "openssh-server", "/usr/sbin")
    needs("ssh", "openssh-client")
    folder = tmp_path / "ssh"
    folder.mkdir()
    for name in ("host", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "server").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nStrictModes no\n"
        f"AuthorizedKeysFile {folder}/user.pub\nPidFile none\nUsePAM no\n"
        f"SetEnv PATH={Path(sys.executable).parent}:/usr/bin:/bin\n"
    )
    (folder / "client").write_text(
        f"IdentityFile {folder}/user\nStrictHostKeyChecking no\n"
        f"UserKnownHostsFile {folder}/known\nLogLevel ERROR\n"
    )
    # a user has these settings in a home that is not ours to touch
    wrapper = tmp_path / "bin" / "ssh"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/client "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{wrapper.parent}:{os.environ['PATH']}")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where the server locks itself in
    server = subprocess.Popen(
        [daemon, "-D", "-e", "-f", str(folder / "server")], stderr=subprocess.DEVNULL
    )
    assert wait_until(lambda: answers(port))
    yield f"{getpass.getuser()}@127.0.0.1:{port}"
    server.kill()
    server.wait()


def answers(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def needs(command: str, package: str, folder: str = "") -> str:
    """Return a command's path; without it the test is skipped, where that is allowed."""
    found = shutil.which(command, path=f"{os.environ['PATH']}:{folder}")
    if found is None:
        if os.environ.get("HWNAS_REQUIRE_ALL"):
            pytest.fail(f"{command} is missing: install {package}")
        pytest.skip(f"needs {command}: install {package}")
    return found


def host_file(folder: Path, root: Path, **meter: object) -> Path:
    path = folder / "metered.yaml"
    document = {
        "name": "metered",
        "description": "This computer and a meter that knows what it draws",
        "backend": "onnxruntime",
        "energy_model": {
            "static_power_w": 1.0,
            "energy_per_mac_j": 0.0,
            "energy_per_byte_j": 0.0,
            "relative_uncertainty": 0.5,
            "source": "made up",
        },
        "meters": [{"kind": "rapl", "root": str(root), **meter}],
    }
    path.write_text(yaml.safe_dump(document))
    return path


def compiled(target: targets.Target) -> Artifact:
    artifact = target.compile(small_model())
    assert isinstance(artifact, Artifact), artifact
    return artifact


def check(
    target: targets.Target, artifact: Artifact, energy: EnergyMeasurement | Failure
) -> EnergyMeasurement:
    """What a single-threaded loop draws: all of the dynamic power while it is on a CPU.

    The machine may be busy with other things, and then the loop waits for a part of the
    time: its power is less, its latency longer, and the energy that of an inference that did
    not wait, as the fastest single ones. The answer's way and the agent's looking cost the
    rest of the 30 % allowed.
    """
    assert isinstance(energy, EnergyMeasurement), energy
    assert energy.net_j is not None, energy.net_refused
    measurement = target.measure(artifact, QUICK)
    assert isinstance(measurement, Measurement), measurement
    fastest_s = min(float(np.quantile(measurement.latency_s, 0.1)), energy.trials[0].latency_s)
    slowest_s = max(t.latency_s for t in energy.trials)
    assert 0.7 * DYNAMIC_W * fastest_s < energy.net_j.value < 1.3 * DYNAMIC_W * slowest_s
    assert energy.idle_power_w.value == pytest.approx(IDLE_W, rel=0.3)
    assert energy.gross_j.value > energy.net_j.value
    return energy


def test_a_model_on_this_computer_draws_what_its_computing_draws(
    powercap: Path, tmp_path: Path
) -> None:
    with targets.create(host_file(tmp_path, powercap), tmp_path / "cache") as target:
        artifact = compiled(target)
        (powercap / "pid").write_text(str(target.process_ids["worker"]))  # type: ignore[attr-defined]
        (first,) = target.measure_energy([artifact], SHORT)
        energy = check(target, artifact, first)
        assert len(energy.trials) >= 3
        assert energy.meters[0].rail == "powercap:package"
        assert "not the board" in energy.scope
        assert energy.provenance == "measured"
        assert energy.device_state["threads"] == 1
        # from the log, without the meter
        (again,) = target.measure_energy([artifact], SHORT)
        assert again == first


def test_a_meter_on_the_board_is_read_there_over_the_same_session(
    powercap: Path, rack: Rack, tmp_path: Path
) -> None:
    (powercap / "pid").write_text(str(rack.add_board()))
    path = board_file(tmp_path, rack.port)
    document = yaml.safe_load(path.read_text())
    document["meters"] = [{"kind": "rapl", "at": "board", "root": str(powercap)}]
    path.write_text(yaml.safe_dump(document))
    with targets.create(path, tmp_path / "cache") as target:
        artifact = compiled(target)
        (energy,) = target.measure_energy([artifact], SHORT)
        found = check(target, artifact, energy)
        assert [found.device_state["board_address"]] == rack.addresses()


def test_a_meter_on_another_computer_is_read_over_ssh_with_nothing_installed_there(
    powercap: Path, ssh_server: str, tmp_path: Path
) -> None:
    path = host_file(tmp_path, powercap, at=f"ssh://{ssh_server}")
    with targets.create(path, tmp_path / "cache") as target:
        artifact = compiled(target)
        (powercap / "pid").write_text(str(target.process_ids["worker"]))  # type: ignore[attr-defined]
        (energy,) = target.measure_energy([artifact], SHORT)
        check(target, artifact, energy)


def test_a_computer_that_does_not_answer_is_a_failure_that_says_how_to_try_by_hand(
    tmp_path: Path,
) -> None:
    """Nobody listens on port 9 (discard)."""
    path = host_file(tmp_path, tmp_path, at="ssh://nobody@127.0.0.1:9")
    with targets.create(path, tmp_path / "cache") as target:
        (failure,) = target.measure_energy([compiled(target)], SHORT)
    assert isinstance(failure, Failure)
    assert "rapl on nobody@127.0.0.1:9: " in failure.message
    assert "Connection refused" in failure.message
    assert "try it by hand: ssh ssh://nobody@127.0.0.1:9 python3" in failure.message


def test_a_meter_that_may_not_be_read_is_a_failure_with_the_fix(tmp_path: Path) -> None:
    with targets.create(host_file(tmp_path, tmp_path / "none"), tmp_path / "cache") as target:
        (failure,) = target.measure_energy([compiled(target)], SHORT)
    assert isinstance(failure, Failure)
    assert failure.stage == "meter"
    assert failure.message.startswith("meters.0 (rapl): ")
    assert "this computer has no RAPL counters. virtual machines have none" in failure.message


def test_a_counter_that_vanishes_in_the_middle_is_a_failure(powercap: Path, tmp_path: Path) -> None:
    with targets.create(host_file(tmp_path, powercap), tmp_path / "cache") as target:
        artifact = compiled(target)
        counter = powercap / "class" / "powercap" / "intel-rapl:0" / "energy_uj"
        unplug = threading.Timer(1.5, counter.rename, [counter.with_suffix(".gone")])
        unplug.start()
        (failure,) = target.measure_energy([artifact], SHORT)
        unplug.join()
    assert isinstance(failure, Failure)
    assert "energy_uj: cannot be read (No such file or directory)" in failure.message


def test_the_command_measures_energy_and_says_what_it_includes(
    powercap: Path, tmp_path: Path
) -> None:
    """As a user would, with default settings; the idle computer draws its idle power alone."""
    import onnx

    model = tmp_path / "model.onnx"
    onnx.save(small_model(), model)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "hwnas", "measure"),
            *(str(host_file(tmp_path, tmp_path / "none")), str(model), "--json"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert "no RAPL counters" in document["energy_not_measured_because"]
    assert document["energy_j"]["provenance"] == "modelled"


def test_a_check_says_what_the_meter_shows_and_what_it_includes(
    powercap: Path, tmp_path: Path
) -> None:
    path = host_file(tmp_path, powercap)
    steps = {step.name: step for step in hwnas.check_target(str(path))}
    found = steps["power meter"]
    assert found.ok, found.detail
    idle_w = float(found.detail.split(" W idle")[0].rpartition(" ")[2])
    assert idle_w == pytest.approx(IDLE_W, rel=0.1)  # the counter moves every few milliseconds
    assert "a new value every 1.0 ms, steps of 61 µJ" in found.detail
    assert "not the board" in found.detail


def test_a_check_names_a_meter_that_is_not_there_and_what_to_do(tmp_path: Path) -> None:
    steps = {step.name: step for step in hwnas.check_target(str(host_file(tmp_path, tmp_path)))}
    assert not steps["power meter"].ok
    assert "virtual machines have none" in steps["power meter"].detail
    assert steps["latency"].ok
