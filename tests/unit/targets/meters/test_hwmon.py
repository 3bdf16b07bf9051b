from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from targets.meters import MeterError, PowerSampler
from targets.meters.hwmon import Chip, Hwmon
from targets.meters.registry import check_options
from tests.unit.targets.meters.emulators import JETSON, add_sensor

BREAKOUT = {
    "name": "ina226",
    "in0_input": 5,
    "in1_input": 3300,
    "curr1_input": 500,
    "power1_input": 1_650_000,
    "shunt_resistor": 100_000,
    "update_interval": 35,
}


def power_w(meter: PowerSampler, n: int = 3) -> np.ndarray:
    powers: list[float] = []
    for piece in meter.stream():
        powers += piece.power_w.tolist()
        if len(powers) >= n:
            break
    return np.array(powers)


def test_a_jetson_s_input_rail_is_voltage_times_current(tmp_path: Path) -> None:
    """5.032 V x 0.912 A = 4.589184 W."""
    add_sensor(tmp_path, 3, JETSON)
    meter = Hwmon(chip="ina3221", label="VDD_IN", root=str(tmp_path))
    assert power_w(meter) == pytest.approx(4.589184)
    assert meter.info.rail == "hwmon:ina3221:VDD_IN"
    assert meter.info.voltage_v == pytest.approx(5.032)


def test_its_other_rails_can_be_read_too_by_name(tmp_path: Path) -> None:
    add_sensor(tmp_path, 3, JETSON)
    meter = Hwmon(chip="ina3221", label="VDD_SOC", root=str(tmp_path))
    assert power_w(meter) == pytest.approx(5.024 * 0.3)
    assert "VDD_SOC" in meter.info.scope


def test_errors_and_steps_follow_from_the_shunt(tmp_path: Path) -> None:
    """40 uV of 5 mOhm are 8 mA, 80 uV are 16 mA; both at 5.032 V."""
    add_sensor(tmp_path, 3, JETSON)
    info = Hwmon(chip="ina3221", label="VDD_IN", root=str(tmp_path)).info
    assert info.resolution == pytest.approx(0.008 * 5.032)
    assert info.offset_error_w == pytest.approx(0.016 * 5.032)
    assert info.gain_error == pytest.approx(0.0125)
    assert "assumed" not in info.source


def test_a_shunt_that_is_not_told_is_assumed_and_said_so(tmp_path: Path) -> None:
    """40 uV of 10 mOhm are 4 mA."""
    add_sensor(tmp_path, 0, {k: v for k, v in JETSON.items() if "shunt" not in k})
    info = Hwmon(chip="ina3221", label="VDD_IN", root=str(tmp_path)).info
    assert info.resolution == pytest.approx(0.004 * 5.032)
    assert "10 mOhm being assumed" in info.source


@pytest.mark.parametrize(
    ("chip", "step_w", "offset_w"),
    [
        # power steps of 20 x 10 uV / 100 mOhm and 25 x 2.5 uV / 100 mOhm, or 3.3 V x 1 mA
        ("ina219", 3.3e-3, 3.3 * 200e-6 / 0.1),
        ("ina226", 3.3e-3, 3.3 * 10e-6 / 0.1),
    ],
)
def test_a_chip_with_a_power_register_is_read_from_that(
    tmp_path: Path, chip: Chip, step_w: float, offset_w: float
) -> None:
    """Microwatts; it is the only rail, and needs no label."""
    add_sensor(tmp_path, 1, {**BREAKOUT, "name": chip, "power1_input": 1_234_567})
    meter = Hwmon(chip=chip, root=str(tmp_path))
    assert power_w(meter) == pytest.approx(1.234567)
    assert meter.info.rail == f"hwmon:{chip}:1-0040"
    assert meter.info.resolution == pytest.approx(step_w)
    assert meter.info.offset_error_w == pytest.approx(offset_w)


def test_the_power_register_s_step_counts_where_it_is_the_coarser(tmp_path: Path) -> None:
    """25 steps of 2.5 uV / 5 mOhm = 12.5 mW, above 1 mA x 3.3 V."""
    add_sensor(tmp_path, 1, {**BREAKOUT, "shunt_resistor": 5000})
    assert Hwmon(chip="ina226", root=str(tmp_path)).info.resolution == pytest.approx(0.0125)


