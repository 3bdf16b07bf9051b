"""Which evaluations are the sample of `auto`, and what is made of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

import hwnas.scorer_choice
from hwnas.candidate_training import LearningCurve, SplitResult, TrainingOutcome
from hwnas.ranking_quality import RankingSample
from hwnas.scorer_choice import LADDER, ScorerChoice
from hwnas.scorers.full import FullTraining
from hwnas.scorers.reseeded import ReseededTraining
from hwnas.scorers.testing import small_context
from hwnas.scoring_ladder import choose_ladder
from hwnas.search_budget import BUDGET, Budget
from hwnas.search_samplers import CandidateFilter
from hwnas.study import Evaluated, SearchStudy
from hwnas.study_view import Evaluation, Status
from hwnas.trial_record import TrialContent
from search_spaces import Architecture

COUNT = 8


class StudyInMemory:
    """Evaluations with numbers that need not be in a row."""

    def __init__(self, context: Any) -> None:
        self._space = context.space
        self._found: dict[int, tuple[Status, TrainingOutcome | None]] = {}
        self.texts = {BUDGET: Budget.of(context.config).model_dump_json()}

    def add(self, number: int, outcome: TrainingOutcome | None, status: Status) -> None:
        self._found[number] = (status, outcome)

    def first(self, n: int) -> list[Evaluation]:
        found = sorted(self._found.items())
        return [Evaluation(k, TrialContent(), status=status) for k, (status, _) in found][:n]

    def evaluated(self) -> list[Evaluated]:
        return [
            Evaluated(number, self._architecture(number), (), outcome.to_dict())
            for number, (status, outcome) in sorted(self._found.items())
            if status == Status.COMPLETE and outcome is not None
        ]

    def counts(self) -> dict[str, int]:
        statuses = [status for status, _ in self._found.values()]
        return {
            "evaluated": statuses.count(Status.COMPLETE),
            "failed": statuses.count(Status.FAILED),
        }

    def describe(self, key: str, text: str) -> None:
        self.texts.setdefault(key, text)

    def description(self, key: str) -> str | None:
        return self.texts.get(key)

    announcement = description

    @property
    def ladder(self) -> dict[str, Any]:
        return cast("dict[str, Any]", json.loads(self.texts[LADDER]))

    def _architecture(self, number: int) -> Architecture:
        drawn: Architecture = self._space.sample(np.random.default_rng(number))
        return drawn


def trained(accuracy: float, seeds: int = 2) -> TrainingOutcome:
    """Rungs tell all that the end tells, at a tenth of its cost."""
    curve = (accuracy,) * 3
    return TrainingOutcome(
        validation=SplitResult(1000, accuracy, (accuracy,), (1.0,)),
        curves=tuple(LearningCurve(s, (1, 3, 9), curve, (1.0, 3.0, 9.0)) for s in range(seeds)),
    )


def accuracies(n: int) -> NDArray[np.float64]:
    return np.linspace(0.3, 0.9, n)


class Search:
    """A choice in the making."""

    def __init__(self, folder: Path, **search: Any) -> None:
        ranking = {"architectures": COUNT, "seeds": 2}
        self.context = small_context(
            folder, accuracy={"ranking": ranking}, search={"evaluations": 200, **search}
        )
        self.study = StudyInMemory(self.context)
        self.filter = CandidateFilter(self._scores, COUNT)
        self.choice = self.another_worker()

    def another_worker(self) -> ScorerChoice:
        return ScorerChoice(cast(SearchStudy, self.study), self.context, self.filter)

    def end(self, numbers: Sequence[int]) -> None:
        for number, accuracy in zip(numbers, accuracies(len(numbers)).tolist(), strict=True):
            self.study.add(number, trained(accuracy), Status.COMPLETE)

    def _scores(self, encodings: NDArray[np.intp]) -> NDArray[np.float64]:
        return np.repeat(accuracies(len(encodings))[:, None], 3, axis=1)


def test_the_sample_is_of_architectures_however_many_proposals_were_in_vain(
    tmp_path: Path,
) -> None:
    search = Search(tmp_path)
    numbers = list(range(1, 4 * COUNT, 4))
    for number in numbers:
        search.study.add(number, None, Status.RUNNING)
        assert isinstance(search.choice.of(number), ReseededTraining)
    search.study.add(4 * COUNT, None, Status.RUNNING)
    assert isinstance(search.choice.of(4 * COUNT), FullTraining)
    search.end(numbers)
    search.choice.settle()
    assert "How well scores rank 8 architectures" in search.study.ladder["lines"][0]
    # a retry is trained as it was, by whomever, whatever was chosen since
    again = search.another_worker()
    again.settle()
    assert isinstance(again.of(numbers[-1]), ReseededTraining)
    assert not isinstance(again.of(4 * COUNT), ReseededTraining)


def test_a_sample_that_will_never_be_enough_is_told_and_full_training_stays(
    tmp_path: Path,
) -> None:
    search = Search(tmp_path)
    for number in range(COUNT + 1):
        lost = number < 3
        outcome = trained(0.5) if number < COUNT else trained(0.5, seeds=1)
        status = Status.FAILED if lost else Status.COMPLETE
        search.study.add(number, None if lost else outcome, status)
    search.study.add(COUNT - 1, None, Status.RUNNING)
    search.choice.settle()
    assert LADDER not in search.study.texts
    search.study.add(COUNT - 1, trained(0.5), Status.COMPLETE)
    search.choice.settle()
    assert search.study.ladder["scorer"] == "full"
    (line,) = search.study.ladder["lines"]
    assert line.startswith("Chosen: full; only 5 of the first 8 architectures were trained with 2")


def test_what_a_resumed_search_may_spend_decides_what_pays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budgets_cpu_s = []

    def spy(sample: RankingSample, budget_cpu_s: float, *args: Any, **keywords: Any) -> Any:
        budgets_cpu_s.append(budget_cpu_s)
        return choose_ladder(sample, budget_cpu_s, *args, **keywords)

    monkeypatch.setattr(hwnas.scorer_choice, "choose_ladder", spy)
    search = Search(tmp_path, evaluations=COUNT)
    search.end(range(COUNT))
    longer = Budget.of(search.context.config).model_copy(update={"evaluations": COUNT + 20})
    search.study.texts[BUDGET] = longer.model_dump_json()
    search.choice.settle()
    assert budgets_cpu_s == [20 * 9.0]


@pytest.mark.parametrize(("sampler", "filtered"), [("pareto_guided", True), ("tpe", False)])
def test_scores_without_training_count_only_for_samplers_that_ask_for_them(
    tmp_path: Path, sampler: str, filtered: bool
) -> None:
    search = Search(tmp_path, sampler=sampler)
    search.end(range(COUNT))
    search.choice.settle()
    lines = search.study.ladder["lines"]
    assert any(line.startswith("filter, full") for line in lines) == filtered
    assert any(line.startswith("naswot") for line in lines) == filtered
    # they order as accuracies do, here
    assert search.filter.pays == filtered


def test_inherited_accuracies_are_not_mixed_with_those_of_full_trainings(tmp_path: Path) -> None:
    """Though such a supernet would be cheap, and accuracies differ."""
    search = Search(tmp_path, sampler="tpe", evaluations=10_000)
    search.end(range(COUNT))
    search.choice.settle()
    assert not any("supernet" in line for line in search.study.ladder["lines"])
    assert not list(tmp_path.glob("supernet*"))
