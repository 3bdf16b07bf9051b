"""A sweep over the clocks of a device whose latency and energy follow a known law."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
import yaml
from rich.console import Console

from hwnas.cli import main
from hwnas.errors import UnreachableError, UserError
from hwnas.sweep_table import sweep_table
from hwnas.sweeping import FrequencySweep, sweep_frequency
from targets import TargetSpec, load_spec
from targets.target_errors import DeviceLostError
from targets.testing import QUICK, FakeSystem, small_model
from tests.unit.hwnas.clocked_device import (
    CLOCKS_KHZ,
    POLICY,
    ClockedTarget,
    gross_j,
    latency_s,
    make_device,
)

ONCE = replace(QUICK, repeats=0)
SETTINGS = ("scaling_governor", "scaling_min_freq", "scaling_max_freq")


class Rig:
    """A device, a model, and the targets that were opened on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.device: FakeSystem = make_device(folder / "device")
        self.model = folder / "model.onnx"
        onnx.save(small_model(), self.model)
        self.opened: list[ClockedTarget] = []

    def describe(self, **entries: Any) -> Path:
        document = load_spec("host").model_dump(mode="json", exclude_none=True)
        path = self.folder / "mine.yaml"
        path.write_text(yaml.safe_dump({**document, "name": "mine", **entries}))
        return path

    def open(self, spec: TargetSpec) -> ClockedTarget:
        self.opened.append(ClockedTarget(spec, self.folder / "device", self.folder / "cache"))
        return self.opened[-1]

    def sweep(self, seed: int = 0, **entries: Any) -> FrequencySweep:
        self.opened.clear()
        path = str(self.describe(**entries))
        return sweep_frequency(path, self.model, config=ONCE, seed=seed, create=self.open)

    def settings(self) -> dict[str, str | None]:
        return {name: self.device.files.read(f"/{POLICY}/{name}") for name in SETTINGS}


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


@pytest.fixture
def metered(tmp_path: Path) -> Callable[[], dict[str, Any]]:
    trace = tmp_path / "trace.csv"
    trace.write_text("time_s,power_w\n0,1\n1,1\n")
    return lambda: {"meters": [{"kind": "trace", "path": str(trace)}]}


def test_every_clock_is_a_row_with_the_latency_at_it_in_order(rig: Rig) -> None:
    before = rig.settings()
    rows = rig.sweep().to_dict()["points"]
    assert [row["requested_khz"] for row in rows] == list(CLOCKS_KHZ)
    assert [row["reached_khz"] for row in rows] == list(CLOCKS_KHZ)
    expected = [latency_s(khz) for khz in CLOCKS_KHZ]
    assert [row["latency_s"]["value"] for row in rows] == pytest.approx(expected, rel=1e-12)
    assert all(row["refused"] is None and row["flags"] == [] for row in rows)
    assert rig.settings() == before


def test_the_first_row_is_the_device_as_it_was_found(rig: Rig) -> None:
    row = rig.sweep().to_dict()["as_configured"]
    assert row["requested_khz"] is None
    assert row["latency_s"]["value"] == pytest.approx(latency_s(CLOCKS_KHZ[0]))
    assert "clock_unpinned" in row["flags"]


def test_points_are_measured_in_an_order_of_the_seeds(rig: Rig, tmp_path: Path) -> None:
    orders = []
    for seed in (0, 0, 1):
        rig.sweep(seed)
        orders.append([target.spec.clock_khz for target in rig.opened[1:]])
    assert orders[0] == orders[1] != orders[2]
    assert [sorted(order) for order in orders] == [list(CLOCKS_KHZ)] * 3  # type: ignore[type-var]
    assert list(CLOCKS_KHZ) not in orders


def test_what_was_measured_before_is_not_measured_again(rig: Rig) -> None:
    first = rig.sweep()
    second = rig.sweep()
    assert [target.timed for target in rig.opened[1:]] == [0] * len(CLOCKS_KHZ)
    assert second.to_dict()["points"] == first.to_dict()["points"]


