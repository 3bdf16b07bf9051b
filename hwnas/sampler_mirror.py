"""A study in memory that samplers work on, so that no parameter is ever stored one by one."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NoReturn, TypeAlias

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hwnas.objectives import Direction
from hwnas.parameter_space import ParameterSpace
from hwnas.samplers.pareto_guided import OTHER_VALUES
from hwnas.study_view import Evaluation, Status
from hwnas.trial_record import VIOLATIONS

SamplerFactory: TypeAlias = Callable[[int], BaseSampler]
"""Sampler for the trial of a number; its randomness derives from a seed and that number."""

_STATES = {
    Status.RUNNING: TrialState.RUNNING,
    Status.ABANDONED: TrialState.RUNNING,
    Status.COMPLETE: TrialState.COMPLETE,
    Status.STOPPED: TrialState.PRUNED,
    Status.INFEASIBLE: TrialState.PRUNED,
    Status.FAILED: TrialState.FAIL,
    Status.GIVEN_BACK: TrialState.FAIL,
}
_STUDY = 0


@dataclass(frozen=True)
class Suggestion:
    """What a sampler proposed.

    Args:
        positions: By dimension, among its choices.
        system: Attributes that it gave the trial.
        study: Attributes that it gave the study.
    """

    positions: list[int]
    system: Mapping[str, Any] = field(default_factory=dict)
    study: Mapping[str, Any] = field(default_factory=dict)


class SamplerMirror:
    """Every evaluation of a study as an Optuna trial with parameters, values and constraints.

    Trials have the numbers of evaluations. A trial abandoned by its worker still runs, and
    a repeated architecture has the values that were known when it was proposed. One given
    back has no parameters: if another evaluation holds its architecture, that one has them,
    and otherwise samplers may propose it again.

    Args:
        space: Its parameters.
        directions: Of the objectives.
        factory: Makes the samplers.
    """

    def __init__(
        self, space: ParameterSpace, directions: Sequence[Direction], factory: SamplerFactory
    ) -> None:
        self._space = space
        self._factory = factory
        self._trials = _Trials()
        self.study = optuna.create_study(storage=self._trials, directions=list(directions))

    def update(self, changed: Sequence[Evaluation]) -> None:
        """Take in evaluations that are new or changed, by number."""
        for evaluation in changed:
            self._trials.put(self._frozen(evaluation))
            self._trials.attributes.update(evaluation.content.study)

    def suggest(self, number: int | None = None) -> Suggestion:
        """Ask the sampler; nothing of it stays in the mirror.

        Args:
            number: Of the trial, if not the next one.
        """
        with self._trials.provisional(number) as kept:
            seeded = len(self._trials.trials) if number is None else number
            self.study.sampler = self._factory(seeded)
            trial = self.study.ask(self._space.distributions)
            asked = self._trials.trials[-1]
            positions = self._space.positions(trial.params)
        attributes = self._trials.attributes
        new = {k: v for k, v in kept.items() if k not in attributes or attributes[k] != v}
        return Suggestion(positions, dict(asked.system_attrs), new)

    def _frozen(self, evaluation: Evaluation) -> FrozenTrial:
        content, attempt = evaluation.content, evaluation.current
        constraints = dict(content.violations)
        constraints.update(attempt.outcome.get(VIOLATIONS, {}))
        values, others = attempt.values, attempt.reached_points
        if evaluation.status == Status.REPEATED:
            state = TrialState.COMPLETE if content.is_told else TrialState.PRUNED
            if content.is_told and content.duplicate_of is not None:
                earlier = self._trials.trials[content.duplicate_of]
                values, constraints = tuple(earlier.values), earlier.constraints
        else:
            state = _STATES[evaluation.status]
        started = self._trials.started
        is_held = evaluation.status != Status.GIVEN_BACK
        return FrozenTrial(
            evaluation.number,
            state,
            None,
            started,
            started if state.is_finished() else None,
            self._space.parameters(content.positions) if is_held else {},
            self._space.distributions if is_held else {},
            {},
            {
                **content.system,
                **{f"constraints:{k}": v for k, v in constraints.items()},
                **({OTHER_VALUES: others} if len(others) > 1 else {}),
            },
            {},
            evaluation.number,
            values=values if state == TrialState.COMPLETE else None,
        )


class _Trials(BaseStorage):
    """The part of a storage that samplers use: one study, whose last trial can be undone."""

    def __init__(self) -> None:
        self.trials: list[FrozenTrial] = []
        self.attributes: dict[str, Any] = {}
        self.started = datetime.now()
        self._directions: list[StudyDirection] = []
        self._name = ""
        self._number: int | None = None

    def put(self, trial: FrozenTrial) -> None:
        if trial.number == len(self.trials):
            self.trials.append(trial)
        else:
            self.trials[trial.number] = trial

    @contextmanager
    def provisional(self, number: int | None) -> Any:
        """Undo, at the end, what happens meanwhile; yields the attributes as they become."""
        n_trials, attributes = len(self.trials), dict(self.attributes)
        kept: dict[str, Any] = {}
        self._number = number
        try:
            yield kept
            kept.update(self.attributes)
        finally:
            del self.trials[n_trials:]
            self.attributes = attributes
            self._number = None

    def create_new_study(
        self, directions: Sequence[StudyDirection], study_name: str | None = None
    ) -> int:
        self._directions, self._name = list(directions), study_name or "search"
        return _STUDY

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        trial_id = len(self.trials)
        number = trial_id if self._number is None else self._number
        self.trials.append(
            FrozenTrial(
                number, TrialState.RUNNING, None, self.started, None, {}, {}, {}, {}, {}, trial_id
            )
        )
        return trial_id

    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        trial = self.trials[trial_id]
        trial.params[param_name] = distribution.to_external_repr(param_value_internal)
        trial.distributions[param_name] = distribution

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self.trials[trial_id].system_attrs[key] = value

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self.trials[trial_id].user_attrs[key] = value

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self.attributes[key] = value

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self.attributes

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return {}

    def get_study_id_from_name(self, study_name: str) -> int:
        return _STUDY

    def get_study_name_from_id(self, study_id: int) -> str:
        return self._name

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return self._directions

    def get_trial(self, trial_id: int) -> FrozenTrial:
        return self.trials[trial_id]

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        if states is None:
            return list(self.trials)
        if states == (TrialState.WAITING,):
            # asked before each trial, and there is none
            return []
        return [trial for trial in self.trials if trial.state in states]

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        return trial_number

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> NoReturn:
        raise NotImplementedError("what ends a trial is stored, not mirrored")

    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> NoReturn:
        raise NotImplementedError("studies of several objectives have no intermediate values")

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> NoReturn:
        raise NotImplementedError("samplers describe no study")

    def delete_study(self, study_id: int) -> NoReturn:
        raise NotImplementedError("a mirror lives as long as its study")

    def get_all_studies(self) -> NoReturn:
        raise NotImplementedError("a mirror holds one study")
