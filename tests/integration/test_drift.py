"""``hwnas targets check`` on a real device beside predictors that match it, or no longer do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hwnas.drift import drift_steps
from hwnas.target_checking import open_target

if TYPE_CHECKING:
    from conftest import TinySearch


@pytest.fixture
def predictors(tiny: TinySearch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HWNAS_CACHE", str(tiny.cache))
    folder = tmp_path / "predictors"
    shutil.copytree(tiny.predictors, folder)
    return folder


def with_report(predictors: Path, change: Any) -> None:
    (path,) = predictors.glob("*/*/predictor.json")
    document = json.loads(path.read_text())
    change(document["report"])
    path.write_text(json.dumps(document))


def test_a_board_a_hundred_times_as_fast_no_longer_matches_and_the_code_is_3(
    predictors: Path, tiny: TinySearch
) -> None:
    def slow(report: Any) -> None:
        # both measurements alike, so that the noise of a busy machine does not hide the change
        for anchor in report["anchors"]:
            anchor["latency_s"] = [100 * anchor["latency_s"][0], 101 * anchor["latency_s"][0]]

    with_report(predictors, slow)
    check = subprocess.run(
        [
            *(sys.executable, "-m", "hwnas", "targets", "check", "host-onnxruntime"),
            *("--predictors", str(predictors), "--json"),
        ],
        capture_output=True,
        text=True,
        env=os.environ | {"HWNAS_CACHE": str(tiny.cache)},
    )
    steps = json.loads(check.stdout)
    (step,) = [step for step in steps if step["name"].startswith("drift of depthwise_separable-")]
    assert check.returncode == 3, check.stderr
    assert not step["ok"]
    assert "no longer matches" in step["detail"]
    assert "99%" in step["detail"]
    assert "--fresh" in step["fix"]


def test_a_change_within_what_repeats_differ_by_is_none(predictors: Path) -> None:
    def noisy(report: Any) -> None:
        # repeats that differ a thousandfold: whatever is measured now may be chance
        for anchor in report["anchors"]:
            first = anchor["latency_s"][0]
            anchor["latency_s"] = [first / 30, first * 30]

    with_report(predictors, noisy)
    with open_target("host-onnxruntime") as target:
        (step,) = drift_steps(target, predictors)
    # a machine too busy to measure undisturbed says so, and claims nothing
    assert step.ok or "throttled or drifting" in step.detail


def test_predictors_without_repeats_cannot_tell_and_damaged_anchors_say_so(
    predictors: Path,
) -> None:
    with_report(predictors, lambda report: report.pop("anchors"))
    with open_target("host-onnxruntime") as target:
        (step,) = drift_steps(target, predictors)
        assert (step.ok, step.detail) == (True, "not known: no measurement was repeated")
        with_report(predictors, lambda report: report.update(anchors=[{"latency_s": [1.0]}]))
        (step,) = drift_steps(target, predictors)
        assert not step.ok
        assert step.detail.startswith("anchors: damaged")


def test_without_predictors_there_is_nothing_to_compare(tmp_path: Path) -> None:
    with open_target("host-onnxruntime") as target:
        assert drift_steps(target, tmp_path) == []
