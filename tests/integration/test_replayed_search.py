"""A search whose target is the recording of an earlier one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

import hwnas
from hwnas.run_folder import RunFolder
from targets.spec import BOARDS

if TYPE_CHECKING:
    from conftest import TinySearch


@pytest.fixture
def replay(tmp_path: Path) -> Path:
    """Describe a replay of ``recording.jsonl``, beside it."""
    board = yaml.safe_load((BOARDS / "host-onnxruntime.yaml").read_text())
    path = tmp_path / "replay.yaml"
    changes = {"name": "replay", "backend": "replay", "recording": "recording.jsonl"}
    path.write_text(yaml.safe_dump(board | changes | {"quantized_target": "replay"}))
    return path


def without_names(front: Any) -> Any:
    """Return a front without what names the target, and without how long trainings took.

    Nor with how well measurements repeat: a recording answers with the very same samples.
    """
    evaluations = [{k: v for k, v in e.items() if k != "seconds"} for e in front["evaluations"]]
    calibration = front["calibration"] | {"noise": None, "anchors": None}
    return front | {"target": None, "evaluations": evaluations, "calibration": calibration}


def variants(run: RunFolder) -> tuple[str, list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the baseline, variants and attempts of a run, without names of targets."""
    text = run.variants_json.read_text().replace("-host-onnxruntime-", "-replay-")
    document = json.loads(text)
    of = [{k: v for k, v in item.items() if k != "target"} for item in document["variants"]]
    return document["baseline"], of, document["attempts"]


def test_a_search_on_the_recording_of_a_search_gives_the_same_numbers(
    tiny: TinySearch, replay: Path, tmp_path: Path
) -> None:
    """Every latency of the second search was measured in the first: calibration to variants."""
    experiment, runs = tiny.experiment, tmp_path / "runs"

    def search(folder: str, *overrides: str) -> RunFolder:
        own = tmp_path / folder / "predictors"
        return hwnas.search(
            experiment, overrides=overrides, runs=runs / folder, predictors=own, workers=1
        )

    first = search("first")
    recording = tmp_path / "recording.jsonl"
    recording.write_bytes(first.measurements.read_bytes())
    second = search("second", f"target={replay}")
    assert without_names(second.front()) == without_names(first.front())
    assert second.measurements.read_bytes() == first.measurements.read_bytes()
    assert json.loads(second.manifest_json.read_text())["config"]["target"] == str(replay)
    assert variants(second) == variants(first)
    _, found, _ = variants(second)
    assert {"float32", "int8"} <= {v["precision"] for v in found}
    assert {v["metrics"]["latency_s"]["provenance"] for v in found} == {"measured"}


def test_a_search_that_wants_what_was_not_recorded_says_so(
    tiny: TinySearch, replay: Path, tmp_path: Path
) -> None:
    (tmp_path / "recording.jsonl").write_bytes(
        next(tiny.predictors.rglob("measurements.jsonl")).read_bytes()
    )
    with pytest.raises(hwnas.UserError, match=r"recording\.jsonl: this model was not recorded"):
        hwnas.search(
            tiny.experiment,
            overrides=[f"target={replay}", "seed=99"],
            runs=tmp_path / "runs",
            predictors=tmp_path / "predictors",
            workers=1,
        )
