"""Recorded measurements and failures: found, listed, exported, by function and by command."""

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import yaml

from hwnas import MeasurementQuery, UserError, export_measurements, list_measurements
from hwnas.measurement_export import _ROWS_AT_ONCE
from targets import (
    EnergyConfig,
    EnergyMeasurement,
    EnergyTrial,
    Failure,
    Interval,
    MeasureConfig,
    Measurement,
    MeasurementLog,
    open_measurement_log,
)
from targets.meters import MeterInfo
from targets.spec import BOARDS

KEY = "0" * 64
CLEAN = Measurement(
    target="host",
    model_sha256="ab" * 32,
    artifact_sha256="cd" * 32,
    latency_s=tuple(np.linspace(1e-6, 2e-6, 101).tolist()),
    flash_bytes=1000,
    peak_ram_bytes=500,
    config=MeasureConfig(),
    provenance="measured",
    device_state={"threads": 1, "governor": None},
    measured_at="2026-01-02T03:04:05+00:00",
)
FLAGGED = replace(CLEAN, model_sha256="ef" * 32, flags=("clock_unknown", "drifting"))
EMULATED = replace(CLEAN, target="board", provenance="emulated")
FAILURE = Failure("board", "timeout", "no answer [after] 60 s", "ab" * 32)
ENERGY = EnergyMeasurement(
    target="host",
    model_sha256="ab" * 32,
    artifact_sha256="cd" * 32,
    gross_j=Interval(2e-3, 1.9e-3, 2.1e-3),
    net_j=None,
    net_refused="idle drifts",
    idle_power_w=Interval(1.0, 0.9, 1.1),
    active_power_w=Interval(2.0, 1.9, 2.1),
    peak_power_w=3.0,
    peak_bandwidth_hz=1e3,
    trials=(EnergyTrial(1e-3, 10_000, 10.0, 2.0, 1.0, 1.0, 1.0, 3.0),),
    sustained=(),
    meters=(MeterInfo("usb", "the board", 1e-3, 1e-6, 5.0, 0.01, 1e-3, True, False, 1e3),),
    config=EnergyConfig(trials=2),
    provenance="emulated",
    device_state={"governor": None},
    measured_at="2026-01-01T00:00:00+00:00",
)
RECORDED = [CLEAN, FLAGGED, EMULATED, FAILURE]


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MeasurementLog:
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path / "cache"))
    log = open_measurement_log()
    for result in RECORDED:
        log.append(KEY, result)
    return log


