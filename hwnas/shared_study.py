"""The study of a search, shared by any number of workers: proposes, records and resumes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from optuna.storages import BaseStorage
from optuna.trial import TrialState

from hwnas.costs import ArchitectureCosts
from hwnas.leases import LeaseKeeper, LeaseWatch
from hwnas.objectives import Constraint, Objective
from hwnas.parameter_space import ParameterSpace
from hwnas.sampler_mirror import SamplerFactory, SamplerMirror, Suggestion
from hwnas.study_store import StudyStore
from hwnas.study_view import Attempt, Evaluation, Status, StudyView
from hwnas.trial_record import (
    ABANDONED,
    FAILURE,
    OUTCOME,
    RECORD,
    RUNG,
    TrialRecord,
    new_token,
)
from hwnas.worker_process import WorkerProcess
from search_spaces import Architecture, SearchSpace

# proposals in a row that yield no new feasible architecture before the sampler is overruled
_PATIENCE = 30
_QUEUE = "queue"

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
    """

    number: int
    architecture: Architecture
    values: tuple[float, ...]
    result: Mapping[str, Any]


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
        reserve: Feasible architectures to fall back on when the sampler finds none.
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
        reserve: Sequence[Architecture] = (),
        *,
        worker: str,
        name: str = "search",
        lease_s: float = 60.0,
        patience_s: float = 300.0,
    ) -> None:
        self._constraints = tuple(constraints)
        self._predict = predict
        self._reserve = list(reserve)
        self._worker = worker
        self._process = WorkerProcess.current()
        directions = [objective.direction for objective in objectives]
        self._store = StudyStore(storage, name, patience_s)
        self._store.open(directions)
        self._parameters = ParameterSpace(space)
        self._view = StudyView()
        self._mirror = SamplerMirror(self._parameters, directions, sampler)
        self._keeper = LeaseKeeper(self._store, lease_s)
        self._watch = LeaseWatch(lease_s)
        self._queue: list[Architecture] | None = None
        self._evaluated: dict[int, Evaluated] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back what this worker has not finished, and renew no more leases."""

    def describe(self, key: str, text: str) -> None:
        """Store a text with the study; does nothing if there is one of this key.

        Workers that know nothing but the storage read it by `read_description`.
        """
        self._store.describe(key, text)

    def description(self, key: str) -> str | None:
        """Return a text stored with the study; ``None`` where there is none."""
        return self._store.description(key)

    def enqueue(self, architectures: Sequence[Architecture]) -> None:
        """Have architectures proposed first; does nothing where some were enqueued before."""

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
        raise NotImplementedError

    def complete(
        self,
        proposal: Proposal,
        values: Sequence[float],
        result: Mapping[str, Any],
        violations: Mapping[str, float] | None = None,
    ) -> bool:
        """Record a trained architecture.

        Args:
            proposal: What was trained.
            values: One per objective.
            result: JSON-ready outcome.
            violations: Of the limits that only training could judge.

        Returns:
            ``False`` if this worker had been taken for dead, and the result is discarded.
        """
        raise NotImplementedError

    def prune(self, proposal: Proposal, reason: str, result: Mapping[str, Any]) -> bool:
        """Record that an evaluation was stopped early; returns as `complete` does."""
        raise NotImplementedError

    def fail(self, proposal: Proposal, reason: str) -> bool:
        """Record that training failed, with the reason; returns as `complete` does."""
        raise NotImplementedError

    def report_rung(self, proposal: Proposal, rung: int, values: Sequence[float]) -> None:
        """Store what an evaluation has reached at a rung of successive halving."""

    def rung_values(self, rung: int) -> dict[int, tuple[float, ...]]:
        """Return what every evaluation reached at a rung, by number."""
        raise NotImplementedError

    def evaluated(self) -> list[Evaluated]:
        """Return trained architectures by number, each once."""
        raise NotImplementedError

    def failures(self) -> list[str]:
        """Return why evaluations failed, by number."""
        raise NotImplementedError

    def counts(self) -> dict[str, int]:
        """Return how many proposals were evaluated, infeasible and so on.

        Keys: ``evaluated``, ``infeasible``, ``repeated``, ``failed``, ``stopped`` early,
        ``running``.
        """
        raise NotImplementedError
