"""What every accuracy scorer must do, as a test class for pytest.

Subclass it, give it a scorer, and run pytest::

    class TestMyScorer(AccuracyScorerTestCase):
        @classmethod
        def make_scorer(cls, context: ScoringContext) -> AccuracyScorer:
            return MyScorer(context)

Call ``pytest.register_assert_rewrite`` with this module's name in a ``conftest.py``
to see the values of a failed assertion.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hwnas.candidate_training import (
    SplitResult,
    TrainingOutcome,
    TrainingTask,
    judge,
    load_network,
)
from hwnas.config import ExperimentConfig
from hwnas.datasets import Dataset, Split, load_dataset
from hwnas.scorers._types import AccuracyScorer, Rungs, ScoringContext
from hwnas.spaces import create_space
from hwnas.training import predict_logits

_N_TRAIN, _N_JUDGED = 256, 100
_SMALL: dict[str, Any] = {
    "name": "scorer-contract",
    "dataset": {"kind": "digits"},
    "space": {
        "name": "early_exit",
        "n_stages": 2,
        "choices": {
            "depth": [1, 2],
            "width": [8, 16],
            "kernel": [3],
            "expansion": [1, 2],
            "width_multiplier": [1.0],
            "se": [0],
        },
    },
    "training": {"epochs": 3, "batch_size": 32},
}


class RungsInMemory:
    """Rungs of one process: losses are the error on the validation split and 1 - that.

    Args:
        reached: What others have reported, one sequence per rung.
    """

    def __init__(self, *reached: Sequence[tuple[float, ...]]) -> None:
        self.reached = [list(rung) for rung in reached]
        self.reports: list[tuple[int, tuple[float, ...]]] = []

    def losses(self, validation: SplitResult) -> tuple[float, ...]:
        """Return the error, and a cost that is the same for all."""
        return (1 - validation.accuracy, 0.5)

    def report(self, rung: int, losses: tuple[float, ...]) -> None:
        """Keep it, apart from what others report."""
        self.reports.append((rung, losses))

    def others(self, rung: int) -> list[tuple[float, ...]]:
        """Return what was given to the constructor."""
        return self.reached[rung] if rung < len(self.reached) else []


def small_context(folder: Path, **sections: Any) -> ScoringContext:
    """Return a search on a part of the digits that trains a network in a second.

    Args:
        folder: Of the run.
        **sections: Replace sections of the experiment.
    """
    config = ExperimentConfig.model_validate({**_SMALL, **sections})
    dataset = _part(load_dataset(config.dataset, Path()))
    space = create_space(config.space, dataset.input_shape, len(dataset.class_names))
    return ScoringContext(space, dataset, config, folder)


def small_task(context: ScoringContext, seed: int = 0) -> TrainingTask:
    """Return the task of an architecture drawn with a seed, its checkpoint in the run's folder."""
    arch = context.space.sample(np.random.default_rng(seed))
    stage_costs = tuple(1.0 for _ in context.space.stages(arch))
    return TrainingTask(arch, seed, stage_costs, context.folder / f"{seed}.safetensors")


