import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from targets import (
    Failure,
    MeasureConfig,
    Measurement,
    MeasurementLog,
    measurement_from_dict,
    result_to_dict,
)

FAILURE = Failure("host", "compile", "no such operator", "ab12")
seconds = st.floats(1e-9, 1e3)


def measurement(latency_s: tuple[float, ...] = (1e-3, 2e-3)) -> Measurement:
    return Measurement(
        target="host",
        model_sha256="ab",
        artifact_sha256="cd",
        latency_s=latency_s,
        flash_bytes=10,
        peak_ram_bytes=20,
        config=MeasureConfig(),
        provenance="measured",
        device_state={"threads": 1, "governor": None},
        measured_at="2026-01-01T00:00:00+00:00",
    )


@given(latency_s=st.lists(seconds, min_size=1, max_size=20), energy=st.none() | st.just((1.0,)))
def test_a_measurement_survives_json_exactly(latency_s, energy) -> None:
    original = Measurement(**{**vars(measurement(tuple(latency_s))), "energy_j": energy})
    assert measurement_from_dict(json.loads(json.dumps(result_to_dict(original)))) == original


def test_a_log_gives_back_what_was_appended_in_order(tmp_path: Path) -> None:
    log = MeasurementLog(tmp_path / "log.jsonl")
    assert list(log) == []
    log.append(measurement())
    log.append(FAILURE)
    assert list(MeasurementLog(log.path)) == [measurement(), FAILURE]


@given(cut=st.integers(1, 200))
def test_a_torn_last_line_is_reported_and_the_rest_read(cut, tmp_path_factory) -> None:
    log = MeasurementLog(tmp_path_factory.mktemp("log") / "log.jsonl")
    log.append(FAILURE)
    log.append(measurement())
    log.path.write_bytes(log.path.read_bytes()[:-cut])
    logger = logging.getLogger("targets.measurement_log")
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logger.addHandler(handler)
    try:
        results = list(log)
        torn = cut > 1  # without its newline only, the line is whole
        assert results == [FAILURE] if torn else [FAILURE, measurement()]
        assert [r.levelname for r in records] == ["WARNING"] * torn
        # what comes after a torn line is not glued to it
        log.append(FAILURE)
        assert list(log)[-1] == FAILURE
    finally:
        logger.removeHandler(handler)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 99}, "schema_version: wanted 1, got 99"),
        ({"kind": "opinion"}, "kind: wanted 'measurement' or 'failure', got 'opinion'"),
        ({"latency_s": []}, "latency_s: wanted positive numbers"),
        ({"latency_s": [-1.0]}, "latency_s: wanted positive numbers"),
        ({"surprise": 1}, "unexpected keyword argument 'surprise'"),
    ],
)
def test_a_whole_line_that_is_no_result_is_an_error_with_file_and_line(
    change, message, tmp_path: Path
) -> None:
    path = tmp_path / "log.jsonl"
    MeasurementLog(path).append(FAILURE)
    with path.open("a") as file:
        file.write(json.dumps(result_to_dict(measurement()) | change) + "\n")
    with pytest.raises(ValueError, match=r"log\.jsonl:2: ") as raised:
        list(MeasurementLog(path))
    assert message in str(raised.value)


def test_a_failure_is_no_measurement() -> None:
    with pytest.raises(ValueError, match="wanted 'measurement', got a failure"):
        measurement_from_dict(result_to_dict(FAILURE))
