"""Workers that join a search: by its folder or by its storage, here or elsewhere."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import pytest
from optuna.trial import TrialState

from hwnas.config import parse_config
from hwnas.errors import UserError
from hwnas.progress import SilentProgress
from hwnas.run_folder import RunFolder
from hwnas.search_budget import BUDGET, Budget
from hwnas.storages import open_storage
from tests.integration.board_rack import wait_until

if TYPE_CHECKING:
    from conftest import TinySearch

_TIMEOUT_S = 120


def hwnas(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hwnas", *arguments],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
        **options,
    )


class Phases(SilentProgress):
    """Remembers what a search was doing."""

    def __init__(self) -> None:
        self.totals: dict[str, int] = {}

    def phase(self, title: str, total: int) -> None:
        self.totals[title] = total


def test_a_worker_that_joins_shares_the_work(tiny: TinySearch, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/studies.db"
    process = tiny.start(
        *tiny.arguments(tmp_path),
        *("--workers", "1", "--set", f"search.storage={url}", "--set", "search.evaluations=16"),
    )
    # weights appear once the study is there
    assert wait_until(lambda: any((tmp_path / "tiny").glob("checkpoints/*.safetensors")), 60)
    (tmp_path / "elsewhere").mkdir()
    joined = hwnas("worker", url, "--study", "tiny", "--json", cwd=tmp_path / "elsewhere")
    assert joined.returncode == 0, joined.stderr
    errors = process.communicate(timeout=_TIMEOUT_S)[1]
    assert process.returncode == 0, errors
    evaluations = RunFolder(tmp_path / "tiny").front()["evaluations"]
    assert len({e["arch_id"] for e in evaluations}) == len(evaluations) == 16
    assert json.loads(joined.stdout)["evaluated"] < 16


def test_a_worker_of_a_finished_search_has_nothing_to_do(finished: RunFolder) -> None:
    done = hwnas("worker", str(finished.path))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "0 candidates evaluated here; nothing is left to do\n"


def test_a_worker_that_is_terminated_gives_back_what_it_evaluates(
    tiny: TinySearch, finished: RunFolder, tmp_path: Path
) -> None:
    shutil.copytree(finished.path, tmp_path / "tiny")
    manifest = json.loads((tmp_path / "tiny" / "manifest.json").read_text())
    config = parse_config(manifest["config"], "manifest.json")
    url = f"journal://{tmp_path}/tiny/study.journal"
    study = optuna.load_study(study_name="tiny", storage=open_storage(url))
    search = config.search.model_copy(update={"evaluations": 16})
    more = Budget.of(config.model_copy(update={"search": search}))
    study.set_user_attr(BUDGET, more.model_dump_json())
    process = tiny.start("worker", str(tmp_path / "tiny"))

    def running() -> list[optuna.trial.FrozenTrial]:
        return study.get_trials(deepcopy=False, states=[TrialState.RUNNING])

    assert wait_until(lambda: process.poll() is not None or bool(running()), 60)
    time.sleep(0.05)  # recorded, it is then claimed
    process.terminate()
    errors = process.communicate(timeout=_TIMEOUT_S)[1]
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert errors.strip() == ""
    assert not running()
    (last,) = [t for t in study.trials if t.state == TrialState.FAIL]
    assert last.user_attrs["abandoned"] == "released"


def test_a_storage_named_by_a_relative_path_is_the_same_for_workers_and_after_resuming(
    tiny: TinySearch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = os.path.relpath(tmp_path / "studies.journal", tiny.experiment.parent)
    overrides = (f"search.storage={storage}", "search.evaluations=2", "deployment.members=1")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    run = tiny.search(tmp_path, *overrides, workers=1)
    assert run.manifest()["config"]["search"]["storage"] == f"journal://{tmp_path}/studies.journal"
    monkeypatch.chdir(tmp_path)
    assert hwnas("worker", str(run.path)).returncode == 0
    (tmp_path / "studies.journal").unlink()
    with pytest.raises(UserError, match=r"search\.storage: holds no search 'tiny', though"):
        tiny.search(tmp_path, *overrides, workers=1, resume=True)


def test_a_run_of_another_hwnas_is_told_in_one_line(finished: RunFolder, tmp_path: Path) -> None:
    manifest = finished.manifest()
    manifest["config"]["search"]["new"] = 1
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    failed = hwnas("worker", str(tmp_path))
    assert failed.returncode == 2
    (line,) = failed.stderr.splitlines()
    assert line.startswith(f"{tmp_path}/manifest.json: search.new: unknown key.")


def test_weights_that_are_elsewhere_are_trained_again_and_are_the_same(
    tiny: TinySearch, finished: RunFolder, tmp_path: Path
) -> None:
    shutil.copytree(finished.path, tmp_path / "tiny")
    run = RunFolder(tmp_path / "tiny")
    expected = json.loads(run.front_json.read_text())["candidates"]
    run.front_json.unlink()
    for path in run.checkpoints.iterdir():
        path.unlink()
    lines = run.measurements.read_text().splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["phase"] != "front"]
    run.measurements.write_text("".join(kept))

    phases = Phases()
    tiny.search(tmp_path, resume=True, workers=1, progress=phases)
    assert phases.totals["Training candidates"] == 0
    assert phases.totals["Training again what was trained elsewhere"] > 0
    found = run.front()["candidates"]
    assert searched_accuracies(found).items() & searched_accuracies(expected).items()
    both = searched_accuracies(found).keys() & searched_accuracies(expected).keys()
    assert all(searched_accuracies(found)[i] == searched_accuracies(expected)[i] for i in both)


def searched_accuracies(candidates: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return on validation, what the weights of the search have; not those of finalists."""
    found = {}
    for candidate in candidates:
        metrics = candidate["metrics"]
        kept = metrics.get("search_validation_accuracy", metrics["validation_accuracy"])
        found[candidate["arch_id"]] = kept["value"]
    return found


