"""A study whose process dies at any write continues as if it had never stopped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.storages.journal import JournalFileBackend

from hwnas.costs import ArchitectureCosts
from hwnas.errors import UserError
from hwnas.objectives import Constraint, objectives_of
from hwnas.study import SearchStudy
from hwnas.study_journal import StudyJournal
from latency_predictors import EnergyRange, Prediction
from search_spaces import Architecture, create

WANTED, BATCH = 7, 2
SPACE = create(
    "depthwise_separable",
    input_shape=(1, 8, 8),
    n_classes=10,
    n_stages=1,
    choices={"stem_width": [8], "stride_plan": ["2-2"], "se": [0], "activation": ["relu6"]},
)


def predict(architectures: object) -> list[ArchitectureCosts]:
    """Costs that are a plain function of the architecture."""
    costs = []
    for arch in architectures:  # type: ignore[attr-defined]
        value = float(arch["s0_kernel"] * arch["s0_depth"] * arch["s0_width"])
        exact = Prediction(value, 0.0, value, value, True)
        energy = EnergyRange(value, value, value)
        costs.append(ArchitectureCosts((exact,), (energy,), exact, energy, exact, exact))
    return costs


def accuracy(arch: Architecture) -> float:
    return int(arch.arch_id, 16) / 16**16


def run_study(journal: Path) -> list[tuple[int, str, tuple[float, ...]]]:
    """Evaluate until the budget is spent, as a search does; return all that was trained."""
    sampled = [SPACE.sample(np.random.default_rng(k)) for k in range(8)]
    # about half of the space: some proposals are pruned
    limit = Constraint("max_latency_ms", "worst_latency_s", 100.0, "ms", 1e3)
    feasible = [a for a in sampled if predict([a])[0].is_feasible([limit])]
    study = SearchStudy(
        journal,
        SPACE,
        objectives_of(["accuracy", "latency"]),
        [limit],
        predict,
        "tpe",
        0,
        reserve=feasible,
    )
    study.enqueue(feasible[:3])
    batch = study.pending()
    while True:
        for proposal in batch:
            values = (accuracy(proposal.architecture), proposal.costs.latency_s.mean)
            study.complete(proposal, values, {})
        done = study.counts()["evaluated"]
        if done >= WANTED:
            break
        batch = study.propose(min(BATCH, WANTED - done))
    return [(e.number, e.architecture.arch_id, e.values) for e in study.evaluated()]


class Killed(BaseException):
    """Stands in for the end of the process."""


@pytest.fixture
def dies_at_write(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count down writes in item 0; the write at which it reaches zero is torn half-way."""
    countdown = [-1]
    append = JournalFileBackend.append_logs

    def torn_append(self: JournalFileBackend, logs: list[dict[str, object]]) -> None:
        countdown[0] -= 1
        if countdown[0] != 0:
            append(self, logs)
            return
        path = Path(self._file_path)
        before = path.stat().st_size
        append(self, logs)
        with path.open("rb+") as file:
            file.truncate((before + path.stat().st_size) // 2)
        raise Killed

    monkeypatch.setattr(JournalFileBackend, "append_logs", torn_append)
    return countdown


def test_death_at_any_write_changes_nothing(tmp_path: Path, dies_at_write: list[int]) -> None:
    expected = run_study(tmp_path / "whole.journal")
    assert len(expected) == WANTED
    n_writes = -1 - dies_at_write[0]
    # a prime step: every kind of write is met within the batches, in a few seconds
    for write in range(1, n_writes + 1, 11):
        journal = tmp_path / f"{write}.journal"
        dies_at_write[0] = write
        with pytest.raises(Killed):
            run_study(journal)
        dies_at_write[0] = -1
        assert run_study(journal) == expected, f"write {write} of {n_writes}"


def open_study(journal: StudyJournal) -> optuna.Study:
    return optuna.create_study(study_name="s", storage=journal.storage, load_if_exists=True)


def step_that_dies(journal: StudyJournal) -> None:
    with journal.whole():
        open_study(journal).enqueue_trial({"forgotten": 1})
        raise Killed


def test_an_unfinished_step_is_forgotten_and_a_stale_lock_is_not_waited_for(
    tmp_path: Path,
) -> None:
    path = tmp_path / "study.journal"
    open_study(StudyJournal(path)).enqueue_trial({"kept": 1})
    kept = path.read_bytes()
    with pytest.raises(Killed):
        step_that_dies(StudyJournal(path))
    assert len(path.read_bytes()) > len(kept)
    (tmp_path / "study.journal.lock").touch()
    journal = StudyJournal(path)
    assert path.read_bytes() == kept
    with journal.whole():
        open_study(journal).enqueue_trial({"done": 1})
    assert len(open_study(StudyJournal(path)).trials) == 2
    assert {p.name for p in tmp_path.iterdir()} == {"study.journal"}


@pytest.mark.parametrize("content", [b"not JSON\nat all\n", b'{"no": "operation"}\n'])
def test_a_damaged_journal_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "study.journal"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"study\.journal: damaged"):
        StudyJournal(path)
