"""Meters read by real processes, from files."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from targets.meter_link import MeterLink, MeterSet, ProcessChannel
from targets.meters import MeterError
from targets.meters.shipping import BOOTSTRAP, archive, shipment
from targets.spec import MeterSpec


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A sysfs with an INA3221 of 5032 mV and 912 mA, and a RAPL package."""
    files = {
        "hwmon/hwmon0/name": "ina3221",
        "hwmon/hwmon0/in1_label": "VDD_IN",
        "hwmon/hwmon0/in1_input": "5032",
        "hwmon/hwmon0/curr1_input": "912",
        "powercap/intel-rapl:0/name": "package-0",
        "powercap/intel-rapl:0/energy_uj": "1000000",
        "powercap/intel-rapl:0/max_energy_range_uj": "262143328850",
    }
    for name, text in files.items():
        path = tmp_path / "class" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return tmp_path


def sensor(root: Path, **options: object) -> MeterSpec:
    fields = {"kind": "hwmon", "chip": "ina3221", "label": "VDD_IN", "root": str(root)}
    return MeterSpec(**{**fields, **options})  # type: ignore[arg-type]


def test_a_recording_holds_what_the_sensor_shows_on_this_computers_clock(root: Path) -> None:
    """5.032 V * 0.912 A = 4.589184 W; about one value every 10 ms."""
    with MeterSet([sensor(root, period_s=0.01)]) as meters:
        before = time.monotonic()
        meters.start()
        time.sleep(1.0)
        (trace,) = meters.stop()
        after = time.monotonic()
    assert np.all(trace.power_w == pytest.approx(4.589184))
    assert before < trace.start_s[0] < before + 0.3
    assert after - 0.3 < trace.end_s[-1] < after
    assert 30 < len(trace.power_w) <= 110  # a busy machine reads less often, never more
    assert trace.clock_error_s < 0.05
    assert trace.info.rail == "hwmon:ina3221:VDD_IN"


def test_recordings_follow_each_other_and_each_begins_anew(root: Path) -> None:
    with MeterSet([sensor(root)]) as meters:
        ends = [0.0]
        for watts in (1, 2, 3):
            (root / "class/hwmon/hwmon0/in1_input").write_text("1000\n")
            (root / "class/hwmon/hwmon0/curr1_input").write_text(f"{1000 * watts}\n")
            meters.start()
            time.sleep(0.3)
            (trace,) = meters.stop()
            assert np.all(trace.power_w == pytest.approx(watts))
            assert trace.start_s[0] > ends[-1]
            ends.append(float(trace.end_s[-1]))


def test_a_sensor_that_vanishes_meanwhile_is_an_error_when_the_recording_stops(root: Path) -> None:
    with MeterSet([sensor(root)]) as meters:
        meters.start()
        time.sleep(0.2)
        (root / "class/hwmon/hwmon0/curr1_input").unlink()
        time.sleep(0.3)
        with pytest.raises(MeterError, match=r"curr1_input: .*No such file"):
            meters.stop()


def test_a_reader_that_is_killed_is_an_error_not_a_wait(root: Path) -> None:
    channel = ProcessChannel("hwmon")
    link = MeterLink(channel, sensor(root))
    link.start()
    os.kill(channel._process.pid, signal.SIGKILL)
    with pytest.raises(MeterError, match=r"hwmon: .*ended"):
        link.stop()
    link.close()


def test_readers_end_with_the_measurement(root: Path) -> None:
    with MeterSet([sensor(root)]) as meters:
        process = meters.links[0]._channel._process  # type: ignore[attr-defined]
        assert process.is_alive
    assert not process.is_alive


def test_the_second_meter_that_is_wrong_is_named_by_its_place_and_the_first_let_go(
    root: Path,
) -> None:
    with (
        pytest.raises(MeterError, match=r"meters\.1 \(rapl\): .*no RAPL counters") as error,
        MeterSet([sensor(root), MeterSpec(kind="rapl", root=str(root / "none"))]),
    ):
        pass
    assert "modprobe" in error.value.fix


def test_counters_and_samplers_can_be_recorded_together(root: Path) -> None:
    with MeterSet([sensor(root), MeterSpec(kind="rapl", root=str(root))]) as meters:
        meters.start()
        time.sleep(0.5)
        (root / "class/powercap/intel-rapl:0/energy_uj").write_text("3000000\n")
        time.sleep(0.5)
        sampled, counted = meters.stop()
    assert sampled.mean_power_w() == pytest.approx(4.589184)
    assert np.sum(counted.power_w * (counted.end_s - counted.start_s)) == pytest.approx(2.0)


def test_a_rail_of_another_computer_is_another_rail(root: Path) -> None:
    """A board's package beside this computer's is none of two meters of one rail."""
    specs = [MeterSpec(kind="rapl", root=str(root), at=at) for at in ("host", "board")]  # type: ignore[call-arg]
    with MeterSet(specs) as meters:
        assert [info.rail for info in meters.infos] == [
            "powercap:package",
            "board:powercap:package",
        ]
        assert meters.infos[1].branch_of == ("board:powercap:psys",)


def test_what_is_shipped_runs_in_a_python_that_has_nothing_of_hwnas(
    root: Path, tmp_path: Path
) -> None:
    """With an empty folder first on the path, and no other site packages than numpy's."""
    import json
    import subprocess
    import sys

    numpy_folder = Path(np.__file__).parents[1]
    requests = [
        {"command": "open", "kind": "rapl", "options": {"root": str(root)}},
        {"command": "clock"},
    ]
    content = shipment() + b"".join(json.dumps(r).encode() + b"\n" for r in requests)
    code = (
        "import sys; sys.path = [p for p in sys.path if 'site-packages' not in p]\n"
        f"sys.path.append({str(numpy_folder)!r})\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('hwnas', 'pydantic', 'torch', 'tvm', 'scipy'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code + BOOTSTRAP],
        input=content,
        capture_output=True,
        check=False,
        cwd=tmp_path,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert answers[0]["info"]["rail"] == "powercap:package", done.stderr
    assert answers[1]["t_s"] > 0
    assert len(archive()) < 60_000  # sent anew for every session on a board
