"""A search small enough for tests, calibrated once for all of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import hwnas
import targets
from hwnas.run_folder import RunFolder
from targets.tvm_target import TvmTarget
from tests.integration.board_rack import Rack, board_file

# 16 architectures, each trained in a fraction of a second
EXPERIMENT = """\
name: tiny
dataset: {kind: digits}
space:
  name: depthwise_separable
  n_stages: 1
  choices:
    stem_width: [8]
    width_multiplier: [1.0]
    stride_plan: ["2-2"]
    depth: [1, 2]
    width: [8, 12]
    kernel: [3, 5]
    expansion: [1, 2]
    se: [0]
    activation: [relu6]
target: host-onnxruntime
objectives: [accuracy, latency]
calibration: {samples: 8, held_out: 0}
training: {epochs: 2}
accuracy: {scorer: full}
search: {evaluations: 6, batch: 3, warm_start: 3}
finalists: {count: 1, seeds: 2}
"""


@dataclass(frozen=True)
class TinySearch:
    """An experiment, its predictors, and the real command.

    Args:
        experiment: The experiment file.
        predictors: Calibrated; a search refits them, so each gets a copy.
        cache: Of artifacts and measurements.
    """

    experiment: Path
    predictors: Path
    cache: Path

    def arguments(self, folder: Path) -> list[str]:
        """Return the arguments of a search in a folder, with its own predictors."""
        own = folder / "predictors"
        if not own.exists():
            shutil.copytree(self.predictors, own)
        return ["search", str(self.experiment), "--runs", str(folder), "--predictors", str(own)]

    def search(self, folder: Path, *overrides: str, **options: object) -> RunFolder:
        """Search in this process."""
        self.arguments(folder)
        return hwnas.search(
            self.experiment,
            overrides=overrides,
            runs=folder,
            predictors=folder / "predictors",
            **options,  # type: ignore[arg-type]
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the command, in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "hwnas", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"HWNAS_CACHE": str(self.cache)},
            text=True,
            start_new_session=True,
        )


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinySearch]:
    folder = tmp_path_factory.mktemp("tiny")
    search = TinySearch(folder / "tiny.yaml", folder / "predictors", folder / "cache")
    search.experiment.write_text(EXPERIMENT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HWNAS_CACHE", str(search.cache))
        hwnas.calibrate(
            "host-onnxruntime",
            str(search.experiment),
            samples=8,
            held_out=0,
            predictors=search.predictors,
        )
        yield search


@pytest.fixture(scope="session")
def finished(tiny: TinySearch, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run; tests copy what they damage."""
    return tiny.search(tmp_path_factory.mktemp("finished"), workers=1)


@pytest.fixture
def rack() -> Iterator[Rack]:
    rack = Rack()
    yield rack
    rack.close()


@pytest.fixture
def target(rack: Rack, tmp_path: Path) -> Iterator[TvmTarget]:
    with targets.create(board_file(tmp_path, rack.port), cache_dir=tmp_path / "cache") as target:
        assert isinstance(target, TvmTarget)
        yield target