def test_energies_of_meters_tell_the_point_of_least_energy(
    rig: Rig, metered: Callable[[], dict[str, Any]]
) -> None:
    sweep = rig.sweep(**metered())
    rows = sweep.to_dict()["points"]
    expected = [gross_j(khz) for khz in CLOCKS_KHZ]
    assert [row["energy_j"]["value"] for row in rows] == pytest.approx(expected)
    assert [row["inferences_per_joule"]["value"] for row in rows] == pytest.approx(
        [1 / energy for energy in expected]
    )
    assert {row["energy_j"]["provenance"] for row in rows} == {"emulated"}
    best = min(CLOCKS_KHZ, key=gross_j)
    assert CLOCKS_KHZ[0] < best < CLOCKS_KHZ[-1]
    assert sweep.least_energy is not None
    assert sweep.least_energy.point == f"{best / 1e6:g} GHz"
    assert set(sweep.least_energy.not_told_apart) == {
        f"{khz / 1e6:g} GHz"
        for khz in CLOCKS_KHZ
        if khz != best and 0.99 * gross_j(khz) <= 1.01 * gross_j(best)
    }
    assert sweep.fastest is not None
    assert sweep.fastest.point == "1.8 GHz"
    assert sweep.fastest.not_told_apart == ()


def test_without_a_meter_nothing_is_said_of_energies_at_unknown_voltages(rig: Rig) -> None:
    sweep = rig.sweep()
    for row in sweep.to_dict()["points"]:
        assert "energy_j" not in row
        assert "voltage" in row["energy_not_measured_because"]
    assert sweep.least_energy is None


def test_a_data_sheets_power_at_a_point_gives_a_modelled_energy(rig: Rig) -> None:
    points = [
        {"name": "slow", "clock_khz": 600_000, "active_power_w": 0.5},
        {"name": "fast", "clock_khz": 1_800_000, "active_power_w": 3.0},
    ]
    sweep = rig.sweep(operating_points=points)
    slow, fast = sweep.to_dict()["points"]
    # 0.5 W x (1.2e6 / 600 MHz + 0.4 ms) = 0.5 W x 2.4 ms; 3 W x (2/3 ms + 0.4 ms)
    assert slow["energy_j"]["value"] == pytest.approx(1.2e-3)
    assert fast["energy_j"]["value"] == pytest.approx(3.2e-3)
    assert slow["energy_j"]["provenance"] == "modelled"
    assert slow["energy_j"]["low"] < 1.2e-3 < slow["energy_j"]["high"]


def test_a_point_the_device_cannot_keep_is_shown_as_throttled_and_not_compared(rig: Rig) -> None:
    rig.device.write("limit_khz", "1300000")
    sweep = rig.sweep()
    rows = {row["requested_khz"]: row for row in sweep.to_dict()["points"]}
    for khz, row in rows.items():
        assert ("throttled" in row["flags"]) == (khz > 1_300_000)
    assert rows[1_800_000]["reached_khz"] == 1_300_000
    assert sweep.fastest is not None
    assert sweep.fastest.point == "1.2 GHz"


def test_points_that_may_not_be_set_are_rows_that_say_so_and_are_tried_again(rig: Rig) -> None:
    rig.device.write("read_only", "yes")
    refused = rig.sweep().to_dict()
    assert len(refused["points"]) == len(CLOCKS_KHZ)
    for row in refused["points"]:
        assert "Permission denied" in row["refused"]
        assert "latency_s" not in row
    assert refused["fastest"] is None
    (rig.folder / "device" / "read_only").unlink()
    # what a refusal left in the cache is older than the next sweep: a second has to pass
    log = rig.folder / "cache" / "measurements.jsonl"
    year = json.loads(log.read_text().splitlines()[0])["measured_at"][:4]
    log.write_text(log.read_text().replace(f'"{year}-', '"2000-'))
    again = rig.sweep().to_dict()
    assert [row["refused"] for row in again["points"]] == [None] * len(CLOCKS_KHZ)


def test_a_point_of_another_power_mode_is_refused_with_what_to_do(rig: Rig) -> None:
    rig.device.write("var/lib/nvpmodel/status", "pmode:0001\n")
    points = [{"name": f"mode {mode}", "power_mode": mode} for mode in (0, 1)]
    mode_0, mode_1 = rig.sweep(operating_points=points).to_dict()["points"]
    assert "sudo nvpmodel -m 0" in mode_0["refused"]
    assert mode_1["refused"] is None
    rig.device.write("var/lib/nvpmodel/status", "pmode:0000\n")
    mode_0, mode_1 = rig.sweep(operating_points=points).to_dict()["points"]
    # the other one was measured when the device was in it
    assert mode_0["refused"] is mode_1["refused"] is None
    assert (mode_0["power_mode"], mode_1["power_mode"]) == (0, 1)


