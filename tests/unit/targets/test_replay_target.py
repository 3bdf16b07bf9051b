"""A recording of real measurements, replayed. `TargetTestCase` does not apply: it runs models."""

import hashlib
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

import targets
from targets import Artifact, Failure, JsonLines, MeasureConfig, Measurement, Target, result_to_dict
from targets.cache import open_measurement_log
from targets.parity import random_inputs
from targets.spec import BOARDS
from targets.testing import QUICK, small_model, unknown_operator_model

BOARD = yaml.safe_load((BOARDS / "host-onnxruntime.yaml").read_text())
MODEL = small_model()


@dataclass(frozen=True)
class Recorded:
    """What a real target said, and the log it left."""

    log: Path
    artifact: Artifact
    measurement: Measurement
    failure: Failure


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    folder = tmp_path_factory.mktemp("cache")
    with targets.create("host-onnxruntime", cache_dir=folder) as target:
        artifact = target.compile(MODEL)
        assert isinstance(artifact, Artifact), artifact
        measurement = target.measure(artifact, QUICK)
        assert isinstance(measurement, Measurement), measurement
        failure = target.compile(unknown_operator_model())
        assert isinstance(failure, Failure)
    return Recorded(open_measurement_log(folder).path, artifact, measurement, failure)


def describe(folder: Path, **changes: object) -> Path:
    """Write a description of a replay of ``log.jsonl`` beside it."""
    path = folder / "replayed.yaml"
    document = BOARD | {"name": "replayed", "backend": "replay", "recording": "log.jsonl"}
    path.write_text(yaml.safe_dump(document | changes))
    return path


@pytest.fixture
def replayed(recorded: Recorded, tmp_path: Path) -> Target:
    shutil.copyfile(recorded.log, tmp_path / "log.jsonl")
    return targets.create(describe(tmp_path))


def test_it_has_all_members_of_a_target(replayed: Target) -> None:
    assert isinstance(replayed, Target)
    assert replayed.name == replayed.spec.name == "replayed"


def test_a_recorded_model_costs_exactly_what_it_cost(recorded: Recorded, replayed: Target) -> None:
    with replayed:
        artifact = replayed.compile(MODEL)
        assert isinstance(artifact, Artifact), artifact
        assert replayed.measure(artifact, QUICK) == recorded.measurement
        assert replayed.measure(artifact, QUICK, fresh=True) == recorded.measurement
    same = ("sha256", "model_sha256", "flash_bytes", "peak_ram_bytes", "input_shapes")
    for name in same:
        assert getattr(artifact, name) == getattr(recorded.artifact, name)


def test_provenance_and_target_stay_those_of_the_recording(
    recorded: Recorded, tmp_path: Path
) -> None:
    emulated = replace(recorded.measurement, provenance="emulated", flags=("drifting",))
    JsonLines(tmp_path / "log.jsonl").append(result_to_dict(emulated))
    target = targets.create(describe(tmp_path, provenance="measured"))
    artifact = target.compile(MODEL)
    assert isinstance(artifact, Artifact), artifact
    assert target.measure(artifact, QUICK) == emulated


def test_the_last_of_several_measurements_counts(recorded: Recorded, tmp_path: Path) -> None:
    log = JsonLines(tmp_path / "log.jsonl")
    again = replace(recorded.measurement, latency_s=(1.0, 2.0))
    for measurement in (recorded.measurement, again):
        log.append(result_to_dict(measurement))
    target = targets.create(describe(tmp_path))
    artifact = target.compile(MODEL)
    assert isinstance(artifact, Artifact), artifact
    assert target.measure(artifact, QUICK) == again


def test_a_runs_measurements_are_a_recording(recorded: Recorded, tmp_path: Path) -> None:
    """They come in stages, with an architecture that a target knows nothing of."""
    log = JsonLines(tmp_path / "log.jsonl")
    first = replace(recorded.measurement, model_sha256="of another stage")
    stages = [result_to_dict(m) for m in (first, recorded.measurement)]
    common = {"schema_version": 1, "phase": "front", "architecture": {"space": "s"}}
    log.append(common | {"stages": stages})
    log.append(common | {"failure": result_to_dict(recorded.failure)})
    target = targets.create(describe(tmp_path))
    artifact = target.compile(MODEL)
    assert isinstance(artifact, Artifact), artifact
    assert target.measure(artifact, QUICK) == recorded.measurement
    assert target.compile(unknown_operator_model()) == recorded.failure


