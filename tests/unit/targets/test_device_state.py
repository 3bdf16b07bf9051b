from pathlib import Path

from targets.device_files import LocalFiles
from targets.device_state import changing_state, cpu_model, device_state
from targets.testing import FakeSystem


def test_state_is_read_from_proc_and_sys(tmp_path: Path) -> None:
    system = FakeSystem(tmp_path, n_cpus=4)
    system.write("proc/cpuinfo", "processor\t: 0\nmodel name\t: Test CPU 3000\n")
    system.write("proc/loadavg", "0.52 0.58 0.59 1/123 4567\n")
    system.write("sys/class/thermal/thermal_zone0/temp", "45500\n")
    system.write("sys/class/thermal/thermal_zone1/temp", "61000\n")
    system.write("sys/firmware/devicetree/base/model", "Test Board 5\0")
    system.add_policy(0, clock_khz=1_800_000)
    state = device_state(system.files)
    assert state["cpu_model"] == "Test CPU 3000"
    assert state["board"] == "Test Board 5"
    assert state["cores"] == 4
    assert state["governor"] == "ondemand"
    assert state["clock_khz"] == 1_800_000
    assert state["clock_pinned"] == 0
    assert state["load_average"] == 0.52
    assert state["temperature_c"] == 61.0


def test_what_cannot_be_read_is_none_not_a_guess(tmp_path: Path) -> None:
    assert set(changing_state(LocalFiles(tmp_path)).values()) == {None}
    state = device_state(LocalFiles(tmp_path))
    assert state["cpu_model"] is None
    assert state["board"] is None


def test_a_nominal_clock_of_cpuinfo_is_not_taken_for_the_clock(tmp_path: Path) -> None:
    system = FakeSystem(tmp_path, n_cpus=1)
    system.write("proc/cpuinfo", "model name\t: Virtual CPU\ncpu MHz\t\t: 2100.5\n")
    assert device_state(system.files)["clock_khz"] is None


def test_this_computer_has_a_name_a_kernel_and_versions() -> None:
    state = device_state(LocalFiles())
    assert cpu_model()
    assert state["kernel"]
    assert isinstance(state["cores"], int)
    assert state["apache-tvm"]
