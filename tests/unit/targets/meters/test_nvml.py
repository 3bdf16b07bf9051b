import sys

import pytest

from targets.meters import MeterError
from targets.meters.nvml import Nvml
from tests.unit.targets.meters.emulators import NvmlDriver


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> NvmlDriver:
    stub = NvmlDriver([9_000_000, 70_000])
    monkeypatch.setitem(sys.modules, "pynvml", stub)
    return stub


def test_joules_are_millijoules_since_it_was_opened(driver: NvmlDriver) -> None:
    meter = Nvml()
    assert meter.joules() == 0
    driver.counters_mj[0] += 12_345
    assert meter.joules() == pytest.approx(12.345, abs=1e-6)


def test_a_gpu_is_chosen_by_its_index(driver: NvmlDriver) -> None:
    meter = Nvml(index=1)
    driver.counters_mj[0] += 5_000
    driver.counters_mj[1] += 250
    assert meter.joules() == pytest.approx(0.25, abs=1e-6)
    assert meter.info.rail == "nvml:1"
    assert "NVIDIA T4" in meter.info.scope


def test_a_counter_that_goes_back_is_an_error(driver: NvmlDriver) -> None:
    """Even where it is still above what it was when the meter was opened."""
    meter = Nvml()
    driver.counters_mj[0] += 5_000
    meter.joules()
    driver.counters_mj[0] -= 2_000
    with pytest.raises(MeterError, match=r"went back from 9005\.000 to 9003\.000 J"):
        meter.joules()


def test_a_gpu_that_is_lost_in_mid_run_is_told(driver: NvmlDriver) -> None:
    meter = Nvml()
    driver.loaded = False
    with pytest.raises(MeterError, match="nvml:0: GPU is lost"):
        meter.joules()


def test_a_gpu_that_is_not_there_is_told_with_their_number(driver: NvmlDriver) -> None:
    with pytest.raises(MeterError, match="nvml: GPU 2 of 2: Invalid Argument") as error:
        Nvml(index=2)
    assert "nvidia-smi -L" in error.value.fix
    assert driver.n_users == 0


def test_a_gpu_without_a_counter_is_told_what_has_one(driver: NvmlDriver) -> None:
    driver.supported = False
    with pytest.raises(MeterError, match="nvml: GPU 0 of 2: Not Supported") as error:
        Nvml()
    assert "Volta" in error.value.fix
    assert driver.n_users == 0


def test_a_missing_driver_is_told(driver: NvmlDriver) -> None:
    driver.loaded = False
    with pytest.raises(MeterError, match=r"nvml: Driver Not Loaded") as error:
        Nvml()
    assert "driver" in error.value.fix


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)  # as Python notes a failed import
    with pytest.raises(MeterError, match="nvidia-ml-py is missing") as error:
        Nvml()
    assert error.value.fix == "pip install 'hwnas[meters]'"


def test_closing_lets_go_of_the_driver_once(driver: NvmlDriver) -> None:
    meter = Nvml()
    assert driver.n_users == 1
    meter.close()
    meter.close()
    assert driver.n_users == 0


def test_its_register_never_comes_round(driver: NvmlDriver) -> None:
    """64 bits of millijoules last half a million years at 1 kW."""
    assert Nvml().wrap_s == float("inf")
