"""Pinning a clock and putting it back, on a folder that looks like a device's."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from targets.cpu_clock import is_pinned, journal_name, pinned, policies
from targets.device_files import LocalFiles
from targets.testing import FakeSystem


class StrictFiles(LocalFiles):
    """Refuses what Linux refuses: a lowest clock above the highest."""

    def write(self, path: str, text: str) -> None:
        folder, _, changed = path.rpartition("/")

        def khz(name: str) -> int:
            return int((text if name == changed else self.read(f"{folder}/{name}")) or 0)

        lowest, highest = khz("scaling_min_freq"), khz("scaling_max_freq")
        if lowest > highest:
            raise OSError(22, "Invalid argument")
        super().write(path, text)


@pytest.fixture
def system(tmp_path: Path) -> FakeSystem:
    system = FakeSystem(tmp_path / "root", n_cpus=8)
    system.files = StrictFiles(tmp_path / "root")
    return system


def values(system: FakeSystem, settings: dict[str, str]) -> dict[str, str | None]:
    return {path: system.files.read(path) for path in settings}


@pytest.mark.parametrize("clock", [600_000, 1_000_000, 1_800_000, "max"])
def test_every_policy_is_pinned_and_put_back(
    system: FakeSystem, tmp_path: Path, clock: int | str
) -> None:
    settings = system.add_policy(0, 900_000) | system.add_policy(
        4, 900_000, lowest_khz=800_000, highest_khz=2_400_000
    )
    journal = tmp_path / "journal.json"
    with pinned(system.files, clock, journal) as pin:  # type: ignore[arg-type]
        assert is_pinned(system.files, policies(system.files))
        expected = {
            "max": {"policy0": 1_800_000, "policy4": 2_400_000},
            600_000: {"policy0": 600_000, "policy4": 800_000},
        }.get(clock, {"policy0": clock, "policy4": clock})
        assert pin.clock_khz == expected
        assert journal.exists()
    assert values(system, settings) == settings
    assert not journal.exists()


def test_a_range_that_the_pin_lies_above_or_below_is_put_back_too(
    system: FakeSystem, tmp_path: Path
) -> None:
    settings = system.add_policy(0, 900_000)
    for lowest, highest in (("600000", "800000"), ("1500000", "1800000")):
        folder = "/sys/devices/system/cpu/cpufreq/policy0"
        settings |= {f"{folder}/scaling_min_freq": lowest, f"{folder}/scaling_max_freq": highest}
        for path, text in settings.items():
            system.write(path[1:], text)
        with pinned(system.files, 1_000_000, tmp_path / "journal.json") as pin:
            assert pin.clock_khz == {"policy0": 1_000_000}
        assert values(system, settings) == settings


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_inside_puts_back_too(
    system: FakeSystem, tmp_path: Path, error: type[BaseException]
) -> None:
    settings = system.add_policy(0, 900_000)
    with pytest.raises(error), pinned(system.files, "max", tmp_path / "journal.json"):
        raise error
    assert values(system, settings) == settings


def test_without_a_wish_nothing_is_written(system: FakeSystem, tmp_path: Path) -> None:
    system.add_policy(0, 900_000)
    with pinned(system.files, None, tmp_path / "journal.json") as pin:
        assert not (tmp_path / "journal.json").exists()
    assert pin.clock_khz == {}
    assert pin.refused is None


def test_a_device_that_refuses_says_so_and_keeps_its_settings(
    system: FakeSystem, tmp_path: Path
) -> None:
    settings = system.add_policy(0, 900_000) | system.add_policy(4, 900_000)

    class ReadOnlyPolicy4(StrictFiles):
        def write(self, path: str, text: str) -> None:
            if "policy4" in path:
                raise PermissionError(13, "Permission denied")
            super().write(path, text)

    files = ReadOnlyPolicy4(system.root)
    with pinned(files, "max", tmp_path / "journal.json") as pin:
        assert pin.clock_khz == {}
        assert pin.refused is not None
        assert "Permission denied" in pin.refused
    assert values(system, settings) == settings


def test_a_device_without_cpufreq_says_so(system: FakeSystem, tmp_path: Path) -> None:
    with pinned(system.files, "max", tmp_path / "journal.json") as pin:
        assert pin.refused == "the device has no cpufreq"


HOLD = """
import sys, time
from pathlib import Path
from targets.cpu_clock import pinned
from targets.device_files import LocalFiles
with pinned(LocalFiles(Path(sys.argv[1])), "max", Path(sys.argv[2])):
    print("pinned", flush=True)
    time.sleep(600)