def test_what_a_run_measured_at_another_clock_is_not_replayed(
    recorded: Recorded, tmp_path: Path
) -> None:
    log = JsonLines(tmp_path / "log.jsonl")
    slower = replace(recorded.measurement, latency_s=(1.0, 2.0))
    common = {"schema_version": 1, "phase": "variants", "architecture": {"space": "s"}}
    log.append(common | {"stages": [result_to_dict(recorded.measurement)]})
    log.append(common | {"device_point": "0.6 GHz", "stages": [result_to_dict(slower)]})
    target = targets.create(describe(tmp_path))
    artifact = target.compile(MODEL)
    assert isinstance(artifact, Artifact), artifact
    assert target.measure(artifact, QUICK) == recorded.measurement


def test_models_that_another_target_ran_are_replayed_beside_those_of_the_own_one(
    recorded: Recorded, tmp_path: Path
) -> None:
    log = JsonLines(tmp_path / "log.jsonl")
    other = small_model(seed=1)
    sha256 = hashlib.sha256(other.SerializeToString(deterministic=True)).hexdigest()
    int8 = replace(recorded.measurement, target="pi-int8", model_sha256=sha256, latency_s=(1e-3,))
    for measurement in (recorded.measurement, int8):
        log.append(result_to_dict(measurement))
    target = targets.create(describe(tmp_path))
    for model, wanted in ((MODEL, recorded.measurement), (other, int8)):
        artifact = target.compile(model)
        assert isinstance(artifact, Artifact), artifact
        assert target.measure(artifact, QUICK) == wanted


def test_a_recorded_failure_fails_again_in_the_same_words(
    recorded: Recorded, replayed: Target
) -> None:
    assert replayed.compile(unknown_operator_model()) == recorded.failure


def test_a_model_that_was_not_recorded_is_a_failure_that_says_so(replayed: Target) -> None:
    failure = replayed.compile(small_model(seed=1))
    assert isinstance(failure, Failure)
    assert failure.target == "replayed"
    assert re.search(r"log\.jsonl: this model was not recorded", failure.message)


def test_settings_that_were_not_recorded_are_a_failure_that_says_so(replayed: Target) -> None:
    artifact = replayed.compile(MODEL)
    assert isinstance(artifact, Artifact), artifact
    failure = replayed.measure(artifact, MeasureConfig(min_samples=3))
    assert isinstance(failure, Failure)
    assert "not recorded with these settings" in failure.message
    assert "min_samples=3" in failure.message


def test_outputs_are_not_recorded(replayed: Target) -> None:
    artifact = replayed.compile(MODEL)
    assert isinstance(artifact, Artifact), artifact
    failure = replayed.run(artifact, random_inputs(MODEL, seed=0))
    assert isinstance(failure, Failure)
    assert "a recording runs no models" in failure.message


def test_the_fingerprint_is_of_the_content_wherever_it_lies(
    recorded: Recorded, tmp_path: Path
) -> None:
    fingerprints = []
    for name in ("here", "there", "more"):
        folder = tmp_path / name
        folder.mkdir()
        shutil.copyfile(recorded.log, folder / "log.jsonl")
        if name == "more":
            JsonLines(folder / "log.jsonl").append(result_to_dict(recorded.failure))
        fingerprints.append(targets.create(describe(folder)).fingerprint)
    here, there, more = fingerprints
    assert here == there != more


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"log\.jsonl: no recording; the file is missing or empty"),
        (b"[1]\n", r"log\.jsonl:1: not a recorded measurement"),
        (b'{"a": \n', r"log\.jsonl:1: not a recorded measurement"),
        (b'{"stages": [{}]}\n', r"log\.jsonl:1: not a recorded measurement \(schema_version"),
    ],
)
def test_what_is_no_recording_is_refused_in_one_line(
    content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / "log.jsonl").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        targets.create(describe(tmp_path))


def test_a_model_of_two_targets_is_refused_with_the_way_out(
    recorded: Recorded, tmp_path: Path
) -> None:
    log = JsonLines(tmp_path / "log.jsonl")
    for name in ("pi", "jetson"):
        log.append(result_to_dict(replace(recorded.measurement, target=name)))
    with pytest.raises(ValueError, match=r"jetson, pi\. .*hwnas targets log jetson --export"):
        targets.create(describe(tmp_path))


def test_a_replay_without_a_recording_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="target 'replayed': recording: missing"):
        targets.create(describe(tmp_path, recording=None))


def test_a_recording_elsewhere_is_named_by_an_absolute_path(
    recorded: Recorded, tmp_path: Path
) -> None:
    spec = targets.load_spec(describe(tmp_path, recording=str(recorded.log)))
    assert spec.recording == recorded.log
