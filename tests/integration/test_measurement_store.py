"""What is measured through the command line is recorded, exported, and replayed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
import yaml

from targets.spec import BOARDS
from targets.testing import small_model


class Workplace:
    """A folder with a model and a cache, and the command in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "cache" / "measurements.jsonl"
        onnx.save(small_model(), folder / "model.onnx")

    def command(self, *arguments: str, prelude: str = "") -> subprocess.CompletedProcess[str]:
        code = f"{prelude}\nimport sys\nfrom hwnas.cli import main\nmain()"
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=self.folder,
            env=os.environ | {"HWNAS_CACHE": str(self.folder / "cache")},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def json(self, *arguments: str) -> Any:
        done = self.command(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("place"))


@pytest.fixture(scope="module")
def measured(place: Workplace) -> Any:
    return place.json("measure", "host-onnxruntime", "model.onnx")


def test_a_measurement_is_in_the_log_with_its_numbers(place: Workplace, measured: Any) -> None:
    newest = place.json("targets", "log", "host-onnxruntime")[-1]
    assert newest["model_sha256"] == measured["model_sha256"]
    assert newest["latency_median_s"] == measured["latency_s"]["value"]
    assert newest["latency_p99_s"] == measured["latency_s"]["p99"]
    assert newest["samples"] == measured["latency_s"]["samples"]


@pytest.fixture(scope="module")
def replay(place: Workplace, measured: Any) -> str:
    """Export the log, and describe a target that replays it."""
    exported = place.json("targets", "log", "host-onnxruntime", "--export", "recorded.jsonl")
    assert exported["records"] >= 1
    board = yaml.safe_load((BOARDS / "host-onnxruntime.yaml").read_text())
    changes = {"name": "recorded", "backend": "replay", "recording": "recorded.jsonl"}
    (place.folder / "recorded.yaml").write_text(yaml.safe_dump(board | changes))
    return "recorded.yaml"


def test_an_exported_log_replays_the_very_same_measurement(
    place: Workplace, measured: Any, replay: str
) -> None:
    assert place.json("measure", replay, "model.onnx") == measured


def test_a_model_that_was_not_recorded_cannot_be_replayed(place: Workplace, replay: str) -> None:
    onnx.save(small_model(seed=1), place.folder / "other.onnx")
    done = place.command("measure", replay, "other.onnx")
    assert done.returncode == 2
    assert "recorded.jsonl: this model was not recorded" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_disk_that_is_full_when_a_measurement_is_recorded_damages_nothing(
    place: Workplace, measured: Any
) -> None:
    """A limit on file sizes lets the log grow by 100 bytes: the record is cut short."""
    before = place.log.read_bytes()
    limit = len(before) + 100
    done = place.command(
        "measure",
        "host-onnxruntime",
        "model.onnx",
        prelude=f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit},) * 2)",
    )
    assert done.returncode == 2
    assert f"{place.log}: no space left" in done.stderr
    assert done.stderr.count("\n") == 1
    assert place.log.read_bytes() == before
    again = place.json("measure", "host-onnxruntime", "model.onnx")
    assert place.log.read_bytes().startswith(before)
    assert again["model_sha256"] == measured["model_sha256"]
