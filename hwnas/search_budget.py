"""What a search may spend: announced to its workers, and another after it is resumed."""

from __future__ import annotations

from math import floor
from typing import Self

from pydantic import BaseModel, ConfigDict

from hwnas.compute_energy import Spending, Spent
from hwnas.config import ExperimentConfig
from hwnas.search_plan import SearchPlan
from hwnas.stop_config import StopConfig
from hwnas.stopping import HypervolumeHistory, stop_reason
from hwnas.study import SearchStudy

BUDGET = "budget"
"""Key under which a study's budget is announced."""

STOPPED = "stopped"
"""Key under which it is announced why a search ended before its evaluations were spent."""

SPENDING = "spending"
"""Key of what an evaluation took, in its result."""


class Budget(BaseModel):
    """What ends a search.

    Attributes:
        evaluations: Architectures to train fully; one whose training is halted counts as the
            share of its epochs.
        stop: Further budgets.
    """

    model_config = ConfigDict(frozen=True)

    evaluations: int
    stop: StopConfig

    @classmethod
    def of(cls, config: ExperimentConfig) -> Self:
        """Return the budget that an experiment sets."""
        return cls(evaluations=config.search.evaluations, stop=config.search.stop)


def announced_budget(study: SearchStudy) -> Budget:
    """Return what a search may spend, as announced last: a resumed one may ask for more."""
    return Budget.model_validate_json(study.announcement(BUDGET) or "")


class Accounts:
    """Keeps account of what a search has spent, evaluation by evaluation.

    Args:
        plan: Of the search.
        study: Of the search.
    """

    def __init__(self, plan: SearchPlan, study: SearchStudy) -> None:
        self._study = study
        self._epochs = plan.config.training.epochs
        self._history = HypervolumeHistory(plan.scale)
        self._spent = Spent()
        self._halted = 0.0
        self._seen = 0

    def budget(self) -> Budget:
        """Return what the search may spend, as announced last."""
        return announced_budget(self._study)

    def wanted(self, budget: Budget) -> int:
        """Return how many complete evaluations the study is to have."""
        return max(0, budget.evaluations - floor(self._halted))

    def stop_reason(self, budget: Budget) -> str | None:
        """Return why the search ends now, as part of a sentence, if it does."""
        return stop_reason(budget.stop, self._spent, self._history.volumes)

    def update(self) -> None:
        """Take account of the evaluations that have ended since the last call."""
        for ending in self._study.endings(self._seen):
            self._seen += 1
            self._history.add(ending.points)
            if ending.result is None:
                continue
            if (spending := ending.result.get(SPENDING)) is not None:
                self._spent.add(Spending.from_dict(spending))
            if ending.result["halted"]:
                self._halted += ending.result["epochs"] / self._epochs
