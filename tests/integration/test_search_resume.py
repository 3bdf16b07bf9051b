"""Whatever interrupts a search, it ends with the trials of one that was never interrupted."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import psutil
import pytest

from hwnas.candidate_training import TrainingTask
from hwnas.config import load_config, parse_config
from hwnas.errors import UserError
from hwnas.progress import SilentProgress
from hwnas.run_folder import RunFolder
from hwnas.storages import open_storage
from hwnas.training_pool import TrainingPool
from search_spaces import Architecture, create

if TYPE_CHECKING:
    from conftest import TinySearch

_TIMEOUT_S = 60


def trials(run: RunFolder) -> list[Mapping[str, Any]]:
    """Return number, architecture, objective values and exits of all trained candidates."""
    return [
        {key: value for key, value in evaluation.items() if key != "seconds"}
        for evaluation in run.front()["evaluations"]
    ]


def wait_for_training(run: Path, checkpoints: int, process: subprocess.Popen[str]) -> None:
    """Wait until training processes run and so many candidates are trained."""
    deadline = time.monotonic() + _TIMEOUT_S
    while (
        not is_training(process) or len(list(run.glob("checkpoints/*.safetensors"))) < checkpoints
    ):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "no training began"
        time.sleep(0.005)


def is_training(process: subprocess.Popen[str]) -> bool:
    children = psutil.Process(process.pid).children()
    return any("--multiprocessing-fork" in command_line(child) for child in children)


def command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):  # it has just ended
        return []


@dataclass(frozen=True)
class Interrupted:
    """What was seen of a search that was interrupted again and again, then finished.

    Args:
        ends: Exit code, standard output and standard error of each start.
        survivors: Processes that outlived the command they belonged to.
        run: The finished run.
    """

    ends: Mapping[str, tuple[int, str, str]]
    survivors: Mapping[str, list[psutil.Process]]
    run: RunFolder


@pytest.fixture(scope="module")
def interrupted(tiny: TinySearch, tmp_path_factory: pytest.TempPathFactory) -> Interrupted:
    folder = tmp_path_factory.mktemp("interrupted")
    ends, survivors = {}, {}
    for name, checkpoints, signal_number in (
        ("ctrl-c while workers start", 0, signal.SIGINT),
        ("killed while training", 1, signal.SIGKILL),
        ("ctrl-c while training", 4, signal.SIGINT),
    ):
        process = tiny.start(
            *tiny.arguments(folder), "--workers", "1", *(["--resume"] * bool(ends))
        )
        wait_for_training(folder / "tiny", checkpoints, process)
        children = psutil.Process(process.pid).children(recursive=True)
        if signal_number == signal.SIGINT:
            # as a terminal does: to the whole process group
            os.killpg(process.pid, signal_number)
        else:
            process.send_signal(signal_number)
        out, err = process.communicate(timeout=_TIMEOUT_S)
        ends[name] = (process.returncode, out, err)
        survivors[name] = psutil.wait_procs(children, timeout=10)[1]
    assert not (folder / "tiny" / "front.json").exists()
    return Interrupted(ends, survivors, tiny.search(folder, resume=True, workers=1))


def test_an_interrupted_search_ends_with_the_trials_of_an_uninterrupted_one(
    interrupted: Interrupted, finished: RunFolder
) -> None:
    assert len(trials(finished)) == 6
    assert trials(interrupted.run) == trials(finished)
    assert interrupted.run.front()["counts"] == finished.front()["counts"]


def test_interruptions_speak_against_no_architecture(interrupted: Interrupted) -> None:
    """However often the same training is interrupted: only deaths would make it a failure."""
    storage = open_storage(str(interrupted.run.journal))
    trials = optuna.load_study(study_name="tiny", storage=storage).trials
    assert "died" not in {trial.user_attrs.get("abandoned") for trial in trials}


@pytest.mark.parametrize("when", ["ctrl-c while workers start", "ctrl-c while training"])
def test_ctrl_c_ends_with_130_and_a_hint(interrupted: Interrupted, when: str) -> None:
    code, out, err = interrupted.ends[when]
    assert code == 130
    assert err.splitlines()[-1] == "interrupted; continue a search with --resume"
    assert "Traceback" not in err
    assert out == ""


def test_an_interrupted_search_leaves_no_process_behind(interrupted: Interrupted) -> None:
    assert interrupted.ends["killed while training"][0] == -signal.SIGKILL
    assert not any(interrupted.survivors.values())


class CountsTrainings(SilentProgress):
    """Counts candidates as they are trained.

    Args:
        kill_one: Whether to kill a worker when the first training ends.
    """

    def __init__(self, kill_one: bool = False) -> None:
        self.trained = 0
        self.kill_one = kill_one
        self._is_training = False

    def phase(self, title: str, total: int) -> None:
        self._is_training = title == "Training candidates"

    def advance(self, note: str = "") -> None:
        self.trained += self._is_training
        if self.kill_one and self._is_training:
            children = psutil.Process().children()
            next(c for c in children if "--multiprocessing-fork" in c.cmdline()).kill()
            self.kill_one = False


def test_a_worker_that_is_killed_is_replaced_and_changes_nothing(
    tiny: TinySearch, finished: RunFolder, tmp_path: Path
) -> None:
    progress = CountsTrainings(kill_one=True)
    run = tiny.search(tmp_path, workers=1, progress=progress)
    assert not progress.kill_one
    assert progress.trained == 6
    assert run.front()["counts"]["failed"] == 0
    assert trials(run) == trials(finished)


def test_a_longer_search_is_the_same_search_continued(
    tiny: TinySearch, finished: RunFolder, tmp_path: Path
) -> None:
    tiny.search(tmp_path, "search.evaluations=4", workers=1)
    longer = tiny.search(tmp_path, resume=True, workers=1)
    assert trials(longer) == trials(finished)


def test_two_workers_train_every_architecture_once_until_the_space_is_exhausted(
    tiny: TinySearch, tmp_path: Path
) -> None:
    progress = CountsTrainings()
    overrides = ("search.evaluations=100", "training.epochs=1", "search.batch=8")
    run = tiny.search(tmp_path, *overrides, workers=2, progress=progress)
    space = create(
        "depthwise_separable",
        input_shape=(1, 8, 8),
        n_classes=10,
        n_stages=1,
        choices=load_config(tiny.experiment).space.choices,
    )
    names, values = space.dimensions.keys(), space.dimensions.values()
    everything = {
        space.canonicalize(dict(zip(names, chosen, strict=True))).arch_id
        for chosen in itertools.product(*values)
    }
    trained = [evaluation["arch_id"] for evaluation in run.front()["evaluations"]]
    assert sorted(trained) == sorted(everything)
    assert progress.trained == len(everything)


def test_cheaper_scores_are_judged_by_the_first_trainings(tiny: TinySearch, tmp_path: Path) -> None:
    """Eight are trained with two seeds, and what is chosen then is told.

    Which scorer pays depends on the seconds that these trainings took: halving counts what it
    stops as a part of an evaluation.
    """
    told: list[str] = []
    progress = SilentProgress()
    progress.message = told.append  # type: ignore[method-assign]
    overrides = ("accuracy.scorer=auto", "accuracy.ranking.architectures=8")
    run = tiny.search(tmp_path, *overrides, "search.evaluations=10", workers=1, progress=progress)
    counts = run.front()["counts"]
    assert len(trials(run)) == counts["evaluated"] >= 8
    assert counts["evaluated"] + counts["stopped"] >= 10
    assert any(line.startswith("Chosen: ") for line in told)
    assert any("How well scores rank 8 architectures" in line for line in told)


def test_data_that_vanished_is_named_and_not_taken_for_a_killed_process(tmp_path: Path) -> None:
    document = {"name": "x", "dataset": {"kind": "npz", "path": "gone.npz"}}
    task = TrainingTask(
        architecture=Architecture("depthwise_separable", ()),
        seed=0,
        stage_costs=(1.0,),
        checkpoint=tmp_path / "x.safetensors",
    )
    with (
        TrainingPool(parse_config(document, "x.yaml"), tmp_path, workers=1) as pool,
        pytest.raises(UserError, match=r"gone\.npz: does not exist"),
    ):
        pool.run([task])
