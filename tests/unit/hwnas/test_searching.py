"""A search that cannot go on leaves what is there as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwnas.config import load_config
from hwnas.datasets import load_dataset
from hwnas.errors import UserError
from hwnas.run_folder import SCHEMA_VERSION, RunFolder
from hwnas.searching import search
from hwnas.target_checking import open_target

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
