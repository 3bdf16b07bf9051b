import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import targets
from targets import Artifact, Failure, MeasureConfig, Measurement, measurement_from_dict
from targets.cache import open_measurement_log
from targets.measurement_log import MeasurementLog
from targets.testing import QUICK, small_model, unknown_operator_model

KEY, OTHER_KEY = "a" * 64, "b" * 64
FAILURE = Failure("board", "timeout", 'no "answer", "latency_s": [ after 60 s', "ab" * 32)


@pytest.fixture
def log(tmp_path: Path) -> MeasurementLog:
    return MeasurementLog(tmp_path / "measurements.jsonl")


def measurement(latency_s: float = 1e-3) -> Measurement:
    return Measurement(
        target="board",
        model_sha256="ab" * 32,
        artifact_sha256="cd" * 32,
        latency_s=(latency_s, 2 * latency_s),
        flash_bytes=10,
        peak_ram_bytes=20,
        config=MeasureConfig(),
        provenance="measured",
        device_state={"threads": 1, "governor": None},
        measured_at="2026-01-01T00:00:00+00:00",
    )


def results(log: MeasurementLog) -> list[Measurement | Failure]:
    return [log.record(head).result for head in log.heads()]


def damage(log: MeasurementLog, number: int, old: bytes, new: bytes) -> bytes:
    """Change one line, as a bad disk or a text editor does; return the whole file."""
    lines = log.path.read_bytes().splitlines(keepends=True)
    assert old in lines[number - 1]
    lines[number - 1] = lines[number - 1].replace(old, new, 1)
    log.path.write_bytes(b"".join(lines))
    return log.path.read_bytes()


def test_an_empty_log_holds_nothing(log: MeasurementLog) -> None:
    assert log.newest(KEY) is None
    assert list(log.heads()) == []
    assert not log.path.exists()


def test_results_come_back_exactly_and_in_order(log: MeasurementLog) -> None:
    recorded = [measurement(), FAILURE, replace(measurement(), flags=("loaded",)), FAILURE]
    for result in recorded:
        log.append(KEY, result)
    assert results(log) == recorded


def test_a_head_is_the_record_without_its_samples(log: MeasurementLog) -> None:
    log.append(KEY, measurement())
    log.append(OTHER_KEY, FAILURE)
    (first, second) = (dict(head.fields) for head in log.heads())
    documents = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert documents[0] == first | {"latency_s": [1e-3, 2e-3]}
    assert documents[1] == second
    assert second["message"] == FAILURE.message
    assert [head.place for head in log.heads()] == [f"{log.path}:1", f"{log.path}:2"]


def test_an_id_is_the_hash_of_what_follows_it(log: MeasurementLog) -> None:
    """By the definition, with nothing but a split; sha256sum would do."""
    log.append(KEY, measurement())
    (line,) = log.path.read_text().splitlines()
    _, _, _, recorded, content = line.split('"', 4)
    assert hashlib.sha256(content.removeprefix(", ").encode()).hexdigest() == recorded
    assert next(log.heads()).fields["id"] == recorded


def test_the_newest_of_a_key_is_found_also_by_who_opened_the_log_before(
    log: MeasurementLog,
) -> None:
    assert log.newest(KEY) is None
    other = MeasurementLog(log.path)
    for latency_s in (1e-3, 2e-3):
        other.append(KEY, measurement(latency_s))
        assert log.newest(KEY) == measurement(latency_s)
    other.append(OTHER_KEY, measurement(9.0))
    assert log.newest(KEY) == measurement(2e-3)


def test_failures_and_disturbed_measurements_are_not_found(log: MeasurementLog) -> None:
    log.append(KEY, measurement())
    log.append(KEY, replace(measurement(9.0), flags=("loaded", "throttled")))
    log.append(KEY, FAILURE)
    assert log.newest(KEY) == measurement()
    unpinned = replace(measurement(2.0), flags=("clock_unknown",))
    log.append(KEY, unpinned)
    assert log.newest(KEY) == unpinned


def test_a_log_that_was_deleted_or_replaced_is_read_anew(
    log: MeasurementLog, tmp_path: Path
) -> None:
    for latency_s in (1e-3, 2e-3):
        log.append(KEY, measurement(latency_s))
    assert log.newest(KEY) == measurement(2e-3)
    log.path.unlink()
    assert log.newest(KEY) is None
    other = MeasurementLog(tmp_path / "other.jsonl")
    for latency_s in (3e-3, 4e-3, 5e-3):
        other.append(OTHER_KEY, measurement(latency_s))
    other.path.rename(log.path)
    assert log.newest(KEY) is None
    assert log.newest(OTHER_KEY) == measurement(5e-3)