def test_a_sensor_is_read_as_often_as_it_has_a_new_value(tmp_path: Path) -> None:
    """35 ms by the driver: it shows half the power of sines of 0.443 / 35 ms."""
    add_sensor(tmp_path, 1, BREAKOUT)
    info = Hwmon(chip="ina226", root=str(tmp_path)).info
    assert info.update_period_s == pytest.approx(0.035)
    assert info.bandwidth_hz == pytest.approx(0.443 / 0.035)
    assert Hwmon(chip="ina226", period_s=0.2, root=str(tmp_path)).info.update_period_s == 0.2
    with pytest.raises(MeterError, match=r"period_s: wanted at least 0\.035"):
        Hwmon(chip="ina226", period_s=0.01, root=str(tmp_path))


def test_two_sensors_without_labels_are_told_apart_by_address(tmp_path: Path) -> None:
    add_sensor(tmp_path, 1, BREAKOUT)
    add_sensor(tmp_path, 2, {**BREAKOUT, "power1_input": 2_000_000}, "1-0041")
    with pytest.raises(MeterError, match="label: wanted one rail of the ina226: 1-0040, 1-0041;"):
        Hwmon(chip="ina226", root=str(tmp_path))
    meter = Hwmon(chip="ina226", label="1-0041", root=str(tmp_path))
    assert power_w(meter) == pytest.approx(2.0)


def test_channels_without_labels_are_told_apart_by_number(tmp_path: Path) -> None:
    add_sensor(tmp_path, 3, {k: v for k, v in JETSON.items() if "label" not in k})
    meter = Hwmon(chip="ina3221", label="1-0040:2", root=str(tmp_path))
    assert power_w(meter) == pytest.approx(5.024 * 0.2)
    with pytest.raises(MeterError, match="ina3221: 1-0040:1, 1-0040:2, 1-0040:3; got None"):
        Hwmon(chip="ina3221", root=str(tmp_path))


def test_one_rail_is_one_rail_however_it_was_asked_for(tmp_path: Path) -> None:
    add_sensor(tmp_path, 1, BREAKOUT)
    rails = {Hwmon(chip="ina226", label=x, root=str(tmp_path)).info.rail for x in (None, "1-0040")}
    assert len(rails) == 1


@pytest.mark.parametrize("label", [None, "VDD_GPU", "sum of shunt voltages", "in4"])
def test_an_unknown_or_missing_label_lists_those_there_are(
    tmp_path: Path, label: str | None
) -> None:
    add_sensor(tmp_path, 3, JETSON)
    with pytest.raises(MeterError) as error:
        Hwmon(chip="ina3221", label=label, root=str(tmp_path))
    assert str(error.value) == (
        f"label: wanted one rail of the ina3221: VDD_IN, VDD_CPU_GPU_CV, VDD_SOC; got {label!r}"
    )


def test_a_missing_sensor_lists_those_there_are(tmp_path: Path) -> None:
    add_sensor(tmp_path, 0, {"name": "cpu_thermal", "temp1_input": 40000})
    with pytest.raises(MeterError, match="no ina219; there are cpu_thermal") as error:
        Hwmon(chip="ina219", root=str(tmp_path))
    assert "at: board" in error.value.fix


def test_a_computer_without_sensors_is_told(tmp_path: Path) -> None:
    with pytest.raises(MeterError, match="there are no sensors"):
        Hwmon(chip="ina219", root=str(tmp_path))


def unplug(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        path.unlink()


def garble(folder: Path) -> None:
    (folder / "curr1_input").write_text("\n")


@pytest.mark.parametrize(
    ("harm", "message"),
    [(unplug, "in1_input: cannot be read"), (garble, "curr1_input: wanted a number, got ''")],
)
def test_a_sensor_that_fails_in_mid_stream_is_an_error_of_one_line(
    tmp_path: Path, harm: Callable[[Path], None], message: str
) -> None:
    folder = add_sensor(tmp_path, 3, JETSON)
    stream = Hwmon(chip="ina3221", label="VDD_IN", root=str(tmp_path)).stream()
    next(stream)
    harm(folder)
    with pytest.raises(MeterError, match=message) as error:
        for _ in stream:
            pass
    assert "\n" not in str(error.value)


def test_a_sensor_that_may_not_be_read_tells_the_fix(
    public_folder: Path, forbidden: Callable[[Path], AbstractContextManager[None]]
) -> None:
    current = add_sensor(public_folder, 3, JETSON) / "curr1_input"
    with (
        forbidden(current),
        pytest.raises(MeterError, match="curr1_input: permission denied") as error,
    ):
        Hwmon(chip="ina3221", label="VDD_IN", root=str(public_folder))
    assert error.value.fix == f"as root: chmod o+r {current}"


def test_only_chips_it_knows_the_errors_of_are_options() -> None:
    with pytest.raises(MeterError, match="chip: wanted 'ina219' or 'ina226' or 'ina3221'"):
        check_options("hwmon", {"chip": "ina999"})
