import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from targets import (
    EnergyConfig,
    EnergyMeasurement,
    EnergyTrial,
    Failure,
    Interval,
    MeasureConfig,
    Measurement,
    measurement_from_dict,
    result_to_dict,
)
from targets.meters import MeterInfo
from targets.result_json import result_from_dict

FAILURE = Failure("host", "compile", "no such operator", "ab12")
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


@given(
    latency_s=st.lists(seconds, min_size=1, max_size=20),
    energy=st.sampled_from([None, ENERGY, replace(ENERGY, net_j=ENERGY.gross_j)]),
    flags=st.sampled_from([(), ("drifting",), ("clock_unknown", "loaded")]),
)
def test_a_measurement_survives_json_exactly(latency_s, energy, flags) -> None:
    plain = vars(measurement(tuple(latency_s)))
    original = Measurement(**{**plain, "energy": energy, "flags": flags})
    assert measurement_from_dict(json.loads(json.dumps(result_to_dict(original)))) == original


def test_an_energy_measurement_survives_json_exactly() -> None:
    assert result_from_dict(json.loads(json.dumps(result_to_dict(ENERGY)))) == ENERGY


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 99}, "schema_version: wanted 2, got 99"),
        (
            {"kind": "opinion"},
            "kind: wanted one of 'measurement', 'energy', 'failure', got 'opinion'",
        ),
        ({"latency_s": []}, "latency_s: wanted positive numbers"),
        ({"latency_s": [-1.0]}, "latency_s: wanted positive numbers"),
        ({"flags": ["tired"]}, "flags: unknown 'tired'"),
        ({"flags": 1}, "not a measurement: "),
        ({"surprise": 1}, "unexpected keyword argument 'surprise'"),
    ],
)
def test_what_is_no_result_is_refused_with_the_reason(change, message) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        result_from_dict(result_to_dict(measurement()) | change)


def test_a_measurement_from_before_there_were_flags_has_none() -> None:
    document = result_to_dict(measurement())
    del document["flags"]
    assert measurement_from_dict(document) == measurement()


@pytest.mark.parametrize(
    ("flags", "disturbed"),
    [((), False), (("clock_unknown", "loaded"), False), (("loaded", "throttled"), True)],
)
def test_only_a_change_of_speed_disqualifies(flags, disturbed) -> None:
    assert Measurement(**{**vars(measurement()), "flags": flags}).disturbed == disturbed


def test_a_failure_is_no_measurement() -> None:
    with pytest.raises(ValueError, match="wanted 'measurement', got 'failure'"):
        measurement_from_dict(result_to_dict(FAILURE))
