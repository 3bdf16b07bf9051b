import math
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from targets.meters import MeterError
from targets.meters.rapl import Rapl
from tests.unit.targets.meters.emulators import Zone


def test_joules_are_microjoules_since_it_was_opened(tmp_path: Path) -> None:
    zone = Zone(tmp_path, "intel-rapl:0", "package-0", start_uj=5_000_000)
    meter = Rapl(root=str(tmp_path))
    assert meter.joules() == 0
    zone.draw(2_500_000)
    assert meter.joules() == pytest.approx(2.5, abs=1e-9)


def test_a_wrap_of_the_register_is_one_range(tmp_path: Path) -> None:
    """From 0.328850 J before the end to 0.671150 J after it: 1 J."""
    zone = Zone(tmp_path, "intel-rapl:0", "package-0", start_uj=262_143_000_000)
    meter = Rapl(root=str(tmp_path))
    zone.set(671_150)
    assert meter.joules() == pytest.approx(1.0, abs=1e-9)


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    range_uj=st.integers(10**9, 3 * 10**11),
    start=st.floats(0, 1),
    steps_uj=st.lists(st.integers(0, 90_000_000), max_size=20),
)
def test_whatever_the_register_shows_the_sum_is_what_was_drawn(
    tmp_path: Path, range_uj: int, start: float, steps_uj: list[int]
) -> None:
    """Steps of at most 90 J come within what is possible in the 0.1 s it may be late."""
    first = int(start * (range_uj - 1))
    zone = Zone(tmp_path, "intel-rapl:0", "package-0", first, range_uj)
    meter = Rapl(root=str(tmp_path))
    drawn_uj, seen = 0, 0.0
    for step_uj in steps_uj:
        zone.draw(step_uj)
        drawn_uj += step_uj
        now = meter.joules()
        assert now >= seen
        assert now == pytest.approx(drawn_uj * 1e-6, abs=1e-6)
        seen = now


def test_packages_add_up_and_their_parts_do_not_count_twice(tmp_path: Path) -> None:
    """3 J and 4 J of two packages; cores, memory, the platform and MMIO's copy stay out."""
    packages = [Zone(tmp_path, f"intel-rapl:{n}", f"package-{n}") for n in (0, 1)]
    others = [
        Zone(tmp_path, "intel-rapl:0:0", "core"),
        Zone(tmp_path, "intel-rapl:0:1", "dram"),
        Zone(tmp_path, "intel-rapl:2", "psys"),
        Zone(tmp_path, "intel-rapl-mmio:0", "package-0"),
    ]
    meter = Rapl(root=str(tmp_path))
    packages[0].draw(3_000_000)
    packages[1].draw(4_000_000)
    for other in others:
        other.draw(50_000_000)
    assert meter.joules() == pytest.approx(7.0, abs=1e-9)
    assert meter.info.rail == "powercap:package"


@pytest.mark.parametrize("kind", ["psys", "core", "dram"])
def test_another_kind_of_zone_can_be_read_alone(tmp_path: Path, kind: str) -> None:
    Zone(tmp_path, "intel-rapl:0", "package-0").draw(9)
    zone = Zone(tmp_path, "intel-rapl:0:0", kind)
    meter = Rapl(zone=kind, root=str(tmp_path))
    zone.draw(1_500_000)
    assert meter.joules() == pytest.approx(1.5, abs=1e-9)
    assert meter.info.rail == f"powercap:{kind}"


def test_dies_of_a_package_are_packages(tmp_path: Path) -> None:
    """Names as Linux gives them on processors of several dies."""
    zones = [Zone(tmp_path, f"intel-rapl:{n}", f"package-0-die-{n}") for n in (0, 1)]
    meter = Rapl(root=str(tmp_path))
    for zone in zones:
        zone.draw(1_000_000)
    assert meter.joules() == pytest.approx(2.0, abs=1e-9)


