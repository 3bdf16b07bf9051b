"""What a search may spend: announced to its workers, and another after it is resumed."""

from __future__ import annotations

from bisect import bisect, insort
from collections.abc import Mapping
from math import floor
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from hwnas.compute_energy import Spending, Spent
from hwnas.config import ExperimentConfig
from hwnas.search_plan import SearchPlan
from hwnas.stop_config import StopConfig
from hwnas.stopping import HypervolumeHistory, stop_reason
from hwnas.study import Ending, SearchStudy

BUDGET = "budget"
"""Key under which a study's budget is announced."""

STOPPED = "stopped"
"""Key under which a `Stop` is announced."""

SPENDING = "spending"
"""Key of what an evaluation took, in its result."""


class Budget(BaseModel):
    """What ends a search.

    Attributes:
        evaluations: Architectures to train fully; one whose training is halted counts as the
            share of its epochs.
        stop: Further budgets.
        lease_s: How long a worker may be silent before it is taken for dead.
    """

    model_config = ConfigDict(frozen=True)

    evaluations: int
    stop: StopConfig
    lease_s: float

    @classmethod
    def of(cls, config: ExperimentConfig) -> Self:
        """Return the budget that an experiment sets."""
        settings = config.search
        return cls(evaluations=settings.evaluations, stop=settings.stop, lease_s=settings.lease_s)


class Stop(BaseModel):
    """That a search ended before its evaluations were spent; it holds for one budget.

    Attributes:
        budget: That was spent.
        reason: As part of a sentence.
    """

    model_config = ConfigDict(frozen=True)

    budget: Budget
    reason: str


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
        self._endings: list[Ending] = []

    def budget(self) -> Budget:
        """Return what the search may spend, as announced last."""
        return announced_budget(self._study)

    def wanted(self, budget: Budget) -> int:
        """Return how many complete evaluations the study is to have."""
        return max(0, budget.evaluations - floor(self._halted))

    def stop_reason(self, budget: Budget) -> str | None:
        """Return why the search ends now, as part of a sentence, if it does.

        Who finds a reason states it for all workers, whatever ends after it, and for a search
        that is resumed with the same budget.
        """
        if stated := self._study.announcement(STOPPED):
            stop = Stop.model_validate_json(stated)
            if stop.budget == budget:
                return stop.reason
        reason = stop_reason(budget.stop, self._spent, self._history.volumes)
        if reason is not None:
            self._study.announce(STOPPED, Stop(budget=budget, reason=reason).model_dump_json())
        return reason

    def update(self) -> None:
        """Take account of the evaluations that have ended since the last call."""
        new = self._study.endings(len(self._endings))
        for ending in new:
            self._add(ending.result or {})
        # others may have read them in another order
        first = len(self._endings)
        for ending in new:
            first = min(first, bisect(self._endings, ending.place, key=_place))
            insort(self._endings, ending, key=_place)
        self._history.cut(first)
        for ending in self._endings[first:]:
            self._history.add(ending.points)

    def _add(self, result: Mapping[str, Any]) -> None:
        if (spending := result.get(SPENDING)) is not None:
            self._spent.add(Spending.from_dict(spending))
        if result.get("halted"):
            self._halted += result["epochs"] / self._epochs


def _place(ending: Ending) -> tuple[int, int]:
    return ending.place
