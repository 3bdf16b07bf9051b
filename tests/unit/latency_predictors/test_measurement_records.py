"""Measured architectures on disk."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import search_spaces
from latency_predictors import MeasuredArchitecture
from latency_predictors.records import MeasurementRecords
from search_spaces import Architecture, SearchSpace
from targets import Failure, MeasureConfig, Measurement

FAILURE = Failure("board", "timeout", "no answer after 60 s", "ab" * 32)


@pytest.fixture
def space() -> SearchSpace:
    return search_spaces.create("early_exit", input_shape=(1, 8, 8), n_classes=4, n_stages=2)


@pytest.fixture
def records(tmp_path: Path) -> MeasurementRecords:
    return MeasurementRecords(tmp_path / "measurements.jsonl")


def measured(space: SearchSpace, seed: int) -> MeasuredArchitecture:
    rng = np.random.default_rng(seed)
    arch = space.sample(rng)
    graphs = tuple(stage.workloads for stage in space.stages(arch))
    measurements = tuple(
        Measurement(
            target="board",
            model_sha256=f"{seed:064x}",
            artifact_sha256=f"{stage:064x}",
            latency_s=tuple(rng.uniform(1e-5, 1e-3, size=5).tolist()),
            flash_bytes=1000 + stage,
            peak_ram_bytes=500,
            config=MeasureConfig(min_samples=5),
            provenance="measured",
            device_state={"governor": "performance", "load": 0.25, "threads": 1, "clock": None},
            measured_at="2026-01-02T03:04:05+00:00",
            flags=("loaded",) if stage else (),
        )
        for stage in range(len(graphs))
    )
    return MeasuredArchitecture(arch, graphs, measurements)


def append(records: MeasurementRecords, item: MeasuredArchitecture, phase: str) -> None:
    records.append(phase, item.architecture, item.measurements)


def test_what_is_appended_is_read_back_equal_and_in_order(
    records: MeasurementRecords, space: SearchSpace
) -> None:
    items = [measured(space, seed) for seed in range(4)]
    assert {len(item.graphs) for item in items} == {1, 2}
    for item in items:
        append(records, item, "calibration")
    assert MeasurementRecords(records.path).measured(space) == items


def test_phases_are_told_apart(records: MeasurementRecords, space: SearchSpace) -> None:
    one, other = measured(space, 1), measured(space, 2)
    append(records, one, "calibration")
    append(records, other, "front")
    assert records.measured(space, "calibration") == [one]
    assert records.measured(space, "front") == [other]
    assert records.measured(space) == [one, other]
    assert records.measured(space, "no such phase") == []


def test_a_phase_may_measure_other_networks_than_the_space_has(
    records: MeasurementRecords, space: SearchSpace
) -> None:
    two_stages = next(m for m in (measured(space, s) for s in range(9)) if len(m.graphs) == 2)
    append(records, two_stages, "front")
    without_exits = two_stages.measurements[1:]
    records.append("variants", two_stages.architecture, without_exits)
    records.append("variants", two_stages.architecture, without_exits, "1.2 GHz")
    assert records.measured(space, "front") == [two_stages]
    with pytest.raises(ValueError, match="stages: wanted 2, got 1"):
        records.measured(space)


def test_failures_are_kept_on_disk_but_are_no_measurements(
    records: MeasurementRecords, space: SearchSpace
) -> None:
    item = measured(space, 1)
    records.append("calibration", item.architecture, FAILURE)
    append(records, item, "calibration")
    assert records.measured(space) == [item]
    assert "no answer after 60 s" in records.path.read_text().splitlines()[0]


def test_a_file_not_yet_written_holds_nothing(
    records: MeasurementRecords, space: SearchSpace
) -> None:
    assert records.measured(space) == []
    assert not records.path.exists()


def test_a_torn_last_line_is_dropped_wherever_it_was_torn(
    records: MeasurementRecords, space: SearchSpace
) -> None:
    one, other, third = (measured(space, seed) for seed in range(3))
    append(records, one, "calibration")
    whole = records.path.stat().st_size
    append(records, other, "calibration")
    content = records.path.read_bytes()
    for end in np.linspace(whole, len(content) - 2, 12, dtype=int):
        records.path.write_bytes(content[:end])
        reopened = MeasurementRecords(records.path)
        assert reopened.measured(space) == [one]
        append(reopened, third, "calibration")
        assert MeasurementRecords(records.path).measured(space) == [one, third]


def test_a_file_of_one_torn_line_becomes_empty(
    records: MeasurementRecords, space: SearchSpace
) -> None:
    records.path.write_text('{"schema_version": 1, "pha')
    assert MeasurementRecords(records.path).measured(space) == []


def changed(**entries: Any) -> Any:
    return lambda record: {**record, **entries}


def without(key: str) -> Any:
    return lambda record: {k: v for k, v in record.items() if k != key}


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        pytest.param(changed(schema_version=2), "schema_version 2", id="another version"),
        pytest.param(without("schema_version"), "schema_version", id="no version"),
        pytest.param(without("phase"), "phase", id="no phase"),
        pytest.param(without("stages"), "stages", id="no stages"),
        pytest.param(changed(stages=[]), "stages", id="fewer stages than the network has"),
        pytest.param(changed(stages=[{}]), "schema_version", id="an empty measurement"),
        pytest.param(changed(architecture={"space": "early_exit"}), "choices", id="no choices"),
        pytest.param(
            changed(architecture={"space": "early_exit", "choices": {}}), "", id="empty choices"
        ),
        pytest.param(lambda record: [record], "", id="a list"),
    ],
)
def test_a_damaged_line_is_named_with_file_and_number(
    records: MeasurementRecords, space: SearchSpace, damage: Any, reason: str
) -> None:
    for seed in range(2):
        append(records, measured(space, seed), "calibration")
    first, second = records.path.read_text().splitlines()
    records.path.write_text(f"{first}\n{json.dumps(damage(json.loads(second)))}\n")
    with pytest.raises(
        ValueError, match=rf"measurements\.jsonl:2: not a measurement record .*{reason}"
    ):
        MeasurementRecords(records.path).measured(space)


def test_a_line_that_is_not_json_is_named_with_file_and_number(
    records: MeasurementRecords, space: SearchSpace
) -> None:
    records.path.write_bytes(b"\xff\xfe\n")
    with pytest.raises(ValueError, match=r"measurements\.jsonl:1: not JSON"):
        records.measured(space)


@pytest.mark.parametrize(
    "strange",
    [
        pytest.param({"s0_kernel": 9}, id="a value the space does not have"),
        pytest.param({"s7_kernel": 3}, id="a dimension the space does not have"),
    ],
)
def test_an_architecture_that_the_space_does_not_have_is_refused(
    records: MeasurementRecords, space: SearchSpace, strange: dict[str, int]
) -> None:
    item = measured(space, 1)
    choices = dict(item.architecture.choices) | strange
    arch = Architecture(space.name, tuple(sorted(choices.items())))
    records.append("calibration", arch, item.measurements)
    with pytest.raises(ValueError, match=next(iter(strange))):
        records.measured(space)


def test_an_architecture_of_another_space_is_refused(
    records: MeasurementRecords, space: SearchSpace
) -> None:
    item = measured(space, 1)
    other = search_spaces.create("depthwise_separable", input_shape=(1, 8, 8), n_classes=4)
    records.append("calibration", other.sample(np.random.default_rng(0)), item.measurements)
    with pytest.raises(ValueError, match="not a measurement record"):
        records.measured(space)