def found(**query: Any) -> list[Measurement | Failure]:
    return [record.result for record in list_measurements(MeasurementQuery(**query))]


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``hwnas targets log``; the environment names the cache."""
    return subprocess.run(
        [sys.executable, "-m", "hwnas", "targets", "log", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, RECORDED),
        ({"target": "host"}, [CLEAN, FLAGGED]),
        ({"model": "ab"}, [CLEAN, EMULATED, FAILURE]),
        ({"model": "EFe"}, [FLAGGED]),
        ({"flagged": True}, [FLAGGED]),
        ({"failures": True}, [FAILURE]),
        ({"flagged": True, "failures": True}, [FLAGGED, FAILURE]),
        ({"limit": 2}, [EMULATED, FAILURE]),
        ({"target": "host", "limit": 1}, [FLAGGED]),
        ({"target": "raspberry-pi-4"}, []),
    ],
)
def test_a_query_finds_what_it_says_newest_last(
    log: MeasurementLog, query: dict[str, Any], expected: list[Any]
) -> None:
    assert found(**query) == expected


def test_since_is_a_moment_in_utc_unless_it_says_otherwise(log: MeasurementLog) -> None:
    third = datetime.fromisoformat(list_measurements()[2].recorded_at)
    assert found(since=third.replace(tzinfo=None).isoformat()) == RECORDED[2:]
    shifted = third.astimezone().isoformat()
    assert found(since=shifted) == RECORDED[2:]
    assert found(since=(third - timedelta(days=1)).date().isoformat()) == RECORDED
    assert found(since=(third + timedelta(days=2)).date().isoformat()) == []


def test_a_target_is_also_named_by_its_file(log: MeasurementLog, tmp_path: Path) -> None:
    document = yaml.safe_load((BOARDS / "host.yaml").read_text())
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(document | {"name": "board"}))
    assert found(target=str(path)) == [EMULATED, FAILURE]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"target": "hots"}, "unknown name 'hots'. Did you mean 'host'"),
        ({"since": "yesterday"}, "--since yesterday: wanted a date, such as 2026-01-31"),
    ],
)
def test_a_query_that_makes_no_sense_says_why(
    log: MeasurementLog, query: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        found(**query)


def test_exported_lines_are_a_log_of_their_own(log: MeasurementLog, tmp_path: Path) -> None:
    path = tmp_path / "board.jsonl"
    assert export_measurements(path, MeasurementQuery(target="board")) == 2
    exported = MeasurementLog(path)
    assert [exported.record(head).result for head in exported.heads()] == [EMULATED, FAILURE]
    assert path.read_bytes().splitlines() == log.path.read_bytes().splitlines()[2:]


def test_a_parquet_table_holds_every_number_exactly(log: MeasurementLog, tmp_path: Path) -> None:
    """Read back by pyarrow, one row per record, units in the names of the columns."""
    path = tmp_path / "all.parquet"
    assert export_measurements(path) == 4
    rows = pyarrow.parquet.read_table(path).to_pylist()
    records = list_measurements()
    assert [row["id"] for row in rows] == [record.id for record in records]
    times = [datetime.fromisoformat(record.recorded_at) for record in records]
    assert [row["recorded_at"] for row in rows] == times
    assert [row["kind"] for row in rows] == ["measurement"] * 3 + ["failure"]
    for row, result in zip(rows[:3], RECORDED[:3], strict=True):
        assert tuple(row["latency_s"]) == result.latency_s
        assert tuple(row["flags"]) == result.flags
        assert (row["flash_bytes"], row["peak_ram_bytes"]) == (1000, 500)
        assert (row["target"], row["provenance"]) == (result.target, result.provenance)
        assert row["config_min_samples"] == MeasureConfig().min_samples
        assert row["config_warmup_s"] == MeasureConfig().warmup_s
        assert json.loads(row["device_state_json"]) == result.device_state
    assert (rows[3]["failure_stage"], rows[3]["failure_message"]) == ("timeout", FAILURE.message)
    assert rows[3]["latency_s"] is None


def test_an_energy_is_listed_and_exported_with_its_intervals(
    log: MeasurementLog, tmp_path: Path
) -> None:
    log.append(KEY, ENERGY)
    assert found()[-1] == ENERGY
    assert json.loads(command("--json").stdout)[-1]["gross_j"]["high"] == 2.1e-3
    assert "2.00 mJ gross" in command().stdout
    path = tmp_path / "all.parquet"
    export_measurements(path)
    *others, row = pyarrow.parquet.read_table(path).to_pylist()
    assert (row["kind"], row["gross_j_value"], row["gross_j_high"]) == ("energy", 2e-3, 2.1e-3)
    assert (row["net_j_value"], row["idle_power_w_low"], row["latency_s"]) == (None, 0.9, None)
    assert [other["gross_j_value"] for other in others] == [None] * 4


def test_a_parquet_table_may_be_empty(log: MeasurementLog, tmp_path: Path) -> None:
    path = tmp_path / "none.parquet"
    assert export_measurements(path, MeasurementQuery(target="raspberry-pi-4")) == 0
    table = pyarrow.parquet.read_table(path)
    assert table.num_rows == 0
    assert "latency_s" in table.column_names


def test_more_records_than_are_written_at_once_are_all_written(
    log: MeasurementLog, tmp_path: Path
) -> None:
    messages = [str(n) for n in range(_ROWS_AT_ONCE + 1)]
    for message in messages:
        log.append(KEY, replace(FAILURE, target="many", message=message))
    export_measurements(tmp_path / "many.parquet", MeasurementQuery(target="many"))
    table = pyarrow.parquet.read_table(tmp_path / "many.parquet")
    assert table["failure_message"].to_pylist() == messages


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("all.csv", r"all\.csv: wanted a name that ends in \.jsonl or \.parquet"),
        ("there.jsonl", r"there\.jsonl: exists already"),
        ("nowhere/all.jsonl", r"there is no folder .*nowhere"),
    ],
)
def test_an_export_that_cannot_be_says_why_and_writes_nothing(
    log: MeasurementLog, tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "there.jsonl").write_text("precious")
    with pytest.raises(UserError, match=message):
        export_measurements(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "there.jsonl"]
    assert (tmp_path / "there.jsonl").read_text() == "precious"


def test_without_pyarrow_one_line_says_what_to_install(log: MeasurementLog, tmp_path: Path) -> None:
    """In a process that cannot import it."""
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from pathlib import Path; from hwnas import export_measurements, UserError\n"
        "try: export_measurements(Path(sys.argv[1]))\n"
        "except UserError as error: print(error)\n"
    )
    path = tmp_path / "all.parquet"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "--export: Parquet needs pyarrow. Run: pip install 'hwnas[parquet]'\n"
    assert [p.name for p in tmp_path.iterdir()] == ["cache"]


def test_the_command_prints_a_table_with_median_flags_and_failures(log: MeasurementLog) -> None:
    """The median and 99th percentile of 1.00, 1.01, ... 2.00 us are 1.50 and 1.99 us."""
    done = command()
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if "abab" in line or "efef" in line]
    assert len(rows) == 4
    for cell in ("host", "abababababab", "1.50 µs", "1.99 µs", "101", "measured"):
        assert cell in rows[0]
    assert "clock_unknown, drifting" in rows[1]
    assert "emulated" in rows[2]
    assert "timeout: no answer [after] 60 s" in rows[3]


def test_the_command_answers_programs_in_json(log: MeasurementLog) -> None:
    done = command("board", "--json")
    assert done.returncode == 0, done.stderr
    emulated, failure = json.loads(done.stdout)
    assert emulated["latency_median_s"] == pytest.approx(1.5e-6, rel=1e-12)  # rounding of a mean
    assert emulated["latency_p99_s"] == pytest.approx(1.99e-6, rel=1e-12)
    assert (emulated["samples"], emulated["provenance"]) == (101, "emulated")
    assert emulated["device_state"] == {"threads": 1, "governor": None}
    assert emulated["config"]["min_samples"] == MeasureConfig().min_samples
    assert (failure["kind"], failure["stage"]) == ("failure", "timeout")


def test_the_command_exports_and_refuses_in_one_line(log: MeasurementLog, tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    done = command("--failures", "--export", str(path))
    assert done.stdout == f"1 records: {path}\n"
    again = command("--export", str(path))
    assert again.returncode == 2
    assert again.stderr == f"--export {path}: exists already. Remove it or choose another name.\n"


def test_a_damaged_line_is_named_on_standard_error_and_the_rest_is_listed(
    log: MeasurementLog,
) -> None:
    content = log.path.read_bytes()
    log.path.write_bytes(content.replace(b'"board"', b'"bored"', 1))
    done = command("--json")
    assert len(json.loads(done.stdout)) == 3
    assert done.stderr == (
        f"{log.path}:3: skipped a damaged line (its content does not match its id)\n"
    )


def test_a_record_of_another_version_is_named(log: MeasurementLog) -> None:
    content = log.path.read_bytes().splitlines()[0].split(b", ", 1)[1]
    content = content.replace(b'"schema_version": 2', b'"schema_version": 3')
    digest = hashlib.sha256(content).hexdigest().encode()
    log.path.write_bytes(b'{"id": "%s", %s\n' % (digest, content))
    with pytest.raises(UserError, match=r"jsonl:1: schema_version: wanted 2, got 3\. Read it with"):
        list_measurements()