@pytest.mark.parametrize(
    ("location", "options", "message"),
    [
        ("sqlite:///{}/x.db", ["--study", "gone"], "no search 'gone' is running there"),
        ("sqlite:///{}/x.db", [], "which search? Give its name with --study NAME"),
        ("{}", [], "not a run folder"),
        ("oracle://{}", ["--study", "x"], "no kind of storage is named 'oracle'"),
    ],
)
def test_who_cannot_join_is_told_why(
    tmp_path: Path, location: str, options: list[str], message: str
) -> None:
    failed = hwnas("worker", location.format(tmp_path), *options)
    assert failed.returncode == 2, failed.stderr
    (line,) = failed.stderr.splitlines()
    assert message in line


def test_data_other_than_the_search_began_with_are_refused(
    tiny: TinySearch, finished: RunFolder, tmp_path: Path
) -> None:
    """The search reads an archive by a relative path; here another one has that name."""
    import numpy as np

    rng = np.random.default_rng(0)

    def write(folder: Path) -> None:
        folder.mkdir()
        np.savez(
            folder / "data.npz", x=rng.normal(size=(200, 1, 8, 8)), y=rng.integers(2, size=200)
        )

    write(tmp_path / "here")
    write(tmp_path / "there")
    experiment = tmp_path / "here" / "tiny.yaml"
    text = tiny.experiment.read_text().replace("{kind: digits}", "{kind: npz, path: data.npz}")
    experiment.write_text(text)
    run = tmp_path / "runs" / "tiny"
    environment = os.environ | {"HWNAS_CACHE": str(tiny.cache)}
    searched = hwnas(
        *("search", str(experiment), "--runs", str(run.parent), "--workers", "1"),
        cwd=tmp_path,
        env=environment,
    )
    assert searched.returncode == 0, searched.stderr
    refused = hwnas("worker", str(run), "--base-dir", str(tmp_path / "there"))
    assert refused.returncode == 2
    assert "the data set here is not the one that this search began with" in refused.stderr
