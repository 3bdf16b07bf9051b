"""A search that cannot go on leaves what is there as it was."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hwnas.config import load_config
from hwnas.datasets import load_dataset
from hwnas.errors import UserError
from hwnas.run_folder import SCHEMA_VERSION, RunFolder
from hwnas.scorers import shared_weights
from hwnas.searching import search
from hwnas.target_checking import open_target
from search_spaces import SearchSpace
from targets.meters import MeterError

EXPERIMENT = """
name: digits
target: host-onnxruntime
dataset: {kind: digits}
space: {name: depthwise_separable}
"""


def test_settings_of_a_search_that_another_process_runs_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "digits.yaml"
    path.write_text(EXPERIMENT)
    config = load_config(path, ())
    run = RunFolder(tmp_path / "runs" / "digits")
    run.create(
        {
            "schema_version": SCHEMA_VERSION,
            "config": config.model_dump(mode="json"),
            "base_dir": str(tmp_path),
            "dataset_fingerprint": load_dataset(config.dataset, tmp_path).fingerprint,
            "target_fingerprint": open_target(config.target).fingerprint,
        }
    )
    before = run.manifest_json.read_bytes()
    assert config.deployment.calibration_samples != 64
    with run.lock(), pytest.raises(UserError, match="another process is running this search"):
        search(
            path,
            overrides=["deployment.calibration_samples=64"],
            resume=True,
            runs=tmp_path / "runs",
            predictors=tmp_path / "predictors",
        )
    assert run.manifest_json.read_bytes() == before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["accuracy.scorer=suprnet"], "unknown scorer 'suprnet'. Did you mean 'supernet'?"),
        (
            ["accuracy.scorer=supernet"],
            "networks of the space 'depthwise_separable' cannot share their weights.",
        ),
        (["search.stop.joules=5"], "search.stop.joules: no energy is measured here"),
    ],
)
def test_what_workers_would_refuse_is_refused_before_there_is_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: list[str], message: str
) -> None:
    def refuse(space: SearchSpace) -> None:
        raise shared_weights._not_shareable(space)

    def no_counters(root: str) -> None:
        raise MeterError("no counters")

    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(shared_weights, "check_shareable", refuse)
    monkeypatch.setattr("hwnas.compute_energy.Rapl", no_counters)
    path = tmp_path / "digits.yaml"
    path.write_text(EXPERIMENT)
    runs = tmp_path / "runs"
    with pytest.raises(UserError, match=re.escape(message)):
        search(path, overrides=settings, runs=runs, predictors=tmp_path / "predictors")
    assert not runs.exists()
