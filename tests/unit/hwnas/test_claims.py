"""Workers that claim at the very same moment, one step of the one inside a step of the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from hwnas.study import Proposal, SearchStudy
from hwnas.worker_process import WorkerProcess
from tests.unit.hwnas.grid_study import FEASIBLE, evaluate, in_order, open_study


class Crowded(InMemoryStorage):
    """Between a worker's decision to create a trial and the trial, others do something."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: list[Callable[[], object]] = []

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        if self.meanwhile:
            self.meanwhile.pop(0)()
        return super().create_new_trial(study_id, template_trial)


def claims_at_once(
    storage: Crowded, studies: list[SearchStudy], wanted: int
) -> list[Proposal | None]:
    """Have each worker decide before any other has written, and the last one write first."""
    claimed: list[Proposal | None] = []
    first, *others = studies
    storage.meanwhile = [lambda s=s: claimed.append(s.claim(wanted)) for s in others]  # type: ignore[misc]
    claimed.append(first.claim(wanted))
    assert storage.meanwhile == []
    return claimed


@pytest.fixture
def storage() -> Crowded:
    return Crowded()


@pytest.mark.parametrize("n", [2, 5, 8])
@pytest.mark.parametrize("is_queued", [False, True])
def test_claims_at_one_moment_are_distinct(storage: Crowded, n: int, is_queued: bool) -> None:
    studies = [open_study(storage) for _ in range(n)]
    queue = in_order(FEASIBLE)[: n if is_queued else 0]
    studies[0].enqueue(queue)
    claimed = [p.architecture for p in claims_at_once(storage, studies, 100) if p is not None]
    assert len(claimed) == len(set(claimed)) == n
    if is_queued:
        assert set(claimed) == set(queue)
        # each loser went on from its own place in the queue: none lost twice
        assert len(storage.get_all_trials(0)) <= 2 * n - 1
    for study in studies:
        study.close()


@pytest.mark.parametrize("wanted", [1, 3])
def test_no_more_run_than_are_wanted_though_all_ask_at_one_moment(
    storage: Crowded, wanted: int
) -> None:
    studies = [open_study(storage) for _ in range(5)]
    claimed = [p for p in claims_at_once(storage, studies, wanted) if p is not None]
    assert len(claimed) == wanted
    running = [t for t in storage.get_all_trials(0) if t.state == TrialState.RUNNING]
    assert len(running) == wanted
    assert studies[0].claim(wanted) is None
    for study in studies:
        study.close()


def test_what_a_dead_worker_left_is_taken_up_once_though_all_see_it(
    storage: Crowded, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        gone = replace(WorkerProcess.current(), pid=2**22 + 1)
        patch.setattr(WorkerProcess, "current", classmethod(lambda _: gone))
        dead = open_study(storage)
        left = dead.claim(1)
        dead._claims._keeper.close()
    assert left is not None
    studies = [open_study(storage) for _ in range(4)]
    (taken,) = [p for p in claims_at_once(storage, studies, 1) if p is not None]
    assert (taken.number, taken.architecture) == (left.number, left.architecture)
    assert evaluate(studies[0], taken)
    assert [e.number for e in studies[1].evaluated()] == [left.number]
    for study in studies:
        study.close()


def test_a_worker_that_dies_between_failing_a_trial_and_taking_it_up_loses_nothing(
    storage: Crowded, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        gone = replace(WorkerProcess.current(), pid=2**22 + 1)
        patch.setattr(WorkerProcess, "current", classmethod(lambda _: gone))
        first, second = open_study(storage), open_study(storage)
        left = first.claim(2)
        first._claims._keeper.close()

        def die() -> None:
            raise KeyboardInterrupt

        storage.meanwhile = [die]
        with pytest.raises(KeyboardInterrupt):
            second.claim(2)
    assert left is not None
    assert [t.state for t in storage.get_all_trials(0)] == [TrialState.FAIL]
    with open_study(storage) as survivor:
        taken = survivor.claim(2)
        assert taken is not None
        assert (taken.number, taken.architecture) == (left.number, left.architecture)
