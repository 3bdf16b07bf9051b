"""Who runs quantized models is checked before they are made."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from hwnas.errors import UserError
from hwnas.target_checking import check_quantized_target
from targets import TargetSpec, load_spec
from targets.spec import BOARDS

HOST = yaml.safe_load((BOARDS / "host.yaml").read_text())


def described(folder: Path, **changes: Any) -> TargetSpec:
    """Return a target that is like ``host`` but for some keys, read from a file."""
    document = HOST | {"name": "mine"} | changes
    path = folder / f"{document['name']}.yaml"
    path.write_text(yaml.safe_dump(document))
    return load_spec(path)


def recording(folder: Path) -> Path:
    """Return a file that a replay can be made of."""
    path = folder / "recording.jsonl"
    path.write_text(
        '{"schema_version": 2, "kind": "failure", "target": "t", "stage": "run", "message": "-"}\n'
    )
    return path


@pytest.mark.parametrize("name", [None, "host-onnxruntime"])
def test_a_target_names_none_or_one_that_runs_them(tmp_path: Path, name: str | None) -> None:
    check_quantized_target(described(tmp_path, quantized_target=name))


def test_it_may_be_named_by_a_file_beside_it(tmp_path: Path) -> None:
    shutil.copyfile(BOARDS / "host-onnxruntime.yaml", tmp_path / "int8.yaml")
    check_quantized_target(described(tmp_path, quantized_target="int8.yaml"))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("host-onnxruntim", r"unknown name .* Did you mean 'host-onnxruntime'\?"),
        ("missing.yaml", r"missing\.yaml: cannot be read"),
        ("host", "backend 'tvm', whose code computes quantized models in float32"),
        ("mine", "backend 'tvm'"),
    ],
)
def test_who_cannot_run_them_is_refused_in_one_line(tmp_path: Path, name: str, told: str) -> None:
    with pytest.raises(UserError, match=f"target 'mine': quantized_target: .*{told}") as raised:
        check_quantized_target(described(tmp_path, quantized_target=name))
    assert "\n" not in str(raised.value)


def test_a_recording_is_not_mixed_with_what_is_measured_now(tmp_path: Path) -> None:
    replay = {"backend": "replay", "recording": str(recording(tmp_path))}
    with pytest.raises(UserError, match="'mine' and 'host-onnxruntime', one replays a recording"):
        check_quantized_target(described(tmp_path, **replay, quantized_target="host-onnxruntime"))
    check_quantized_target(described(tmp_path, **replay, quantized_target="mine"))
    other = described(tmp_path, name="replayed", **replay, quantized_target=None)
    with pytest.raises(UserError, match="'mine' and 'replayed', one replays a recording"):
        check_quantized_target(described(tmp_path, quantized_target=f"{other.name}.yaml"))
