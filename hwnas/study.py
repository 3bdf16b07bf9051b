"""The Optuna study of a search: proposes, records and resumes. Optuna appears only here."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, NSGAIIISampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState

from hwnas.config import SamplerName
from hwnas.costs import ArchitectureCosts
from hwnas.objectives import Constraint, Objective
from hwnas.study_journal import StudyJournal
from search_spaces import Architecture, Choice, SearchSpace

_ARCHITECTURE = "architecture"
_RESULT = "result"
_FAILURE = "failure"
_DUPLICATE_OF = "duplicate_of"
# asks in a row that yield no new feasible architecture before the sampler is overruled
_PATIENCE = 30
_POPULATION = 20

Predict = Callable[[Sequence[Architecture]], Sequence[ArchitectureCosts]]


@dataclass(frozen=True)
class Proposal:
    """An architecture to train: the limits are met, and it was never trained before."""

    number: int
    architecture: Architecture
    costs: ArchitectureCosts


@dataclass(frozen=True)
class Evaluated:
    """A trained architecture with its objective values.

    Args:
        number: Trial number.
        architecture: What was trained.
        values: One per objective, SI units.
        result: JSON-ready outcome of the training.
    """

    number: int
    architecture: Architecture
    values: tuple[float, ...]
    result: Mapping[str, Any]


class SearchStudy:
    """Ask-and-tell over a journal file: every trial is on disk before the next begins.

    All dimensions of the space form one fixed Optuna space, whatever is active,
    since samplers treat a parameter that some trial lacks as unknown for ever.
    Limits are checked before training: an infeasible proposal is told as pruned
    with its violations, and a repeated architecture as complete with the values
    already known. The sampler's randomness derives from the seed and the trial
    number, so a resumed study continues as if it had never stopped.

    Args:
        journal: Journal file, made where there is none.
        space: Search space.
        objectives: What to optimize.
        constraints: Limits on predicted costs.
        predict: Costs of architectures.
        sampler: Which of Optuna's samplers proposes.
        seed: Of the sampler.
        reserve: Feasible architectures to fall back on when the sampler finds none.
    """

    def __init__(
        self,
        journal: Path,
        space: SearchSpace,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint],
        predict: Predict,
        sampler: SamplerName,
        seed: int,
        reserve: Sequence[Architecture],
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        logging.getLogger("optuna").setLevel(logging.ERROR)
        self._space = space
        self._objectives = tuple(objectives)
        self._constraints = tuple(constraints)
        self._predict = predict
        self._sampler = sampler
        self._seed = seed
        self._reserve = list(reserve)
        self._distributions = {
            name: _distribution(choices) for name, choices in space.dimensions.items()
        }
        self._journal = StudyJournal(journal)
        self._study = optuna.create_study(
            study_name="search",
            storage=self._journal.storage,
            directions=[o.direction for o in objectives],
            load_if_exists=True,
        )
        self._numbers = self._trained_before()

    def enqueue(self, architectures: Sequence[Architecture]) -> None:
        """Queue architectures to be proposed first; does nothing in a resumed study."""
        if self._trials():
            return
        with self._journal.whole():
            for arch in architectures:
                self._study.enqueue_trial(self._to_parameters(arch))

    def pending(self) -> list[Proposal]:
        """Return proposals that a killed process left unfinished, to be trained now."""
        proposals = []
        for trial in self._trials(TrialState.RUNNING):
            arch = _architecture(trial)
            # alone, as when it was asked: a sum over a batch may round differently
            proposals.append(Proposal(trial.number, arch, self._predict([arch])[0]))
        return proposals

    def propose(self, n: int) -> list[Proposal]:
        """Ask until ``n`` new feasible architectures are found; fewer at the space's end.

        A batch is proposed whole or not at all, so that a resumed study asks
        with the same knowledge as one that never stopped.
        """
        with self._journal.whole():
            return self._propose(n)

    def _propose(self, n: int) -> list[Proposal]:
        proposals: list[Proposal] = []
        misses = 0
        while len(proposals) < n:
            if misses >= _PATIENCE:
                fallback = self._unseen_reserve()
                if fallback is None:
                    break
                self._study.enqueue_trial(self._to_parameters(fallback))
                misses = 0
            proposal = self._ask()
            if proposal is None:
                misses += 1
            else:
                proposals.append(proposal)
                misses = 0
        return proposals

    def complete(
        self,
        proposal: Proposal,
        values: Sequence[float],
        result: Mapping[str, Any],
        violations: Mapping[str, float] | None = None,
    ) -> None:
        """Record a trained architecture.

        Args:
            proposal: What was trained.
            values: One per objective.
            result: JSON-ready outcome.
            violations: Of the limits that only training could judge.
        """
        with self._journal.whole():
            trial = self._trial(proposal.number)
            _set_constraints(trial, violations or {})
            trial.set_user_attr(_RESULT, json.dumps(result))
            self._study.tell(proposal.number, list(values))

    def fail(self, proposal: Proposal, reason: str) -> None:
        """Record that training failed, with the reason."""
        self._trial(proposal.number).set_user_attr(_FAILURE, reason)
        self._study.tell(proposal.number, state=TrialState.FAIL)

    def evaluated(self) -> list[Evaluated]:
        """Return trained architectures in trial order, each once."""
        return [
            Evaluated(
                trial.number,
                _architecture(trial),
                tuple(trial.values),
                json.loads(trial.user_attrs[_RESULT]),
            )
            for trial in self._trials(TrialState.COMPLETE)
            if _DUPLICATE_OF not in trial.user_attrs
        ]

    def failures(self) -> list[str]:
        """Return why trainings failed, in trial order."""
        return [t.user_attrs[_FAILURE] for t in self._trials() if _FAILURE in t.user_attrs]

    def counts(self) -> dict[str, int]:
        """Return how many trials were evaluated, infeasible, repeated and failed."""
        trials = self._trials()
        repeated = sum(_DUPLICATE_OF in t.user_attrs for t in trials)
        complete = sum(t.state == TrialState.COMPLETE for t in trials)
        pruned = sum(t.state == TrialState.PRUNED for t in trials)
        repeated_pruned = sum(
            t.state == TrialState.PRUNED and _DUPLICATE_OF in t.user_attrs for t in trials
        )
        return {
            "evaluated": complete - (repeated - repeated_pruned),
            "infeasible": pruned - repeated_pruned,
            "repeated": repeated,
            "failed": len(self.failures()),
        }

    def _ask(self) -> Proposal | None:
        self._study.sampler = self._make_sampler(len(self._trials()))
        trial = self._study.ask(self._distributions)
        arch = self._from_parameters(trial.params)
        trial.set_user_attr(_ARCHITECTURE, json.dumps(arch.to_dict()))
        costs = self._predict([arch])[0]
        violations = costs.violations(self._constraints)
        if any(v > 0 for v in violations.values()):
            self._prune(trial, violations)
            return None
        if (number := self._numbers.get(arch.arch_id)) is not None:
            trial.set_user_attr(_DUPLICATE_OF, number)
            earlier = self._trials()[number]
            if earlier.state == TrialState.COMPLETE:
                _set_constraints(trial, earlier.constraints)
                self._study.tell(trial, earlier.values)
            else:
                self._prune(trial, violations)
            return None
        # a constraint can be set once: those that the exits decide come with the training
        settled = [c.name for c in self._constraints if c.is_known_before_training]
        _set_constraints(trial, {name: violations[name] for name in settled})
        self._numbers[arch.arch_id] = trial.number
        return Proposal(trial.number, arch, costs)

    def _prune(self, trial: Trial, violations: Mapping[str, float]) -> None:
        _set_constraints(trial, violations)
        self._study.tell(trial, state=TrialState.PRUNED)

    def _trained_before(self) -> dict[str, int]:
        """Return the trial number of each architecture that was or is being trained."""
        numbers: dict[str, int] = {}
        for trial in self._trials():
            trained = trial.state in (TrialState.COMPLETE, TrialState.RUNNING) or (
                _FAILURE in trial.user_attrs
            )
            if trained and _ARCHITECTURE in trial.user_attrs:
                numbers.setdefault(_architecture(trial).arch_id, trial.number)
        return numbers

    def _unseen_reserve(self) -> Architecture | None:
        while self._reserve:
            arch = self._reserve.pop(0)
            if arch.arch_id not in self._numbers:
                return arch
        return None

    def _make_sampler(self, number: int) -> BaseSampler:
        seed = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        if self._sampler == "random":
            return RandomSampler(seed=seed)
        if self._sampler == "nsga2":
            return NSGAIISampler(population_size=_POPULATION, seed=seed)
        if self._sampler == "nsga3":
            with warnings.catch_warnings():
                # its interface may change, says Optuna; its major version is pinned here
                warnings.simplefilter("ignore", ExperimentalWarning)
                return NSGAIIISampler(population_size=_POPULATION, seed=seed)
        return TPESampler(seed=seed, multivariate=True)

    def _to_parameters(self, arch: Architecture) -> dict[str, Any]:
        parameters: dict[str, Any] = {}
        for name, value in arch.choices:
            choices = self._space.dimensions[name]
            ordered = isinstance(self._distributions[name], IntDistribution)
            parameters[name] = choices.index(value) if ordered else value
        return parameters

    def _from_parameters(self, parameters: Mapping[str, Any]) -> Architecture:
        choices: dict[str, Choice] = {}
        for name, value in parameters.items():
            ordered = isinstance(self._distributions[name], IntDistribution)
            choices[name] = self._space.dimensions[name][value] if ordered else value
        return self._space.canonicalize(choices)

    def _trial(self, number: int) -> Trial:
        return Trial(self._study, self._trials()[number]._trial_id)

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states or None)


def _distribution(choices: Sequence[Choice]) -> BaseDistribution:
    # numbers are ordered: an index tells the sampler which are neighbours
    if all(isinstance(choice, int | float) for choice in choices):
        return IntDistribution(0, len(choices) - 1)
    return CategoricalDistribution(list(choices))


def _set_constraints(trial: Trial, violations: Mapping[str, float]) -> None:
    for name, violation in violations.items():
        trial.set_constraint(name, violation)


def _architecture(trial: FrozenTrial) -> Architecture:
    return Architecture.from_dict(json.loads(cast(str, trial.user_attrs[_ARCHITECTURE])))
