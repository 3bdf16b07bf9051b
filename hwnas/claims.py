"""How equal workers share out evaluations, knowing of each other by the storage only."""

from __future__ import annotations

import json

from optuna.trial import TrialState

from hwnas.errors import UserError
from hwnas.leases import LeaseKeeper, LeaseWatch
from hwnas.sampler_mirror import SamplerMirror
from hwnas.study_store import StudyStore
from hwnas.study_view import Attempt, Evaluation, StudyView
from hwnas.trial_record import ABANDONED, AFTER, DIED, RECORD, RELEASED, TrialRecord
from hwnas.worker_process import WorkerProcess

LAUNCHER = "launcher"
"""Key under which the process that runs a search is announced, as JSON."""

_CLOSING_S = 2.0


class Claims:
    """What one worker holds, takes up, gives back, and takes from the dead.

    A claim is written, then everything is read: of two claims on one architecture, or on the
    last evaluation wanted, the later created is given back by whoever made it. A storage
    creates trials one after the other, so that all workers agree on which is later.

    Args:
        store: Of the study.
        view: Brought up to date here.
        mirror: Likewise.
        lease_s: A worker not heard of for so long is taken for dead.
    """

    def __init__(
        self, store: StudyStore, view: StudyView, mirror: SamplerMirror, lease_s: float
    ) -> None:
        self._store = store
        self._view = view
        self._mirror = mirror
        self._keeper = LeaseKeeper(store, lease_s)
        self._watch = LeaseWatch(lease_s)

    def sync(self) -> None:
        """Read what changed in the storage."""
        changed = self._store.changed_trials(self._view.known, self._view.unfinished())
        self._mirror.update(self._view.update(changed))
        for attempt in self._view.stored_twice():
            self._store.finish(attempt.trial_id, TrialState.FAIL)

    def reap(self) -> None:
        """Read what changed, and have evaluations of dead workers taken up."""
        self.sync()
        others = [a for a in self._view.open_attempts() if a.trial_id not in self._keeper.held]
        leases = [(a.trial_id, a.renewals) for a in others]
        expired = self._watch.expired(leases, self._store.outages)
        dead = [a for a in others if a.trial_id in expired or a.record.process.is_known_dead()]
        for attempt in dead:
            self._abandon(attempt.trial_id, self._cause(attempt))
        if dead:
            self.sync()

    def record(self, record: TrialRecord, state: TrialState) -> Attempt:
        """Store a trial, and read what else was stored meanwhile."""
        self._store.create(state, RECORD, record.to_dict())
        self.sync()
        return self._view.attempt(record.token)

    def keeps(self, evaluation: Evaluation, attempt: Attempt, wanted: int) -> bool:
        """Hold a claim just recorded, or give it back.

        Args:
            evaluation: What was claimed.
            attempt: By this trial.
            wanted: How many complete evaluations the study is to have.
        """
        first = self._view.owner(evaluation.architecture) is evaluation
        earlier = sum(e.current.order < attempt.order for e in self._view.running())
        if first and evaluation.current is attempt and self._view.complete + earlier < wanted:
            self._keeper.hold(attempt.trial_id)
            return True
        self._store.finish(attempt.trial_id, TrialState.FAIL)
        self.sync()
        return False

    def set_lease(self, lease_s: float) -> None:
        """Take a worker for dead that was not heard of for so long, as others do this one."""
        self._keeper.lease_s = self._watch.lease_s = lease_s

    def release(self, trial_id: int) -> None:
        """Hold a trial no longer, as it has ended."""
        self._keeper.drop(trial_id)

    def close(self) -> None:
        """Have others take up what this worker holds."""
        held = self._keeper.held
        self._keeper.close()
        self._store.patience_s = _CLOSING_S
        for trial_id in held:
            try:
                self._abandon(trial_id, RELEASED)
            except UserError:
                # its lease runs out
                break
            self._keeper.drop(trial_id)

    def _cause(self, dead: Attempt) -> str:
        """Return what a death is put down to: the architecture, or the end of the search itself."""
        launcher = self._store.announcement(LAUNCHER)
        if launcher is None:
            return DIED
        is_over = WorkerProcess.from_dict(json.loads(launcher)).is_known_dead()
        return RELEASED if is_over or dead.record.launcher != launcher else DIED

    def _abandon(self, trial_id: int, reason: str) -> None:
        if reason == DIED:
            # it may be the last death that ends the evaluation
            self._store.write(trial_id, AFTER, len(self._view.ended))
        if self._store.write(trial_id, ABANDONED, reason):
            self._store.finish(trial_id, TrialState.FAIL)
