from pathlib import Path

import pytest

from targets.meters import MeterError
from targets.meters.pi_pmic import PiPmic

# an output of a Raspberry Pi 5 under load, as published; the sum below was made by hand
OUTPUT = """\
     3V7_WL_SW_A current(0)=0.05855580A
       3V3_SYS_A current(1)=0.06148359A
       1V8_SYS_A current(2)=0.13272650A
      DDR_VDD2_A current(3)=0.13955800A
      DDR_VDDQ_A current(4)=0.00980400A
       1V1_SYS_A current(5)=0.19811380A
        0V8_SW_A current(6)=0.34157550A
      VDD_CORE_A current(7)=5.03652000A
       3V3_DAC_A current(17)=0.00006105A
       3V3_ADC_A current(18)=0.00054945A
       0V8_AON_A current(16)=0.00531135A
          HDMI_A current(22)=0.02161170A
     3V7_WL_SW_V volt(8)=3.61069200V
       3V3_SYS_V volt(9)=3.29982600V
       1V8_SYS_V volt(10)=1.81684800V
      DDR_VDD2_V volt(11)=1.10109800V
      DDR_VDDQ_V volt(12)=0.60366240V
       1V1_SYS_V volt(13)=1.10292900V
        0V8_SW_V volt(14)=0.80292960V
      VDD_CORE_V volt(15)=0.89369880V
       3V3_DAC_V volt(20)=3.29944700V
       3V3_ADC_V volt(21)=3.30402600V
       0V8_AON_V volt(19)=0.79618980V
          HDMI_V volt(23)=4.92450000V
         EXT5V_V volt(24)=4.92450000V
          BATT_V volt(25)=0.00341880V
"""
RAILS_W = {
    "3V7_WL_SW": 0.211427,
    "3V3_SYS": 0.202885,
    "1V8_SYS": 0.241144,
    "DDR_VDD2": 0.153667,
    "DDR_VDDQ": 0.005918,
    "1V1_SYS": 0.218505,
    "0V8_SW": 0.274261,
    "VDD_CORE": 4.501132,
    "3V3_DAC": 0.000201,
    "3V3_ADC": 0.001815,
    "0V8_AON": 0.004229,
    "HDMI": 0.106427,
}


class Board:
    """A command ``vcgencmd`` on the path."""

    def __init__(self, folder: Path) -> None:
        self.command = folder / "vcgencmd"
        self.output = folder / "output"
        self.command.write_text(f'#!/bin/sh\n[ "$1" = pmic_read_adc ] && cat {self.output}\n')
        self.command.chmod(0o755)
        self.output.write_text(OUTPUT)


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return Board(tmp_path)


def first_w(meter: PiPmic) -> float:
    return float(next(meter.stream()).power_w[0])


def test_power_is_the_sum_of_what_each_rail_draws(board: Board) -> None:
    """Twelve rails; the voltages of the 5 V input and the battery have no current."""
    # each of the twelve is rounded to 1 uW
    assert first_w(PiPmic(period_s=0.01)) == pytest.approx(sum(RAILS_W.values()), abs=12e-6)


def test_the_5_v_side_is_not_in_its_scope(board: Board) -> None:
    info = PiPmic().info
    assert "not its losses, nor what draws from 5 V" in info.scope
    assert "no accuracy" in info.scope
    assert not info.averages
    assert info.polled


def test_the_command_may_be_a_path(board: Board, tmp_path: Path) -> None:
    moved = board.command.rename(tmp_path / "elsewhere")
    assert first_w(PiPmic(command=str(moved), period_s=0.01)) > 5


def test_a_current_without_its_voltage_is_an_error_not_a_rail_less(board: Board) -> None:
    lines = [line for line in OUTPUT.splitlines() if "VDD_CORE_V" not in line]
    board.output.write_text("\n".join(lines))
    with pytest.raises(MeterError, match=r"a voltage of VDD_CORE, got 5\.03652 A and nan V"):
        PiPmic()


@pytest.mark.parametrize("value", ["nan", "inf", "1.2.3"])
def test_a_value_that_is_no_number_is_an_error(board: Board, value: str) -> None:
    board.output.write_text(OUTPUT.replace("0.89369880", value))
    with pytest.raises(MeterError, match=r"of VDD_CORE, got 5\.03652 A and (nan|inf) V"):
        PiPmic()


def test_a_battery_that_is_not_there_does_not_matter(board: Board) -> None:
    board.output.write_text(OUTPUT.replace("0.00341880V", "nanV"))
    assert first_w(PiPmic(period_s=0.01)) > 5


def test_a_board_without_the_chip_is_told(board: Board) -> None:
    """A Pi 4 answers that way, and ends without an error."""
    board.output.write_text('error=1 error_msg="Command not registered"\n')
    with pytest.raises(MeterError, match="Command not registered") as error:
        PiPmic()
    assert "Raspberry Pi 5" in error.value.fix


def test_a_missing_command_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MeterError, match="vcgencmd: no such command") as error:
        PiPmic()
    assert "at: board" in error.value.fix


def test_a_user_who_may_not_ask_the_firmware_is_told_the_fix(board: Board) -> None:
    board.command.write_text("#!/bin/sh\necho 'VCHI initialization failed' >&2\nexit 255\n")
    with pytest.raises(MeterError, match="pmic_read_adc: VCHI initialization failed") as error:
        PiPmic()
    assert "usermod -aG video" in error.value.fix


def test_a_command_that_is_no_program_is_told(board: Board) -> None:
    board.command.chmod(0o644)
    with pytest.raises(MeterError, match=r"vcgencmd: (cannot be run|no such command)"):
        PiPmic(command=str(board.command))


def test_an_error_in_mid_stream_reaches_the_reader(board: Board) -> None:
    meter = PiPmic(period_s=0.01)
    stream = meter.stream()
    next(stream)
    board.command.unlink()
    with pytest.raises(MeterError, match="no such command"):
        for _ in stream:
            pass
