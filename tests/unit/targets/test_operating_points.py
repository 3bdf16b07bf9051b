"""Operating points of descriptions, and of folders that look like a device's."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from targets.cpu_clock import available_clocks_khz, pinned, policies
from targets.device_state import device_state
from targets.operating_points import (
    OperatingPoint,
    at_point,
    operating_points,
    power_mode,
)
from targets.spec import TargetSpec, load_spec
from targets.testing import FakeSystem

POLICY0 = "sys/devices/system/cpu/cpufreq/policy0"
POLICY4 = "sys/devices/system/cpu/cpufreq/policy4"


@pytest.fixture
def system(tmp_path: Path) -> FakeSystem:
    return FakeSystem(tmp_path / "root", n_cpus=8)


def spec(**entries: object) -> TargetSpec:
    document = load_spec("host").model_dump()
    return TargetSpec.model_validate({**document, **entries})


def test_points_are_the_clocks_that_the_policies_list_each_once(system: FakeSystem) -> None:
    system.add_policy(0, 600_000)
    system.add_policy(4, 600_000)
    # with the space at the end that Linux writes
    system.write(f"{POLICY0}/scaling_available_frequencies", "1800000 600000 1000000 \n")
    system.write(f"{POLICY4}/scaling_available_frequencies", "600000 2400000 \n")
    points = operating_points(spec(), device_state(system.files))
    assert [p.clock_khz for p in points] == [600_000, 1_000_000, 1_800_000, 2_400_000]
    assert [p.name for p in points] == ["0.6 GHz", "1 GHz", "1.8 GHz", "2.4 GHz"]


def test_a_driver_that_lists_no_clocks_gives_an_even_grid_of_its_range(system: FakeSystem) -> None:
    system.add_policy(0, 600_000, lowest_khz=800_000, highest_khz=4_800_000)
    clocks = available_clocks_khz(system.files, policies(system.files))
    assert clocks == [800_000, 1_800_000, 2_800_000, 3_800_000, 4_800_000]


def test_a_device_without_cpufreq_and_a_description_without_points_have_none(
    system: FakeSystem,
) -> None:
    assert operating_points(spec(), device_state(system.files)) == ()


def test_a_described_list_is_taken_as_it_is(system: FakeSystem) -> None:
    system.add_policy(0, 600_000)
    listed = [{"name": "slow", "clock_khz": 64_000}, {"name": "15W", "power_mode": 0}]
    found = operating_points(spec(operating_points=listed), device_state(system.files))
    assert found == (
        OperatingPoint(name="slow", clock_khz=64_000),
        OperatingPoint(name="15W", power_mode=0),
    )


CLOCKS = [408_000, 816_000, 1_200_000, 1_608_000, 1_800_000]


@given(st.integers(1, 3_000_000))
def test_a_policy_takes_its_highest_clock_up_to_the_one_wanted(
    tmp_path_factory: pytest.TempPathFactory, wanted: int
) -> None:
    folder = tmp_path_factory.mktemp("device")
    system = FakeSystem(folder / "root", n_cpus=1)
    settings = system.add_policy(0, 816_000, lowest_khz=CLOCKS[0], highest_khz=CLOCKS[-1])
    system.write(f"{POLICY0}/scaling_available_frequencies", " ".join(map(str, CLOCKS)))
    with pinned(system.files, wanted, folder / "journal.json") as pin:
        expected = CLOCKS[0]
        for clock in CLOCKS:
            if clock <= wanted:
                expected = clock
        assert pin.clock_khz == {"policy0": expected}
    assert {path: system.files.read(path) for path in settings} == settings


@pytest.mark.parametrize(
    ("text", "mode"),
    [("pmode:0002 fmode:fanNull", 2), ("pmode:0000", 0), ("pmode:0012", 12)]
    + [(text, None) for text in ("", "pmode:", "pmode:-1", "fmode:1", None)],
)
def test_a_power_mode_is_read_or_unknown(text: str | None, mode: int | None) -> None:
    assert power_mode(text) == mode


def test_the_state_of_a_device_tells_its_power_mode(system: FakeSystem) -> None:
    assert device_state(system.files)["power_mode"] is None
    system.write("var/lib/nvpmodel/status", "pmode:0003\n")
    assert device_state(system.files)["power_mode"] == 3


def test_measurements_at_different_points_are_filed_apart() -> None:
    points = [
        OperatingPoint(name="a", clock_khz=600_000),
        OperatingPoint(name="b", clock_khz=900_000),
        OperatingPoint(name="c", clock_khz=900_000, power_mode=1),
    ]
    described = spec()
    assert len({at_point(described, p).device_fingerprint for p in points}) == 3


def test_listing_points_or_naming_their_power_leaves_other_measurements_valid() -> None:
    listed = [{"name": "slow", "clock_khz": 600_000, "active_power_w": 1.5}]
    assert spec(operating_points=listed).fingerprint == spec().fingerprint
    assert spec(operating_points=listed).device_fingerprint == spec().device_fingerprint


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([{"name": "x"}], "wanted clock_khz, power_mode or both"),
        ([{"name": "x", "clock_khz": 1}, {"name": "x", "clock_khz": 2}], "'x' is there twice"),
        ([{"name": "x", "clock_khz": 0}], "greater than or equal to 1"),
        ([{"name": "x", "power_mode": -1}], "greater than or equal to 0"),
        ([{"name": "x", "clock_khz": 1, "active_power_w": 0}], "greater than 0"),
    ],
)
def test_a_wrong_point_is_refused(points: list[dict[str, object]], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        spec(operating_points=points)


def test_a_misspelt_key_of_a_point_is_told_in_one_line(tmp_path: Path) -> None:
    text = "\n".join(
        line
        for line in (Path("targets/boards/host.yaml")).read_text().splitlines()
        if not line.startswith("#")
    )
    path = tmp_path / "mine.yaml"
    path.write_text(f"{text}\noperating_points: [{{name: slow, clock_kHz: 600000}}]\n")
    with pytest.raises(ValueError, match="Did you mean 'clock_khz'") as caught:
        load_spec(path)
    assert "\n" not in str(caught.value)
