import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import targets
from targets import TargetSpec
from targets.spec import ACCEPTED_RISK, BOARDS

HOST = yaml.safe_load((BOARDS / "host.yaml").read_text())


def write(folder: Path, document: object) -> Path:
    path = folder / "board.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.mark.parametrize("name", targets.names())
def test_every_packaged_board_is_named_like_its_file(name: str) -> None:
    spec = targets.load_spec(name)
    assert spec.name == name
    assert spec.threads == 1
    assert spec.energy_model.source


def test_a_users_own_file_is_read_by_its_path(tmp_path: Path) -> None:
    path = write(tmp_path, HOST | {"name": "my-board", "threads": 4})
    spec = targets.load_spec(path)
    assert (spec.name, spec.threads) == ("my-board", 4)
    assert spec == targets.load_spec(str(path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"thread": 2}, "thread: unknown key. Did you mean 'threads'?"),
        ({"threads": 0}, "threads: Input should be greater than or equal to 1, got 0"),
        ({"threads": "two"}, "threads: Input should be a valid integer"),
        ({"name": "../host"}, "name: String should match pattern"),
        ({"provenance": "guessed"}, "provenance: Input should be"),
        ({"description": None}, "description: Input should be a valid string, got None"),
        (
            {"energy_model": HOST["energy_model"] | {"static_power": 1}},
            "energy_model.static_power: unknown key. Did you mean 'static_power_w'?",
        ),
        (
            {"energy_model": HOST["energy_model"] | {"energy_per_mac_j": -1}},
            "energy_model.energy_per_mac_j: Input should be greater than or equal to 0, got -1",
        ),
        ({"energy_model": {}}, "energy_model.static_power_w: missing"),
        (
            {"backend": "onnxruntime", "rpc": {"tracker": "127.0.0.1:9190", "key": "rpi4"}},
            "rpc is for boards, and backend 'onnxruntime' stays on this computer",
        ),
        ({"backend": "replay", "linker": "cc"}, "linker is for boards, and backend 'replay'"),
        ({"rpc": {"tracker": "9190", "key": "k"}}, "rpc.tracker: String should match pattern"),
        (
            {"rpc": {"tracker": "127.0.0.1:91900", "key": "k"}},
            "rpc: tracker 127.0.0.1:91900: ports end at 65535",
        ),
        (
            {"rpc": {"tracker": "127.0.0.1:9190", "key": "k", "wait": 1}},
            "rpc.wait: unknown key. Did you mean 'wait_s'?",
        ),
    ],
)
def test_an_error_names_file_key_what_was_wanted_and_what_came(
    change: dict[str, object], message: str, tmp_path: Path
) -> None:
    path = write(tmp_path, HOST | change)
    with pytest.raises(ValueError, match=re.escape(f"{path}: {message}")) as raised:
        targets.load_spec(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "tracker", ["10.0.0.2:9190", "192.168.1.9:9190", "0.0.0.0:9190", "[2001:db8::1]:9190", "lab:1"]
)
def test_a_tracker_that_others_can_reach_needs_the_risk_accepted_in_words(
    tracker: str, tmp_path: Path
) -> None:
    rpc = {"tracker": tracker, "key": "rpi4"}
    for words in (None, "yes", "true", ACCEPTED_RISK.upper()):
        path = write(tmp_path, HOST | {"rpc": rpc | {"accept_risk": words}})
        with pytest.raises(ValueError, match=r"ssh -L 9190:127\.0\.0\.1:9190") as caught:
            targets.load_spec(path)
        assert f"rpc: tracker {tracker} is not on loopback" in str(caught.value)
        assert ACCEPTED_RISK in str(caught.value)
    path = write(tmp_path, HOST | {"rpc": rpc | {"accept_risk": ACCEPTED_RISK}})
    accepted = targets.load_spec(path).rpc
    assert accepted is not None
    assert accepted.tracker == tracker


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "[::1]", "localhost"])
def test_a_tracker_on_loopback_needs_no_words(host: str, tmp_path: Path) -> None:
    path = write(tmp_path, HOST | {"rpc": {"tracker": f"{host}:9190", "key": "rpi4"}})
    assert targets.load_spec(path).rpc is not None


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, {k: v for k, v in HOST.items() if k != "backend"})
    with pytest.raises(ValueError, match="backend: missing"):
        targets.load_spec(path)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'hots'.* Did you mean 'host'\? Known: .*host,"):
        targets.load_spec("hots")


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.yaml: cannot be read \(No such file"):
        targets.load_spec(tmp_path / "none.yaml")


@given(text=st.text(max_size=60))
def test_any_text_is_a_description_or_one_line_of_error(
    text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(str(path))) as raised:
        targets.load_spec(path)
    assert len(str(raised.value).splitlines()) == 1


def test_yaml_cannot_make_python_objects(tmp_path: Path) -> None:
    path = tmp_path / "evil.yaml"
    path.write_text("!!python/object/apply:os.system ['true']")
    with pytest.raises(ValueError, match="not YAML"):
        targets.load_spec(path)


def test_the_fingerprint_covers_what_changes_a_measurement_and_nothing_else() -> None:
    spec = TargetSpec(**HOST)
    energy = HOST["energy_model"] | {"static_power_w": 9.0}
    assert TargetSpec(**HOST | {"description": "d"}).fingerprint == spec.fingerprint
    assert TargetSpec(**HOST | {"energy_model": energy}).fingerprint == spec.fingerprint
    for change in ({"threads": 2}, {"tvm_target": {"mcpu": "haswell"}}, {"backend": "other"}):
        assert TargetSpec(**HOST | change).fingerprint != spec.fingerprint


def test_an_unknown_backend_says_how_to_register_one(tmp_path: Path) -> None:
    path = write(tmp_path, HOST | {"backend": "tmv"})
    with pytest.raises(ValueError, match=r"unknown 'tmv'.*hwnas\.target_backends"):
        targets.create(path)


def test_who_runs_quantized_models_is_found_from_where_the_file_lies(tmp_path: Path) -> None:
    named = write(tmp_path, HOST | {"quantized_target": "host-onnxruntime"})
    assert targets.load_spec(named).quantized_target == "host-onnxruntime"
    with_one = targets.load_spec(named).fingerprint
    beside = write(tmp_path, HOST | {"quantized_target": "board-int8.yaml"})
    assert targets.load_spec(beside).quantized_target == str(tmp_path / "board-int8.yaml")
    without = write(tmp_path, {k: v for k, v in HOST.items() if k != "quantized_target"})
    assert targets.load_spec(without).quantized_target is None
    # no latency changes by it: what was measured before stays valid
    assert targets.load_spec(without).fingerprint == with_one


@pytest.mark.parametrize("name", targets.names())
def test_quantized_models_of_packaged_targets_run_where_they_can(name: str) -> None:
    other = targets.load_spec(name).quantized_target
    assert (other is None) == (targets.load_spec(name).rpc is not None)
    assert other is None or targets.load_spec(other).backend == "onnxruntime"