def test_a_device_without_clocks_to_choose_is_a_users_error(rig: Rig) -> None:
    rig.device.write("sys/devices/system/cpu/present", "")
    with pytest.raises(UserError, match="no operating points"):
        rig.sweep()


def test_a_device_that_does_not_answer_is_told_as_when_it_is_measured(rig: Rig) -> None:
    class Unplugged(ClockedTarget):
        def clock_khz(self) -> int:
            raise DeviceLostError("connect", "no board answers")

    def open_it(spec: TargetSpec) -> ClockedTarget:
        return Unplugged(spec, rig.folder / "device", rig.folder / "cache")

    before = rig.settings()
    with pytest.raises(UnreachableError, match="connect failed on 'mine': no board answers"):
        sweep_frequency(str(rig.describe()), rig.model, config=ONCE, create=open_it)
    assert rig.settings() == before


def test_a_device_lost_at_one_point_leaves_a_row_that_says_so(rig: Rig) -> None:
    class Fragile(ClockedTarget):
        def clock_khz(self) -> int:
            khz = super().clock_khz()
            if khz == CLOCKS_KHZ[2]:
                raise DeviceLostError("run", "the board restarted")
            return khz

    def open_it(spec: TargetSpec) -> ClockedTarget:
        return Fragile(spec, rig.folder / "device", rig.folder / "cache")

    before = rig.settings()
    rows = sweep_frequency(str(rig.describe()), rig.model, config=ONCE, create=open_it).points
    refused = {row.point.clock_khz: row.refused for row in rows if row.point}
    lost = {CLOCKS_KHZ[2]: "the board restarted"}
    assert refused == dict.fromkeys(CLOCKS_KHZ) | lost
    assert rig.settings() == before


def test_a_recording_has_no_other_points(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rig.sweep()
    path = rig.describe(
        backend="replay", recording=str(rig.folder / "cache" / "measurements.jsonl")
    )
    arguments = ["hwnas", "measure", str(path), str(rig.model), "--sweep", "frequency"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "a recording cannot be measured at other operating points" in capsys.readouterr().err


def test_a_product_is_not_asked_for_with_a_sweep(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["hwnas", "measure", "host", str(rig.model), "--sweep", "frequency"]
    monkeypatch.setattr(sys, "argv", [*arguments, "--product", "experiment.yaml"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "--product: not with --sweep" in capsys.readouterr().err


HANG = """
import sys
from pathlib import Path
from hwnas.sweeping import sweep_frequency
from tests.unit.hwnas.clocked_device import ClockedTarget
from tests.unit.hwnas.test_sweeping import ONCE
yaml, model, folder, khz = sys.argv[1:]
def create(spec):
    return ClockedTarget(spec, Path(folder, "device"), Path(folder, "cache"), int(khz))
sweep_frequency(yaml, Path(model), config=ONCE, create=create)
"""


def test_a_sweep_that_is_killed_is_put_back_by_the_next_one_which_continues_it(rig: Rig) -> None:
    before = rig.settings()
    rig.sweep()
    last = [target.spec.clock_khz for target in rig.opened][-1]
    for entry in (rig.folder / "cache").glob("measurements.jsonl"):
        entry.unlink()
    child = subprocess.Popen(
        [sys.executable, "-c", HANG, rig.describe(), rig.model, rig.folder, str(last)],
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    with child.stdout:
        assert child.stdout.readline() == b"hangs\n"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert rig.settings() != before
    rows = rig.sweep().to_dict()["points"]
    assert rig.settings() == before
    assert [row["refused"] for row in rows] == [None] * len(CLOCKS_KHZ)
    timed = {target.spec.clock_khz: target.timed for target in rig.opened[1:]}
    assert [khz for khz, n in timed.items() if n] == [last]


def test_the_table_shows_all_points_and_escapes_what_devices_say(
    rig: Rig, metered: Callable[[], dict[str, Any]]
) -> None:
    rig.device.write("limit_khz", "1300000")
    document = rig.sweep(**metered()).to_dict()
    document["points"][0]["refused"] = "[bold]no[/bold]"
    screen = Console(width=200, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    screen.print(sweep_table(document))
    screen.file.close()
    text = screen.export_text()
    assert "[bold]no[/bold]" in text
    assert "throttled" in text
    assert "least energy per inference: " in text
    for khz in CLOCKS_KHZ:
        assert f"{khz / 1e6:g} GHz" in text
