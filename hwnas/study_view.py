"""What the stored trials of a study say, brought up to date trial by trial."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from hwnas.trial_record import (
    ABANDONED,
    AFTER,
    DIED,
    FAILURE,
    LEASE,
    OUTCOME,
    POINTS,
    RECORD,
    RUNG,
    TrialContent,
    TrialRecord,
)
from search_spaces import Architecture

MAX_DEATHS = 3


class Status(Enum):
    """What became of a proposal."""

    RUNNING = auto()
    COMPLETE = auto()
    STOPPED = auto()  # before its training's end, as one that cannot reach the front
    FAILED = auto()
    ABANDONED = auto()  # its worker died or was interrupted: to be taken up
    GIVEN_BACK = auto()  # another worker had the architecture, or the last evaluation
    INFEASIBLE = auto()
    REPEATED = auto()


@dataclass
class Attempt:
    """One stored trial that runs, or ran, an evaluation.

    Args:
        number: Of the evaluation.
        trial_id: In the storage.
        order: How many trials were stored before it.
        record: What it was created with.
    """

    number: int
    trial_id: int
    order: int
    record: TrialRecord
    state: TrialState = TrialState.RUNNING
    attributes: Mapping[str, Any] = field(default_factory=dict)
    values: tuple[float, ...] | None = None

    @property
    def outcome(self) -> Mapping[str, Any]:
        """What was written at its end."""
        outcome: Mapping[str, Any] = self.attributes.get(OUTCOME, {})
        return outcome

    @property
    def reached_points(self) -> tuple[tuple[float, ...], ...]:
        """Objective values within the limits, where it is complete: one per exit policy."""
        if self.state != TrialState.COMPLETE:
            return ()
        return tuple(tuple(p) for p in self.outcome[POINTS] if p is not None)

    @property
    def after(self) -> int:
        """How many evaluations had ended when it did, as far as whoever ended it knew."""
        return int(self.outcome.get(AFTER, self.attributes.get(AFTER, 0)))

    @property
    def renewals(self) -> int:
        """How often its lease was renewed."""
        return int(self.attributes.get(LEASE, 0))


@dataclass
class Evaluation:
    """A proposal with all attempts to evaluate it; its number never changes.

    Args:
        number: How many were proposed before it, by anyone. Retries have no number of
            their own, so that a study goes on as if nobody had died.
        content: What it is about.
        attempts: Trials, in the order of their creation.
        status: What became of it.
    """

    number: int
    content: TrialContent
    attempts: list[Attempt] = field(default_factory=list)
    status: Status = Status.RUNNING

    @property
    def architecture(self) -> Architecture:
        """What was proposed."""
        if self.content.architecture is None:
            raise ValueError(f"evaluation {self.number} holds no architecture.")
        return self.content.architecture

    @property
    def current(self) -> Attempt:
        """The attempt that decides: the finished one, or else the first that runs."""
        decisive = (TrialState.COMPLETE, TrialState.PRUNED)
        finished = [a for a in self.attempts if a.state in decisive]
        running = [a for a in self.attempts if a.state == TrialState.RUNNING]
        return [*finished, *running, self.attempts[-1]][0]

    @property
    def failure(self) -> str | None:
        """Why it failed, if it did."""
        for attempt in self.attempts:
            if attempt.state == TrialState.FAIL and FAILURE in attempt.outcome:
                return str(attempt.outcome[FAILURE])
        if self._deaths() >= MAX_DEATHS:
            return f"the worker died {MAX_DEATHS} times"
        return None

    @property
    def place(self) -> tuple[int, int]:
        """Of its ending among all, the same for all readers: whoever ends later knows of it."""
        return self.current.after, self.number

    @property
    def has_ended(self) -> bool:
        """Whether it is complete, stopped early or failed."""
        return self.status in _ENDED

    def settle(self) -> None:
        """Derive the status from the attempts."""
        self.status = self._status()

    def _status(self) -> Status:
        if self.content.duplicate_of is not None:
            return Status.REPEATED
        state = self.current.state
        if state == TrialState.COMPLETE:
            return Status.COMPLETE
        if state == TrialState.PRUNED:
            return Status.STOPPED if self.current.outcome else Status.INFEASIBLE
        if self.failure is not None:
            return Status.FAILED
        if state == TrialState.RUNNING:
            return Status.RUNNING
        abandoned = any(ABANDONED in a.attributes for a in self.attempts)
        return Status.ABANDONED if abandoned else Status.GIVEN_BACK

    def _deaths(self) -> int:
        return sum(
            a.state == TrialState.FAIL and a.attributes.get(ABANDONED) == DIED
            for a in self.attempts
        )


_ENDED = (Status.COMPLETE, Status.STOPPED, Status.FAILED)
_MISSES = (Status.INFEASIBLE, Status.REPEATED)


class StudyView:
    """All evaluations of a study; a finished trial is looked at once.

    Attributes:
        evaluations: In the order of their numbers.
        counts: How many have each status.
        misses: How many proposals in a row, up to the last, were infeasible or repeated.
        rungs: Values that evaluations reported, by rung and number.
        ended: Those complete, stopped early or failed, as they were read; by their places
            where several were read at once.
        known: Ids of all trials, in the order of their creation.
    """

    def __init__(self) -> None:
        self.evaluations: list[Evaluation] = []
        self.counts: Counter[Status] = Counter()
        self.misses = 0
        self.known: list[int] = []
        self.ended: list[Evaluation] = []
        self.rungs: dict[int, dict[int, tuple[float, ...]]] = {}
        self._open: dict[int, Attempt] = {}
        self._by_token: dict[str, Attempt] = {}
        self._by_architecture: dict[str, list[Evaluation]] = {}
        self._infeasible: set[str] = set()
        self._live: dict[int, Evaluation] = {}

    def update(self, trials: Sequence[FrozenTrial]) -> list[Evaluation]:
        """Take in what changed.

        Args:
            trials: The unfinished ones and all new ones, the latter in the order of their
                creation; not a new one whose predecessor is missing.

        Returns:
            Evaluations that are new or changed, by number.
        """
        changed: set[int] = set()
        for trial in trials:
            if trial.number == len(self.known):
                self.known.append(trial._trial_id)
                changed.add(self._add(trial))
            elif _has_changed(attempt := self._open[trial.number], trial):
                self._refresh(attempt, trial)
                changed.add(attempt.number)
        evaluations = [self.evaluations[number] for number in sorted(changed)]
        before = len(self.ended)
        for evaluation in evaluations:
            self._settle(evaluation)
        self.ended[before:] = sorted(self.ended[before:], key=lambda e: e.place)
        return evaluations

    def attempt(self, token: str) -> Attempt:
        """Return the attempt whose record has a token."""
        return self._by_token[token]

    def owner(self, architecture: Architecture) -> Evaluation | None:
        """Return the first evaluation of an architecture that was not given back."""
        for evaluation in self._by_architecture.get(architecture.arch_id, ()):
            if evaluation.status != Status.GIVEN_BACK:
                return evaluation
        return None

    def held(self) -> Iterator[Evaluation]:
        """Yield the evaluations that hold their architecture, by number."""
        for evaluation in self.evaluations:
            # of two that claimed the same one, the later will be given back
            is_miss = evaluation.status in _MISSES
            if not is_miss and self.owner(evaluation.architecture) is evaluation:
                yield evaluation

    def contenders(self, evaluation: Evaluation) -> int:
        """Return how many evaluations of the same architecture came before this one."""
        return self._by_architecture[evaluation.architecture.arch_id].index(evaluation)

    def running(self) -> list[Evaluation]:
        """Return the evaluations that run, by number."""
        return self._with(Status.RUNNING)

    def abandoned(self) -> list[Evaluation]:
        """Return the evaluations to be taken up, by number."""
        return [e for e in self._with(Status.ABANDONED) if self.owner(e.architecture) is e]

    @property
    def complete(self) -> int:
        """How many evaluations are complete."""
        return self.counts[Status.COMPLETE]

    def is_new(self, architecture: Architecture) -> bool:
        """Return whether an architecture is neither taken nor known to be infeasible."""
        return self.owner(architecture) is None and architecture.arch_id not in self._infeasible

    def unfinished(self) -> dict[int, int]:
        """Return the ids of trials that run, by the order of their creation."""
        return {order: attempt.trial_id for order, attempt in self._open.items()}

    def open_attempts(self) -> list[Attempt]:
        """Return the trials that run, in the order of their creation."""
        return list(self._open.values())

    def stored_twice(self) -> list[Attempt]:
        """Return running trials that repeat a record, as none should be."""
        return [a for a in self._open.values() if self._by_token[a.record.token] is not a]

    def _with(self, status: Status) -> list[Evaluation]:
        return [e for number, e in sorted(self._live.items()) if e.status == status]

    def _add(self, trial: FrozenTrial) -> int:
        record = TrialRecord.from_dict(trial.user_attrs[RECORD])
        earlier = self._by_token.get(record.token)
        if earlier is not None:
            number = earlier.number
        elif record.content.retry_of is not None:
            number = record.content.retry_of
        else:
            number = len(self.evaluations)
        attempt = Attempt(number, trial._trial_id, trial.number, record)
        self._refresh(attempt, trial)
        if earlier is None:
            self._by_token[record.token] = attempt
            if record.content.retry_of is None:
                self.evaluations.append(Evaluation(number, record.content))
            self.evaluations[number].attempts.append(attempt)
        return number

    def _refresh(self, attempt: Attempt, trial: FrozenTrial) -> None:
        attempt.state, attempt.attributes = trial.state, trial.user_attrs
        attempt.values = None if trial.values is None else tuple(trial.values)
        if trial.state.is_finished():
            self._open.pop(attempt.order, None)
        else:
            self._open[attempt.order] = attempt
        for key, values in trial.user_attrs.items():
            if key.startswith(RUNG):
                rung = self.rungs.setdefault(int(key.removeprefix(RUNG)), {})
                rung[attempt.number] = tuple(values)

    def _settle(self, evaluation: Evaluation) -> None:
        before, is_new = evaluation.status, evaluation.number >= self.counts.total()
        evaluation.settle()
        status = evaluation.status
        if is_new:
            self.misses = self.misses + 1 if status in _MISSES else 0
            if status == Status.INFEASIBLE:
                self._infeasible.add(evaluation.architecture.arch_id)
            if status not in _MISSES:
                same = self._by_architecture.setdefault(evaluation.architecture.arch_id, [])
                same.append(evaluation)
        else:
            self.counts[before] -= 1
        self.counts[status] += 1
        if status in _ENDED and (is_new or before not in _ENDED):
            self.ended.append(evaluation)
        if status in (Status.RUNNING, Status.ABANDONED):
            self._live[evaluation.number] = evaluation
        else:
            self._live.pop(evaluation.number, None)


def _has_changed(attempt: Attempt, trial: FrozenTrial) -> bool:
    return trial.state != attempt.state or trial.user_attrs != attempt.attributes
