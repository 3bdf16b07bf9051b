import pytest

from targets.meters import MeterError
from targets.meters.registry import check_options, meter_kinds


def test_all_kinds_of_meters_can_be_named() -> None:
    assert set(meter_kinds()) >= {
        "hwmon", "joulescope", "lpm01a", "nvml", "pi_pmic", "ppk2", "rapl", "trace",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("ppk3", {}, "kind: unknown meter 'ppk3'. Known: hwmon, "),
        ("ppk2", {"voltage_v": 3.3}, "port: missing; meter 'ppk2' needs it"),
        (
            "ppk2",
            {"prt": "/dev/ttyACM0", "voltage_v": 3.3},
            "prt: unknown option of meter 'ppk2'. Did you mean 'port'?",
        ),
        ("ppk2", {"port": "x", "voltage_v": "3.3"}, "voltage_v: wanted a number, got '3.3'"),
        ("ppk2", {"port": "x", "voltage_v": True}, "voltage_v: wanted a number, got True"),
        (
            "ppk2",
            {"port": "x", "voltage_v": 3, "mode": "sink"},
            "mode: wanted 'source' or 'ampere', got 'sink'",
        ),
    ],
)
def test_wrong_options_are_told_in_one_line(
    kind: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(MeterError) as error:
        check_options(kind, options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("voltage_v", [3, 3.3])
def test_a_whole_number_is_a_number(voltage_v: float) -> None:
    check_options("ppk2", {"port": "/dev/ttyACM0", "voltage_v": voltage_v})
