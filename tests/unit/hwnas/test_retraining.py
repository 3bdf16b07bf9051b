"""Which front members are retrained, and what is kept of the test split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.bits import pack_bits
from hwnas.candidate_training import SplitResult, TrainingOutcome, TrainingTask
from hwnas.exit_policy import ExitPolicy
from hwnas.front import Candidate, Deployment, Metric, ParetoFront
from hwnas.objectives import OBJECTIVES, Constraint
from hwnas.pareto import ObjectiveScale
from hwnas.retraining import correct_on_test, next_finalists, train_and_keep
from search_spaces import Architecture

TWO = (OBJECTIVES["accuracy"], OBJECTIVES["latency"])
SCALE = ObjectiveScale(TWO, ideal=(1.0, 1e-4), reference=(0.0, 1e-2))


def candidate(number: int, accuracy: float, latency_s: float) -> Candidate:
    metrics = {"validation_accuracy": Metric(accuracy), "latency_s": Metric(latency_s)}
    deployment = Deployment("", 0, ExitPolicy(()), (1.0,), 0.0)
    return Candidate(number, Architecture("toy", (("n", number),)), metrics, deployment)


# each in a corner of its own, and one that all others but the first dominate
CANDIDATES = [
    candidate(0, 0.5, 2e-4),
    candidate(1, 0.8, 5e-4),
    candidate(2, 0.9, 2e-3),
    candidate(3, 0.95, 8e-3),
    candidate(4, 0.7, 9e-3),
]


def front(*constraints: Constraint) -> ParetoFront:
    return ParetoFront.of(CANDIDATES, TWO, constraints, SCALE)


def identifiers(numbers: set[int]) -> set[str]:
    return {CANDIDATES[n].architecture.arch_id for n in numbers}


@pytest.mark.parametrize("count", [1, 2, 3, 4, 9])
def test_so_many_members_of_the_front_are_retrained_and_no_others(count: int) -> None:
    chosen = [c.number for c in next_finalists(front(), count, set())]
    assert len(set(chosen)) == len(chosen) == min(count, 4)
    assert 4 not in chosen


def test_who_was_tried_is_not_tried_again_and_counts() -> None:
    tried = identifiers({1, 3})
    assert {c.number for c in next_finalists(front(), 9, tried)} == {0, 2}
    assert len(next_finalists(front(), 3, tried)) == 1
    assert next_finalists(front(), 2, tried) == []
    assert next_finalists(front(), 9, identifiers({0, 1, 2, 3})) == []


def test_the_best_of_each_objective_are_among_three() -> None:
    chosen = {c.number for c in next_finalists(front(), 3, set())}
    assert {0, 3} < chosen


def test_where_nothing_meets_the_limits_the_measured_ones_are_retrained() -> None:
    limit = Constraint("max_latency_ms", "latency_s", 1e-5, "ms", 1e3)
    assert len(next_finalists(front(limit), 9, set())) == 5


def outcome(right: list[bool] | None) -> TrainingOutcome:
    if right is None:
        return TrainingOutcome()
    bits = np.array(right, dtype=np.bool_)
    return TrainingOutcome(
        test=SplitResult(len(bits), float(bits.mean()), (), (), correct=pack_bits(bits))
    )


def test_what_the_networks_got_right_is_told_of_those_with_several() -> None:
    first, second = [True, False, True], [True, True, False]
    found = correct_on_test(
        {
            "two": {7: outcome(first), 8: outcome(second)},
            "one diverged": {7: outcome(first), 8: outcome(None)},
            "all diverged": {},
        }
    )
    assert {name: rows.tolist() for name, rows in found.items()} == {"two": [first, second]}


class Trainers:
    """Trains nothing, and says what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[float | None] = []

    def run(
        self, tasks: Sequence[TrainingTask], keep: Callable[[int, TrainingOutcome], None]
    ) -> list[TrainingOutcome]:
        outcomes = []
        for index, task in enumerate(tasks):
            self.asked.append(task.max_accuracy_drop)
            judged = SplitResult(10, 0.9, (0.9,), (1.0,))
            drop = 0.0 if task.max_accuracy_drop is None else task.max_accuracy_drop
            outcomes.append(TrainingOutcome(validation=judged, max_accuracy_drop=drop))
            keep(index, outcomes[-1])
        return outcomes


def test_a_training_is_kept_until_another_exit_policy_is_wanted_of_it(tmp_path: Path) -> None:
    trainers: Any = Trainers()

    def train(drop: float | None) -> float:
        checkpoint = tmp_path / "a.safetensors"
        task = TrainingTask(Architecture("toy", ()), 0, (1.0,), checkpoint, max_accuracy_drop=drop)
        return train_and_keep(trainers, [task])[0].max_accuracy_drop

    assert [train(drop) for drop in (0.01, 0.01, 0.2, None)] == [0.01, 0.01, 0.2, 0.2]
    assert trainers.asked == [0.01, 0.2]
