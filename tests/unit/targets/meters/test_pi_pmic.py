from pathlib import Path

import pytest

from targets.meters import MeterError
from targets.meters.pi_pmic import PiPmic
from tests.unit.targets.meters.emulators import PMIC_OUTPUT, PMIC_RAILS_W, Pi5


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pi5:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return Pi5(tmp_path)


def first_w(meter: PiPmic) -> float:
    return float(next(meter.stream()).power_w[0])


def test_power_is_the_sum_of_what_each_rail_draws(board: Pi5) -> None:
    """Twelve rails; the voltages of the 5 V input and the battery have no current."""
    # each of the twelve is rounded to 1 uW
    assert first_w(PiPmic(period_s=0.01)) == pytest.approx(sum(PMIC_RAILS_W.values()), abs=12e-6)


def test_the_5_v_side_is_not_in_its_scope(board: Pi5) -> None:
    info = PiPmic().info
    assert "not its losses, nor what draws from 5 V" in info.scope
    assert "no accuracy" in info.scope
    assert not info.averages
    assert info.polled


def test_the_command_may_be_a_path(board: Pi5, tmp_path: Path) -> None:
    moved = board.command.rename(tmp_path / "elsewhere")
    assert first_w(PiPmic(command=str(moved), period_s=0.01)) > 5


def test_a_current_without_its_voltage_is_an_error_not_a_rail_less(board: Pi5) -> None:
    lines = [line for line in PMIC_OUTPUT.splitlines() if "VDD_CORE_V" not in line]
    board.output.write_text("\n".join(lines))
    with pytest.raises(MeterError, match=r"a voltage of VDD_CORE, got 5\.03652 A and nan V"):
        PiPmic()


@pytest.mark.parametrize("value", ["nan", "inf", "1.2.3"])
def test_a_value_that_is_no_number_is_an_error(board: Pi5, value: str) -> None:
    board.output.write_text(PMIC_OUTPUT.replace("0.89369880", value))
    with pytest.raises(MeterError, match=r"of VDD_CORE, got 5\.03652 A and (nan|inf) V"):
        PiPmic()


def test_a_battery_that_is_not_there_does_not_matter(board: Pi5) -> None:
    board.output.write_text(PMIC_OUTPUT.replace("0.00341880V", "nanV"))
    assert first_w(PiPmic(period_s=0.01)) > 5


def test_a_board_without_the_chip_is_told(board: Pi5) -> None:
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


def test_a_user_who_may_not_ask_the_firmware_is_told_the_fix(board: Pi5) -> None:
    board.command.write_text("#!/bin/sh\necho 'VCHI initialization failed' >&2\nexit 255\n")
    with pytest.raises(MeterError, match="pmic_read_adc: VCHI initialization failed") as error:
        PiPmic()
    assert "usermod -aG video" in error.value.fix


def test_a_command_that_is_no_program_is_told(board: Pi5) -> None:
    board.command.chmod(0o644)
    with pytest.raises(MeterError, match=r"vcgencmd: (cannot be run|no such command)"):
        PiPmic(command=str(board.command))


def test_an_error_in_mid_stream_reaches_the_reader(board: Pi5) -> None:
    meter = PiPmic(period_s=0.01)
    stream = meter.stream()
    next(stream)
    board.command.unlink()
    with pytest.raises(MeterError, match="no such command"):
        for _ in stream:
            pass
