"""The study of a search, shared by any number of workers: proposes, records and resumes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Self, TypeAlias

import optuna
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from hwnas.claims import LAUNCHER, Claims
from hwnas.costs import ArchitectureCosts
from hwnas.objectives import Constraint, Objective
from hwnas.parameter_space import ParameterSpace
from hwnas.proposing import Proposer, Reserve
from hwnas.sampler_mirror import SamplerFactory, SamplerMirror
from hwnas.study_store import StudyStore
from hwnas.study_view import Evaluation, Status, StudyView
from hwnas.trial_record import (
    AFTER,
    FAILURE,
    OUTCOME,
    POINTS,
    RESULT,
    RUNG,
    VIOLATIONS,
    TrialContent,
    TrialRecord,
    new_token,
)
from hwnas.worker_process import WorkerProcess
from search_spaces import Architecture, SearchSpace

_QUEUE = "queue"

Point: TypeAlias = tuple[float, ...]
"""One value per objective, in SI units."""

Predict = Callable[[Sequence[Architecture]], Sequence[ArchitectureCosts]]


class SpaceExhaustedError(Exception):
    """Every feasible architecture that can be found has been evaluated."""


@dataclass(frozen=True)
class Proposal:
    """An architecture for this worker to evaluate: the limits are met, and it is new.

    Args:
        number: How many were proposed before it; seeds derive from it. An evaluation that
            another worker takes up keeps its number.
        architecture: What to evaluate.
        costs: Predicted.
        trial_id: Of its trial in the storage.
    """

    number: int
    architecture: Architecture
    costs: ArchitectureCosts
    trial_id: int


@dataclass(frozen=True)
class Evaluated:
    """A trained architecture with its objective values.

    Args:
        number: Of its proposal.
        architecture: What was trained.
        values: One per objective, SI units.
        result: JSON-ready outcome of the training.
        points: Values that it can have, those told among them: one per exit policy that may
            be chosen, ``None`` where that one does not meet the limits.
        luck: How much more accurate the training came out than other seeds are expected to;
            ``values`` and ``points`` are without it, ``result`` is as it came out.
    """

    number: int
    architecture: Architecture
    values: Point
    result: Mapping[str, Any]
    points: tuple[Point | None, ...] = ()
    luck: float = 0.0


@dataclass(frozen=True)
class Ending:
    """An evaluation that was begun and has ended: complete, stopped early, or failed.

    Args:
        values: One per objective; ``None`` where it is not complete.
        violations: Of the limits that only training could judge.
        result: JSON-ready outcome, where there is one.
        points: Values that it can have within the limits; none where it is not complete.
        place: Endings by their places are in the same order for all workers.
    """

    values: Point | None
    violations: Mapping[str, float]
    result: Mapping[str, Any] | None
    points: tuple[Point, ...] = ()
    place: tuple[int, int] = field(default=(0, 0), compare=False)


class SearchStudy:
    """One worker's hold on a study in a storage that all workers of a search share.

    Workers are equal and know each other by the storage only. An architecture is claimed
    by writing, then reading: whoever finds an earlier claim of the same one gives its own
    back. With one worker, proposals depend on the seed alone, whatever is interrupted.

    A stored trial holds one attribute with all that was proposed, another with what came
    of it, and the values; samplers see a mirror of it in memory (`SamplerMirror`).

    Close it, or use it in a ``with`` block: what is being evaluated then is given to the
    others at once, instead of when its lease has run out.

    Args:
        storage: Of `hwnas.storages.open_storage`.
        space: Search space.
        objectives: What to optimize.
        constraints: Limits on predicted costs.
        predict: Costs of architectures.
        sampler: Makes the sampler of a trial from its number.
        reserve: Finds feasible architectures to fall back on when the sampler finds none.
        worker: Name of this worker, for people.
        name: Of the study in the storage.
        lease_s: A worker not heard of for so long is taken for dead.
        patience_s: How long the storage may be away.

    Raises:
        UnreachableError: By every method, if the storage is away for longer.
    """

    def __init__(
        self,
        storage: BaseStorage,
        space: SearchSpace,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint],
        predict: Predict,
        sampler: SamplerFactory,
        reserve: Reserve = tuple,
        *,
        worker: str,
        name: str = "search",
        lease_s: float = 60.0,
        patience_s: float = 300.0,
    ) -> None:
        self._objectives = tuple(objectives)
        self._predict = predict
        self._author = (worker, WorkerProcess.current())
        directions = [objective.direction for objective in objectives]
        self._store = StudyStore(storage, name, patience_s)
        self._store.open(directions)
        self._launcher = self._store.announcement(LAUNCHER)
        self._view = StudyView()
        parameters = ParameterSpace(space)
        self._mirror = SamplerMirror(parameters, directions, sampler)
        self._claims = Claims(self._store, self._view, self._mirror, lease_s)
        self._proposer = Proposer(
            self._view, self._mirror, parameters, constraints, self._costs, reserve
        )
        self._queue: list[Architecture] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back what this worker has not finished, and renew no more leases."""
        self._claims.close()

    def set_lease(self, lease_s: float) -> None:
        """Take a worker for dead that was not heard of for so long; all workers should agree."""
        self._claims.set_lease(lease_s)

    @property
    def mirror(self) -> optuna.Study:
        """What samplers see: an Optuna study in memory, as of the last call; also for plots."""
        return self._mirror.study

    def describe(self, key: str, text: str) -> None:
        """Store a text with the study; does nothing if there is one of this key.

        Workers that know nothing but the storage read it by `read_description`.
        """
        self._store.describe(key, text)

    def description(self, key: str) -> str | None:
        """Return a text stored with the study; ``None`` where there is none."""
        return self._store.description(key)

    def announce(self, key: str, text: str) -> None:
        """Store a short text for all workers, in place of an earlier one."""
        self._store.announce(key, text)

    def announcement(self, key: str) -> str | None:
        """Return what was announced last; ``None`` where nothing was."""
        return self._store.announcement(key)

    def enqueue(self, architectures: Sequence[Architecture]) -> None:
        """Have architectures proposed first; does nothing where some were enqueued before.

        To be called before other workers join.
        """
        self._store.describe(_QUEUE, json.dumps([a.to_dict() for a in architectures]))

    def claim(self, wanted: int) -> Proposal | None:
        """Return an architecture for this worker to evaluate next.

        What a dead worker left comes first, then what was enqueued, then what the sampler
        proposes.

        Args:
            wanted: How many complete evaluations the study is to have.

        Returns:
            ``None`` if so many are complete or running elsewhere. Those may yet fail: ask
            again until ``counts()["evaluated"]`` says that all are complete.

        Raises:
            SpaceExhaustedError: If nothing runs and no new feasible architecture is found.
        """
        lost: Evaluation | None = None
        while True:
            self._claims.reap()
            if self._view.complete + len(self._view.running()) >= wanted:
                return None
            if abandoned := self._view.abandoned():
                content = TrialContent(retry_of=abandoned[0].number)
            elif (proposed := self._proposer.next(self._queued(), lost)) is not None:
                content = proposed
            elif self._view.running():
                return None
            else:
                raise SpaceExhaustedError
            state = TrialState.PRUNED if content.is_miss else TrialState.RUNNING
            record = TrialRecord(new_token(), *self._author, content, self._launcher)
            attempt = self._claims.record(record, state)
            evaluation = self._view.evaluations[attempt.number]
            lost = None
            if state == TrialState.RUNNING:
                if self._claims.keeps(evaluation, attempt, wanted):
                    costs = self._costs(evaluation.architecture)
                    return Proposal(
                        evaluation.number, evaluation.architecture, costs, attempt.trial_id
                    )
                lost = evaluation if attempt is evaluation.attempts[0] else None

    def complete(
        self,
        proposal: Proposal,
        values: Sequence[float],
        result: Mapping[str, Any],
        violations: Mapping[str, float] | None = None,
        points: Sequence[Point | None] | None = None,
    ) -> bool:
        """Record a trained architecture.

        Args:
            proposal: What was trained.
            values: One per objective: what stands for it, and samplers learn.
            result: JSON-ready outcome.
            violations: Of the limits that only training could judge.
            points: As in `Evaluated`; ``values`` alone, or none where they exceed a limit, if
                not given.

        Returns:
            ``False`` if this worker had been taken for dead, and the result is discarded.

        Raises:
            ValueError: For another number of values, or one that is not finite.
        """
        if len(values) != len(self._objectives) or not all(map(math.isfinite, values)):
            raise ValueError(f"wanted {len(self._objectives)} finite values. Got {list(values)}.")
        if points is None:
            points = [] if any(v > 0 for v in (violations or {}).values()) else [tuple(values)]
        outcome = {RESULT: result, VIOLATIONS: violations or {}, POINTS: points}
        return self._end(proposal, outcome, TrialState.COMPLETE, values)

    def prune(self, proposal: Proposal, reason: str, result: Mapping[str, Any]) -> bool:
        """Record that an evaluation was stopped early; returns as `complete` does."""
        return self._end(proposal, {RESULT: result, "stopped": reason}, TrialState.PRUNED)

    def fail(
        self, proposal: Proposal, reason: str, result: Mapping[str, Any] | None = None
    ) -> bool:
        """Record that training failed, with the reason; returns as `complete` does."""
        return self._end(proposal, {RESULT: result, FAILURE: reason}, TrialState.FAIL)

    def report_rung(self, proposal: Proposal, rung: int, values: Sequence[float]) -> None:
        """Store what an evaluation has reached at a rung of successive halving."""
        self._store.write(proposal.trial_id, f"{RUNG}{rung}", list(values))

    def rung_values(self, rung: int) -> dict[int, tuple[float, ...]]:
        """Return what every evaluation reached at a rung, by number."""
        self._claims.sync()
        return dict(self._view.rungs.get(rung, {}))

    def evaluated(self) -> list[Evaluated]:
        """Return trained architectures by number, each once."""
        self._claims.sync()
        return [
            Evaluated(
                evaluation.number,
                evaluation.architecture,
                evaluation.current.values or (),
                evaluation.current.outcome[RESULT],
                tuple(p if p is None else tuple(p) for p in evaluation.current.outcome[POINTS]),
            )
            for evaluation in self._view.evaluations
            if evaluation.status == Status.COMPLETE
        ]

    def first(self, n: int) -> list[Evaluation]:
        """Return the first n evaluations of an architecture, or as many as there are, by number.

        Proposals that were infeasible, repeated or given back have numbers, too, but are none.
        """
        self._claims.sync()
        return list(islice(self._view.held(), n))

    def endings(self, start: int = 0) -> list[Ending]:
        """Return all that ended, in the order in which this object learned of it.

        Args:
            start: How many to leave out: those known from an earlier call.
        """
        self._claims.sync()
        return [_ending(evaluation) for evaluation in self._view.ended[start:]]

    def failures(self) -> list[str]:
        """Return why evaluations failed, by number."""
        self._claims.sync()
        failed = (e for e in self._view.evaluations if e.status == Status.FAILED)
        return [evaluation.failure or "" for evaluation in failed]

    def counts(self) -> dict[str, int]:
        """Return how many proposals were evaluated, infeasible and so on.

        Keys: ``evaluated``, ``infeasible``, ``repeated``, ``failed``, ``stopped`` early,
        ``running``.
        """
        self._claims.sync()
        return {
            "evaluated": self._view.complete,
            "infeasible": self._view.counts[Status.INFEASIBLE],
            "repeated": self._view.counts[Status.REPEATED],
            "failed": self._view.counts[Status.FAILED],
            "stopped": self._view.counts[Status.STOPPED],
            "running": self._view.counts[Status.RUNNING],
        }

    def _costs(self, architecture: Architecture) -> ArchitectureCosts:
        # alone, even if others are asked for: a sum over a batch may round differently
        return self._predict([architecture])[0]

    def _queued(self) -> list[Architecture]:
        if self._queue is None:
            stored = json.loads(self._store.description(_QUEUE) or "[]")
            self._queue = [Architecture.from_dict(data) for data in stored]
        return self._queue

    def _end(
        self,
        proposal: Proposal,
        outcome: Mapping[str, Any],
        state: TrialState,
        values: Sequence[float] | None = None,
    ) -> bool:
        self._claims.sync()
        outcome = {**outcome, AFTER: len(self._view.ended)}
        written = self._store.write(proposal.trial_id, OUTCOME, outcome)
        ended = written and self._store.finish(proposal.trial_id, state, values)
        self._claims.release(proposal.trial_id)
        if not ended:
            # by another worker, or by a call whose answer was lost
            self._claims.sync()
            current = self._view.evaluations[proposal.number].current
            ended = current.trial_id == proposal.trial_id and current.state == state
        return ended


def _ending(evaluation: Evaluation) -> Ending:
    attempt = evaluation.current
    outcome = attempt.outcome
    return Ending(
        attempt.values,
        outcome.get(VIOLATIONS, {}),
        outcome.get(RESULT),
        attempt.reached_points,
        evaluation.place,
    )