class AccuracyScorerTestCase:
    """The contract of `AccuracyScorer`; a subclass provides `make_scorer`."""

    @classmethod
    def make_scorer(cls, context: ScoringContext) -> AccuracyScorer:
        """Return the scorer under test."""
        raise NotImplementedError("override make_scorer")

    @pytest.fixture(autouse=True)
    def _one_thread(self) -> Iterator[None]:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(threads)

    @pytest.fixture
    def context(self, tmp_path: Path) -> ScoringContext:
        """Return what the scorer works with."""
        return small_context(tmp_path)

    @pytest.fixture
    def task(self, context: ScoringContext) -> TrainingTask:
        """Return what it judges."""
        return small_task(context)

    def test_it_has_all_members_of_a_scorer(self, context: ScoringContext) -> None:
        """The protocol is met."""
        assert isinstance(self.make_scorer(context), AccuracyScorer)

    def test_an_outcome_is_that_of_the_weights_it_keeps(
        self, context: ScoringContext, task: TrainingTask
    ) -> None:
        """The checkpoint, loaded, has the accuracy that is told, on the validation split."""
        outcome = self._score(context, task)
        network = load_network(context.space, task.architecture, task.checkpoint)
        logits = predict_logits(network, context.dataset.validation.x)
        assert outcome.validation == judge(logits, context.dataset.validation, outcome.policy)
        assert len(outcome.policy.thresholds) == len(task.stage_costs) - 1

    def test_a_score_says_whose_it_is_and_what_it_took(
        self, context: ScoringContext, task: TrainingTask
    ) -> None:
        """Accuracies of different scorers must not be taken for each other."""
        outcome = self._score(context, task)
        assert outcome.scorer
        assert outcome.cpu_s > 0
        assert not outcome.halted

    def test_a_score_is_better_than_guessing(
        self, context: ScoringContext, task: TrainingTask
    ) -> None:
        """Whatever it is, it has learnt from the training split."""
        validation = self._score(context, task).validation
        assert validation is not None
        # ten classes; four standard deviations of guessing on 100 samples are 0.12
        assert validation.accuracy > 0.1 + 0.12

    def test_equal_tasks_get_equal_outcomes_in_another_process_s_scorer(
        self, context: ScoringContext, task: TrainingTask
    ) -> None:
        """The times aside; torch's global random state does not matter."""
        first = self._score(context, task)
        torch.manual_seed(99)
        again = self._score(context, task)
        assert timeless(first) == timeless(again)

    def test_the_test_split_is_looked_at_only_where_the_task_says_so(
        self, context: ScoringContext, task: TrainingTask
    ) -> None:
        """Otherwise its labels could be anything."""
        spoiled = Split(context.dataset.test.x * np.nan, context.dataset.test.y)
        blind = replace(context, dataset=replace(context.dataset, test=spoiled))
        outcome = self._score(blind, task)
        judged = self._score(context, replace(task, judge_on_test=True))
        assert outcome.test is None
        assert judged.test is not None
        assert timeless(replace(judged, test=None)) == timeless(outcome)

    def test_weights_that_are_not_to_be_kept_are_not(
        self, context: ScoringContext, task: TrainingTask
    ) -> None:
        """The outcome is the same."""
        outcome = self._score(context, replace(task, keep_weights=False))
        assert not task.checkpoint.exists()
        assert timeless(outcome) == timeless(self._score(context, task))

    def test_an_outcome_survives_json(self, context: ScoringContext, task: TrainingTask) -> None:
        """What is read back is what was written."""
        outcome = self._score(context, task)
        assert TrainingOutcome.from_dict(outcome.to_dict()) == outcome

    def test_a_training_that_diverges_is_a_value(self, tmp_path: Path) -> None:
        """No exception, no accuracy, no checkpoint: a reason."""
        training = {**_SMALL["training"], "learning_rate": 1e39}
        context = small_context(tmp_path, training=training)
        task = small_task(context)
        outcome = self._score(context, task)
        assert outcome.failure is not None
        assert outcome.validation is None
        assert not task.checkpoint.exists()

    def _score(
        self, context: ScoringContext, task: TrainingTask, rungs: Rungs | None = None
    ) -> TrainingOutcome:
        return self.make_scorer(context).score(task, rungs or RungsInMemory())


def timeless(outcome: TrainingOutcome) -> TrainingOutcome:
    """Return an outcome without what differs from run to run: the times."""
    curves = tuple(replace(c, cpu_s=(0.0,) * len(c.cpu_s)) for c in outcome.curves)
    return replace(outcome, seconds=0.0, cpu_s=0.0, curves=curves)


def _part(dataset: Dataset) -> Dataset:
    return replace(
        dataset,
        train=_first(dataset.train, _N_TRAIN),
        validation=_first(dataset.validation, _N_JUDGED),
        test=_first(dataset.test, _N_JUDGED),
    )


def _first(split: Split, n: int) -> Split:
    return Split(split.x[:n], split.y[:n])