def test_the_shortest_wrap_is_of_the_zone_that_could_draw_most(tmp_path: Path) -> None:
    """262 kJ at 1 kW, or at twice the 700 W that a zone may be set to."""
    Zone(tmp_path, "intel-rapl:0", "package-0")
    assert Rapl(root=str(tmp_path)).wrap_s == pytest.approx(262.14332885)
    large = Zone(tmp_path, "intel-rapl:1", "package-1")
    (large.folder / "constraint_0_max_power_uw").write_text("700000000\n")
    assert Rapl(root=str(tmp_path)).wrap_s == pytest.approx(262_143.32885 / 1400)


def test_a_counter_that_was_set_is_no_wrap(tmp_path: Path) -> None:
    """From 200 kJ back to 1 kJ would be 63 kJ more: no computer draws that in a moment."""
    zone = Zone(tmp_path, "intel-rapl:0", "package-0", start_uj=200_000_000_000)
    meter = Rapl(root=str(tmp_path))
    zone.set(1_000_000_000)
    with pytest.raises(MeterError, match=r"from 200000\.000000 to 1000\.000000 J .* was set"):
        meter.joules()
    # what comes after counts from there
    zone.draw(2_000_000)
    assert meter.joules() == pytest.approx(2.0, abs=1e-6)


def test_a_zone_that_vanishes_is_told(tmp_path: Path) -> None:
    zone = Zone(tmp_path, "intel-rapl:0", "package-0")
    meter = Rapl(root=str(tmp_path))
    shutil.rmtree(zone.folder)
    with pytest.raises(MeterError, match="energy_uj: cannot be read") as error:
        meter.joules()
    assert "\n" not in str(error.value)


def test_a_counter_that_only_root_may_read_tells_the_fix(
    public_folder: Path, forbidden: Callable[[Path], AbstractContextManager[None]]
) -> None:
    zone = Zone(public_folder, "intel-rapl:0", "package-0")
    with (
        forbidden(zone.folder / "energy_uj"),
        pytest.raises(MeterError, match="energy_uj: permission denied") as error,
    ):
        Rapl(root=str(public_folder))
    assert "docs/meters/rapl.md" in error.value.fix


def test_a_computer_without_counters_is_told(tmp_path: Path) -> None:
    with pytest.raises(MeterError, match="no RAPL counters") as error:
        Rapl(root=str(tmp_path))
    assert "virtual machines have none" in error.value.fix


def test_a_zone_that_is_not_there_lists_those_that_are(tmp_path: Path) -> None:
    Zone(tmp_path, "intel-rapl:0", "package-0")
    Zone(tmp_path, "intel-rapl:0:0", "core")
    with pytest.raises(MeterError, match="zone: no 'psys' here; there are core, package-0"):
        Rapl(zone="psys", root=str(tmp_path))
    with pytest.raises(MeterError, match="zone: wanted one of package, psys"):
        Rapl(zone="cores", root=str(tmp_path))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("energy_uj", "lots\n", "energy_uj: wanted a number, got 'lots'"),
        ("max_energy_range_uj", "0\n", "max_energy_range_uj: wanted a number above 0, got 0"),
    ],
)
def test_what_is_no_counter_is_told(tmp_path: Path, name: str, text: str, message: str) -> None:
    zone = Zone(tmp_path, "intel-rapl:0", "package-0")
    (zone.folder / name).write_text(text)
    with pytest.raises(MeterError, match=message):
        Rapl(root=str(tmp_path))


def test_its_figures_are_a_counter_s(tmp_path: Path) -> None:
    Zone(tmp_path, "intel-rapl:0", "package-0")
    info = Rapl(gain_error=0.05, root=str(tmp_path)).info
    assert info.counts
    assert info.averages
    assert math.isclose(info.resolution, 61.03515625e-6)  # 2^-14 J
    assert info.gain_error == 0.05
    assert "no accuracy" in Rapl(root=str(tmp_path)).info.scope
