from pathlib import Path

from targets.device_state import cpu_model, device_state


def make_system(root: Path) -> Path:
    files = {
        "proc/cpuinfo": "processor\t: 0\nmodel name\t: Test CPU 3000\ncpu MHz\t\t: 2100.5\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "2400000\n",
        "sys/class/thermal/thermal_zone0/temp": "45500\n",
    }
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def test_state_is_read_from_proc_and_sys(tmp_path: Path) -> None:
    state = device_state(make_system(tmp_path))
    assert state["cpu_model"] == "Test CPU 3000"
    assert state["governor"] == "performance"
    assert state["clock_khz"] == 2_400_000
    assert state["temperature_c"] == 45.5


def test_what_cannot_be_read_is_none_not_a_guess(tmp_path: Path) -> None:
    state = device_state(tmp_path)
    assert state["governor"] is None
    assert state["clock_khz"] is None
    assert state["temperature_c"] is None
    assert cpu_model(tmp_path)


def test_without_cpufreq_the_clock_comes_from_cpuinfo(tmp_path: Path) -> None:
    root = make_system(tmp_path)
    (root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq").unlink()
    assert device_state(root)["clock_khz"] == 2_100_500


def test_toolchain_versions_are_those_imported() -> None:
    import onnx
    import onnxruntime

    state = device_state()
    assert state["onnxruntime"] == onnxruntime.__version__
    assert state["onnx"] == onnx.__version__