"""


def test_what_a_killed_process_left_is_put_back_and_a_living_ones_pin_is_not(
    system: FakeSystem, tmp_path: Path
) -> None:
    settings = system.add_policy(0, 900_000)
    journal = tmp_path / "journal.json"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, system.root, journal], stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    with holder.stdout:
        assert holder.stdout.readline() == b"pinned\n"
    with pinned(system.files, 600_000, journal) as pin:
        assert pin.clock_khz == {}
        assert is_pinned(system.files, policies(system.files))
    assert values(system, settings) != settings
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with pinned(system.files, None, journal):
        assert values(system, settings) == settings
    assert not journal.exists()


def test_a_journal_cannot_make_other_files_be_written(system: FakeSystem, tmp_path: Path) -> None:
    system.add_policy(0, 900_000)
    system.write("etc/passwd", "root")
    journal = tmp_path / "journal.json"
    foreign = {"/etc/passwd": "evil", "/sys/devices/system/cpu/cpufreq/policy0/../../x": "1"}
    journal.write_text(json.dumps({"pid": 2**22 + 1, "started": 0.0, "saved": foreign}))
    with pinned(system.files, None, journal):
        assert system.files.read("/etc/passwd") == "root"


def test_a_torn_journal_is_dropped(system: FakeSystem, tmp_path: Path) -> None:
    journal = tmp_path / "journal.json"
    journal.write_text('{"pid": 1, "sa')
    with pinned(system.files, None, journal):
        assert not journal.exists()


@pytest.mark.parametrize("content", ["[]", "{}", '{"pid": "a", "started": 1, "saved": 2}'])
def test_a_journal_that_is_none_is_dropped(
    system: FakeSystem, tmp_path: Path, content: str
) -> None:
    journal = tmp_path / "journal.json"
    journal.write_text(content)
    with pinned(system.files, None, journal):
        assert not journal.exists()


def test_who_pins_what_is_pinned_already_leaves_it_to_the_first(
    system: FakeSystem, tmp_path: Path
) -> None:
    settings = system.add_policy(0, 900_000)
    journal = tmp_path / "journal.json"
    with pinned(system.files, "max", journal):
        with pinned(system.files, 600_000, journal) as second:
            assert second.clock_khz == {}
            assert second.refused is not None
        assert is_pinned(system.files, policies(system.files))
    assert values(system, settings) == settings
    assert not journal.exists()


def test_two_devices_are_told_apart_and_one_that_restarted(tmp_path: Path) -> None:
    names = set()
    for boot_id in ("8f1d", "a77c", "../../../etc/passwd"):
        system = FakeSystem(tmp_path / str(len(names)), n_cpus=1)
        system.write("proc/sys/kernel/random/boot_id", boot_id)
        names.add(journal_name(system.files))
    assert len(names) == 3
    assert not any("/" in name for name in names)


def test_a_pin_that_may_not_be_put_back_now_is_put_back_later(
    system: FakeSystem, tmp_path: Path
) -> None:
    settings = system.add_policy(0, 900_000)
    journal = tmp_path / "journal.json"

    class ReadOnly(StrictFiles):
        def write(self, path: str, text: str) -> None:
            raise PermissionError(13, "Permission denied")

    class LostWithin(StrictFiles):
        lost = False

        def write(self, path: str, text: str) -> None:
            if self.lost:
                raise ConnectionResetError(104, "Connection reset by peer")
            super().write(path, text)

    files = LostWithin(system.root)
    with pinned(files, "max", journal):
        files.lost = True
    assert journal.exists()
    with pinned(ReadOnly(system.root), "max", journal) as pin:
        assert pin.refused is not None
        assert "Permission denied" in pin.refused
    assert values(system, settings) != settings
    with pinned(system.files, None, journal):
        assert values(system, settings) == settings
    assert not journal.exists()