def test_logs_are_merged_by_joining_their_files(log: MeasurementLog, tmp_path: Path) -> None:
    log.append(KEY, measurement())
    log.append(KEY, FAILURE)
    merged = MeasurementLog(tmp_path / "merged.jsonl")
    merged.path.write_bytes(2 * log.path.read_bytes())
    assert results(merged) == [measurement(), FAILURE]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(b"0.001", b"0.002", id="a digit of a latency"),
        pytest.param(b'"measured"', b'"emulated"', id="where it comes from"),
        pytest.param(KEY.encode(), KEY.encode()[1:] + b"c", id="the key"),
        pytest.param(b'{"id"', b'{"ie"', id="the beginning"),
        pytest.param(b"latency_s", b"\xff\xfe\x00", id="no text at all"),
        pytest.param(b"\n", b" \n", id="a blank"),
    ],
)
def test_a_damaged_line_is_skipped_with_a_warning_and_left_as_it_is(
    log: MeasurementLog, old: bytes, new: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    recorded = [measurement(1e-3), measurement(3e-3), FAILURE]
    log.append(KEY, recorded[1])
    log.append(KEY, recorded[0])
    log.append(KEY, recorded[2])
    content = damage(log, 2, old, new)
    reopened = MeasurementLog(log.path)
    assert results(reopened) == [recorded[1], recorded[2]]
    assert f"{log.path}:2: skipped a damaged line" in caplog.text
    assert reopened.newest(KEY) == recorded[1]
    assert log.path.read_bytes() == content
    reopened.append(KEY, measurement(4e-3))
    assert log.path.read_bytes().startswith(content)
    assert MeasurementLog(log.path).newest(KEY) == measurement(4e-3)


def test_a_record_of_another_schema_is_named_and_not_found(
    log: MeasurementLog, caplog: pytest.LogCaptureFixture
) -> None:
    log.append(KEY, measurement())
    line = log.path.read_text().split(", ", 1)[1].replace('"schema_version": 2', '"x": 2')
    content = line.removesuffix("\n")
    digest = hashlib.sha256(content.encode()).hexdigest()
    log.path.write_text(f'{{"id": "{digest}", {line}')
    (head,) = log.heads()
    with pytest.raises(ValueError, match=r"measurements\.jsonl:1: schema_version: wanted 2"):
        log.record(head)
    assert MeasurementLog(log.path).newest(KEY) is None
    assert "measurements.jsonl:1" in caplog.text


def test_processes_that_measure_at_once_find_what_each_other_recorded(tmp_path: Path) -> None:
    """Two writers and readers of one log, each with keys of its own and one they share."""
    path = tmp_path / "measurements.jsonl"
    code = (
        "import sys; sys.path.insert(0, sys.argv[3])\n"
        "from pathlib import Path\n"
        "from test_measurement_log import KEY, measurement\n"
        "from targets.measurement_log import MeasurementLog\n"
        "log = MeasurementLog(Path(sys.argv[1]))\n"
        "own = sys.argv[2] * 64\n"
        "for n in range(1, 51):\n"
        "    log.append(own, measurement(n)); log.append(KEY, measurement(n))\n"
        "    assert log.newest(own) == measurement(n)\n"
        "    assert log.newest(KEY) is not None\n"
    )
    here = str(Path(__file__).parent)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(path), who, here], stderr=subprocess.PIPE, text=True
        )
        for who in "12"
    ]
    for writer in writers:
        _, errors = writer.communicate(timeout=120)
        assert writer.returncode == 0, errors
    log = MeasurementLog(path)
    assert len(list(log.heads())) == 200
    for who in "12":
        assert log.newest(64 * who) == measurement(50)


def test_a_record_needs_nothing_but_its_line(log: MeasurementLog) -> None:
    """An exported line is read back by whoever reads JSON."""
    log.append(KEY, measurement())
    (head,) = log.heads()
    document = json.loads(log.line(head))
    for name in ("id", "key", "recorded_at"):
        del document[name]
    assert measurement_from_dict(document) == measurement()


def test_a_target_records_every_measurement_and_every_failure(tmp_path: Path) -> None:
    """Also those that a later one replaces in the cache."""
    with targets.create("host-onnxruntime", cache_dir=tmp_path) as target:
        failure = target.compile(unknown_operator_model())
        artifact = target.compile(small_model())
        assert isinstance(artifact, Artifact), artifact
        first = target.measure(artifact, QUICK)
        fresh = target.measure(artifact, QUICK, fresh=True)
    # beside those returned, it may hold disturbed ones that were repeated
    returned = [failure, first, fresh]
    assert [r for r in results(open_measurement_log(tmp_path)) if r in returned] == returned
