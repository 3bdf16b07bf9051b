"""What several workers make of one storage, whatever they do in whatever order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from hwnas.study import Proposal, SearchStudy, SpaceExhaustedError
from hwnas.worker_process import WorkerProcess
from tests.unit.hwnas.grid_study import (
    FEASIBLE,
    MAX_LATENCY,
    MIN_ACCURACY,
    accuracy,
    latency_s,
    open_study,
)

_WANTED = 9
STEPS = ("claim", "complete", "fail", "prune", "rung", "die", "close")


class Worker:
    """One worker, of whom all others know when it is dead."""

    def __init__(self, storage: InMemoryStorage, pid: int, dead: set[int]) -> None:
        self._storage, self._pid, self._dead = storage, pid, dead
        self.study: SearchStudy | None = None
        self.held: list[Proposal] = []

    def step(self, step: str) -> None:
        if self.study is None:
            self._pid += 1000
            with pytest.MonkeyPatch.context() as patch:
                process = WorkerProcess("host", "elsewhere", self._pid, 0)
                patch.setattr(WorkerProcess, "current", classmethod(lambda _: process))
                limits = (MAX_LATENCY, MIN_ACCURACY)
                self.study = open_study(self._storage, constraints=limits)
        if step == "claim":
            try:
                claimed = self.study.claim(_WANTED)
            except SpaceExhaustedError:
                return
            if claimed is not None:
                self.held.append(claimed)
        elif step == "die":
            # its leases are renewed no more, and nothing is given back
            self.study._claims._keeper.close()
            self._dead.add(self._pid)
            self.study, self.held = None, []
        elif step == "close":
            self.study.close()
            self.study, self.held = None, []
        elif self.held:
            self._end(self.study, step)

    def _end(self, study: SearchStudy, step: str) -> None:
        if step == "rung":
            study.report_rung(self.held[0], 0, [0.5, 1e-3])
            return
        proposal = self.held.pop(0)
        if step == "complete":
            values = [accuracy(proposal.architecture), latency_s(proposal.architecture)]
            assert study.complete(proposal, values, {}, {"min_accuracy": 0.5 - values[0]})
        elif step == "fail":
            assert study.fail(proposal, "no luck")
        else:
            assert study.prune(proposal, "hopeless", {})


def seen(study: SearchStudy) -> list[tuple[Any, ...]]:
    """Return what samplers see of each trial."""
    return [
        (t.number, t._trial_id, t.state, t.values, t.params, t.distributions, t.system_attrs)
        for t in study.mirror.get_trials(deepcopy=False)
    ]


@settings(deadline=None, max_examples=60)
@given(steps=st.lists(st.tuples(st.integers(0, 2), st.sampled_from(STEPS)), max_size=40))
def test_no_order_of_steps_doubles_or_loses_anything(steps: list[tuple[int, str]]) -> None:
    """Against what is stored, read by rules of one line each; and a reader that comes late."""
    storage, dead = InMemoryStorage(), set[int]()
    workers = [Worker(storage, pid, dead) for pid in range(3)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WorkerProcess, "is_known_dead", lambda process: process.pid in dead)
        for who, step in steps:
            workers[who].step(step)
            held = [p.architecture for worker in workers for p in worker.held]
            assert len(held) == len(set(held))
            trials = storage.get_all_trials(0)
            complete = [t for t in trials if t.state == TrialState.COMPLETE]
            assert len(complete) + len(held) <= _WANTED
        late = open_study(storage, constraints=(MAX_LATENCY, MIN_ACCURACY))
        evaluated, counts = late.evaluated(), late.counts()
        assert len({e.architecture for e in evaluated}) == len(evaluated)
        assert len(evaluated) == sum(t.state == TrialState.COMPLETE for t in trials_of(storage))
        assert {e.architecture for e in evaluated} <= FEASIBLE
        alive = [worker.study for worker in workers if worker.study is not None]
        for study in alive:
            assert study.counts() == counts
            assert study.evaluated() == evaluated
            assert study.rung_values(0) == late.rung_values(0)
            assert seen(study) == seen(late)
        for study in [*alive, late]:
            study.close()


def trials_of(storage: InMemoryStorage) -> list[FrozenTrial]:
    return storage.get_all_trials(0) if storage.get_all_studies() else []


def test_an_answer_lost_makes_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every write is done, and its answer lost, once."""

    class Lossy(InMemoryStorage):
        def __init__(self) -> None:
            super().__init__()
            self.lost: set[str] = set()

        def _lose(self, name: str) -> None:
            self.lost ^= {name}
            if name in self.lost:
                raise ConnectionResetError(name)

        def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
            trial_id = super().create_new_trial(study_id, template_trial)
            self._lose("create")
            return trial_id

        def set_trial_state_values(
            self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
        ) -> bool:
            done = super().set_trial_state_values(trial_id, state, values)
            self._lose("finish")
            return done

    storage = Lossy()
    monkeypatch.setattr(
        "hwnas.study_store.is_unreachable", lambda error: isinstance(error, ConnectionResetError)
    )
    with open_study(storage) as study:
        complete = 0
        while (proposal := study.claim(6)) is not None:
            values = [accuracy(proposal.architecture), latency_s(proposal.architecture)]
            assert study.complete(proposal, values, {})
            complete += 1
        assert complete == study.counts()["evaluated"] == 6
        assert study.counts()["running"] == 0
    with open_study(InMemoryStorage()) as other:
        numbers = []
        while (proposal := other.claim(6)) is not None:
            values = [accuracy(proposal.architecture), latency_s(proposal.architecture)]
            other.complete(proposal, values, {})
            numbers.append((proposal.number, values))
        assert [(e.number, list(e.values)) for e in study.evaluated()] == numbers
    assert all(t.state.is_finished() for t in storage.get_all_trials(0))
