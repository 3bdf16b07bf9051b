"""Budgets of a search: the same for all its workers, in whatever order they read of endings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.storages import InMemoryStorage

from hwnas.compute_energy import Spending
from hwnas.errors import UserError
from hwnas.evaluation import evaluate_candidates
from hwnas.objectives import objectives_of
from hwnas.pareto import ObjectiveScale
from hwnas.progress import SilentProgress
from hwnas.search_budget import BUDGET, Accounts, Budget
from hwnas.stop_config import PlateauConfig, StopConfig
from hwnas.stopping import HypervolumeHistory
from hwnas.study import Ending, Proposal, SearchStudy
from hwnas.worker import Evaluator
from tests.unit.hwnas.grid_study import open_study

SCALE = ObjectiveScale(objectives_of(["accuracy", "latency"]), (1.0, 1e-4), (0.0, 1.0))
PLATEAU = StopConfig(plateau=PlateauConfig(min_gain=0.01, chance=0.3, confidence=0.8))


def plan() -> Any:
    training = SimpleNamespace(epochs=10)
    return SimpleNamespace(scale=SCALE, config=SimpleNamespace(training=training))


def budget(stop: StopConfig, evaluations: int = 100, lease_s: float = 60.0) -> Budget:
    return Budget(evaluations=evaluations, stop=stop, lease_s=lease_s)


def claimed(study: SearchStudy) -> Proposal:
    proposal = study.claim(1000)
    assert proposal is not None
    return proposal


def complete(study: SearchStudy, proposal: Proposal, accuracy: float) -> None:
    assert study.complete(proposal, [accuracy, 1e-2], {})


def accounts(study: Any) -> Accounts:
    found = Accounts(plan(), study)
    found.update()
    return found


def accuracies(endings: Sequence[Ending]) -> list[float]:
    return [ending.values[0] for ending in endings if ending.values is not None]


def test_endings_are_in_the_order_in_which_they_ended_for_who_comes_late_too() -> None:
    storage = InMemoryStorage()
    with open_study(storage) as one, open_study(storage) as other:
        first, second, third = claimed(one), claimed(other), claimed(one)
        complete(one, third, 0.3)
        complete(other, second, 0.2)
        complete(one, first, 0.1)
        with open_study(storage) as late:
            for study in (one, other, late):
                assert accuracies(study.endings()) == [0.3, 0.2, 0.1]


class Told:
    """A study that tells of endings batch by batch."""

    def __init__(self, batches: Sequence[Sequence[Ending]]) -> None:
        self._batches = list(batches)
        self._told: list[Ending] = []

    def endings(self, start: int) -> list[Ending]:
        if self._batches:
            self._told += self._batches.pop(0)
        return self._told[start:]


@given(order=st.permutations(range(12)), cut=st.integers(0, 12))
def test_volumes_do_not_depend_on_the_order_in_which_endings_are_read(
    order: list[int], cut: int
) -> None:
    rng = np.random.default_rng(0)
    points = [((float(a), float(t)),) for a, t in rng.uniform(1e-3, 1, (12, 2))]
    expected = HypervolumeHistory(SCALE)
    for own in points:
        expected.add(own)
    told = [Ending(None, {}, None, points[i], (i // 2, i)) for i in order]
    found = Accounts(plan(), Told([told[:cut], told[cut:]]))  # type: ignore[arg-type]
    found.update()
    found.update()
    assert found._history.volumes == expected.volumes


def test_a_plateau_holds_for_all_workers_and_for_the_same_budget_resumed() -> None:
    storage, asked = InMemoryStorage(), budget(PLATEAU)
    with open_study(storage) as one, open_study(storage) as other:
        running = claimed(other)
        complete(one, claimed(one), 0.5)
        while (reason := accounts(one).stop_reason(asked)) is None:
            complete(one, claimed(one), 0.4)
        assert reason.startswith("plateau")
        # what had begun before goes on, and gains
        complete(other, running, 0.9)
        with open_study(storage) as resumed:
            for study in (one, other, resumed):
                assert accounts(study).stop_reason(asked) == reason
            assert accounts(resumed).stop_reason(budget(PLATEAU, evaluations=200)) is None


def test_the_lease_announced_last_is_the_one_that_workers_keep(tmp_path: Path) -> None:
    with open_study(InMemoryStorage(), lease_s=60.0) as study:
        study.announce(BUDGET, budget(StopConfig(), lease_s=5.0).model_dump_json())
        nothing: Any = None
        Evaluator(plan(), study, nothing, nothing, tmp_path, SilentProgress())._wanted()
        assert study._claims._watch.lease_s == study._claims._keeper.lease_s == 5.0


def context(study: SearchStudy) -> Any:
    settings = SimpleNamespace(accuracy=SimpleNamespace(scorer="full"))
    run = SimpleNamespace(path="runs/grid")
    return SimpleNamespace(
        plan=plan(), study=study, config=settings, run=run, progress=SilentProgress()
    )


def test_a_search_that_only_halted_trainings_before_its_budget_was_spent_says_so() -> None:
    with open_study(InMemoryStorage()) as study:
        spent = Spending("here", 0.0, 7.0, 7.0).to_dict()
        halted = {"halted": True, "epochs": 1, "spending": spent}
        study.prune(claimed(study), "halted after 1 epochs", halted)
        study.announce(BUDGET, budget(StopConfig(seconds=5)).model_dump_json())
        with pytest.raises(UserError, match=r"runs/grid: no training was completed, 1 .* 7 s of 5"):
            evaluate_candidates(context(study), workers=1)


class Nobody:
    """Workers who find nothing to do."""

    def __enter__(self) -> Nobody:
        return self

    def __exit__(self, *_: object) -> None: ...

    def check(self, ended: int) -> bool:
        return False


def test_a_search_without_a_feasible_architecture_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hwnas.evaluation._team", lambda context, workers: Nobody())
    with open_study(InMemoryStorage()) as study:
        study.announce(BUDGET, budget(StopConfig()).model_dump_json())
        with pytest.raises(UserError, match=r"no training was completed; .* section constraints"):
            evaluate_candidates(context(study), workers=1)
