"""A network's stages at every clock of a device whose latency and energy follow a known law."""

from dataclasses import replace
from pathlib import Path

import pytest

from hwnas.device_points import NO_CLOCKS, NO_ENERGY, energy_model_at, measure_at_points
from latency_predictors import modelled_energy
from latency_predictors.measured_architecture import DEPLOYED_TIMINGS
from search_spaces import Workload
from targets import TargetSpec, load_spec
from targets.operating_points import OperatingPoint
from targets.testing import QUICK, small_model
from tests.unit.hwnas.clocked_device import (
    CLOCKS_KHZ,
    POLICY,
    ClockedTarget,
    gross_j,
    latency_s,
    make_device,
)

ONCE = replace(QUICK, repeats=0)
STATE = {"available_clocks_khz": " ".join(map(str, CLOCKS_KHZ))}


@pytest.fixture
def metered() -> TargetSpec:
    host = load_spec("host").model_dump(mode="json", exclude_none=True)
    return TargetSpec.model_validate({**host, "name": "mine", "meters": [{"kind": "rapl"}]})


def test_stages_are_measured_at_every_clock_and_the_clock_is_put_back(
    metered: TargetSpec, tmp_path: Path
) -> None:
    make_device(tmp_path / "device")
    limit = tmp_path / "device" / POLICY / "scaling_max_freq"
    before = limit.read_text()

    def open_target(spec: TargetSpec) -> ClockedTarget:
        return ClockedTarget(spec, tmp_path / "device", tmp_path / "cache")

    models = [small_model(), small_model()]
    found = measure_at_points(metered, STATE, models, config=ONCE, create=open_target)
    assert [at.point.clock_khz for at in found] == list(CLOCKS_KHZ)
    for at, khz in zip(found, CLOCKS_KHZ, strict=True):
        assert at.refused is None
        assert len(at.measurements) == 2
        for measurement in at.measurements:
            assert measurement.latency_median_s == pytest.approx(latency_s(khz))
            assert measurement.energy is not None
            assert measurement.energy.gross_j.value == pytest.approx(gross_j(khz))
    assert limit.read_text().strip() == before.strip()


def test_a_clock_that_could_not_be_pinned_is_refused_with_the_reason(
    metered: TargetSpec, tmp_path: Path
) -> None:
    device = make_device(tmp_path / "device")
    device.write("read_only", "1")

    def open_target(spec: TargetSpec) -> ClockedTarget:
        return ClockedTarget(spec, tmp_path / "device", tmp_path / "cache")

    found = measure_at_points(metered, STATE, [small_model()], config=ONCE, create=open_target)
    assert all("could not be pinned" in (at.refused or "") for at in found)
    assert not any(at.measurements for at in found)


def test_without_meters_energy_is_the_points_power_times_latency_or_the_point_is_refused(
    tmp_path: Path,
) -> None:
    make_device(tmp_path / "device")
    slow = OperatingPoint(name="slow", clock_khz=CLOCKS_KHZ[0], active_power_w=1.5)
    fast = OperatingPoint(name="fast", clock_khz=CLOCKS_KHZ[-1])
    spec = load_spec("host").model_copy(update={"operating_points": (slow, fast)})

    def open_target(spec: TargetSpec) -> ClockedTarget:
        return ClockedTarget(spec, tmp_path / "device", tmp_path / "cache")

    at_slow, at_fast = measure_at_points(spec, {}, [small_model()], config=ONCE, create=open_target)
    assert at_fast.refused == NO_ENERGY
    model = energy_model_at(spec, slow)
    assert model == at_slow.spec.energy_model
    assert model is not None
    found = modelled_energy(2e-3, (), model)
    assert found.energy_j == pytest.approx(1.5 * 2e-3)
    # the power is that of the whole device: what it computes counts no more, in any precision
    conv = Workload("conv2d", (4, 8, 8), (4, 8, 8), dtype="int8")
    assert modelled_energy(2e-3, (conv,), model) == found


def test_a_point_is_timed_as_often_as_the_usual_clock(metered: TargetSpec, tmp_path: Path) -> None:
    make_device(tmp_path / "device")
    opened: list[ClockedTarget] = []

    def open_target(spec: TargetSpec) -> ClockedTarget:
        opened.append(ClockedTarget(spec, tmp_path / "device", tmp_path / "cache"))
        return opened[-1]

    measure_at_points(metered, STATE, [small_model()], config=ONCE, create=open_target)
    # three calls for each timing: probes, warm-up, samples
    assert [target.timed for target in opened] == [3 * DEPLOYED_TIMINGS] * len(CLOCKS_KHZ)


def test_a_recording_has_no_other_clocks(metered: TargetSpec, tmp_path: Path) -> None:
    recording = metered.model_copy(update={"recording": tmp_path / "measurements.jsonl"})
    found = measure_at_points(recording, STATE, [small_model()], config=ONCE)
    assert [at.refused for at in found] == [NO_CLOCKS] * len(CLOCKS_KHZ)
