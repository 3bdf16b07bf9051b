"""Trained candidates: exit policies that outcomes tell of, judged again by the weights kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hwnas.candidate_training import (
    SplitResult,
    TrainingOutcome,
    TrainingTask,
    judge,
    load_network,
    train_candidate,
)
from hwnas.exit_policy import ExitPolicy
from hwnas.policy_curve import CurvePoint
from hwnas.scorers import ScoringContext
from hwnas.scorers.testing import small_context, small_task
from hwnas.training import predict_logits


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def two_exits(folder: Path) -> tuple[ScoringContext, TrainingTask]:
    """Return a search, and the task of training one of its networks with an early exit."""
    context = small_context(folder)
    tasks = (small_task(context, seed) for seed in range(50))
    return context, next(task for task in tasks if len(task.stage_costs) == 2)


def trained(context: ScoringContext, task: TrainingTask) -> TrainingOutcome:
    return train_candidate(task, context.space, context.dataset, context.config)


def test_every_policy_of_the_curve_does_on_the_validation_split_what_is_told(
    tmp_path: Path,
) -> None:
    context, task = two_exits(tmp_path)
    outcome = trained(context, task)
    split = context.dataset.validation
    network = load_network(context.space, task.architecture, task.checkpoint)
    logits = predict_logits(network, split.x)
    assert outcome.policy in [point.policy for point in outcome.curve]
    assert 2 <= len(outcome.curve) <= 8
    for point in outcome.curve:
        under = outcome.under(point)
        assert under.validation == judge(logits, split, point.policy)
        assert under.policy == point.policy
    assert outcome.validation is not None
    lost = outcome.validation.exit_accuracy[-1] - outcome.validation.accuracy
    assert lost <= context.config.early_exit.max_accuracy_drop + 1e-9


def test_a_task_may_allow_another_drop_than_the_experiment(tmp_path: Path) -> None:
    context, task = two_exits(tmp_path)
    outcome = trained(context, replace(task, max_accuracy_drop=1.0))
    assert outcome.max_accuracy_drop == 1.0
    # with nothing to keep, every sample leaves at once
    assert outcome.validation is not None
    assert outcome.validation.exit_shares == (1.0, 0.0)
    # the drop of a policy of the curve, asked for, gives that policy or a cheaper one as accurate
    under = outcome.under(outcome.curve[0])
    again = trained(context, replace(task, max_accuracy_drop=under.max_accuracy_drop))
    assert again.validation is not None
    assert under.validation is not None
    assert again.validation.accuracy >= min(
        under.validation.accuracy, under.validation.exit_accuracy[-1]
    )


def test_an_outcome_survives_json(tmp_path: Path) -> None:
    context, task = two_exits(tmp_path)
    outcome = trained(context, replace(task, judge_on_test=True))
    assert TrainingOutcome.from_dict(json.loads(json.dumps(outcome.to_dict()))) == outcome


def test_temperatures_make_the_exits_of_a_trained_network_likelier(tmp_path: Path) -> None:
    context, task = two_exits(tmp_path)
    outcome = trained(context, task)
    network = load_network(context.space, task.architecture, task.checkpoint)
    split = context.dataset.validation
    for z, temperature in zip(
        predict_logits(network, split.x), outcome.policy.temperatures, strict=True
    ):
        losses = [
            float(
                torch.nn.functional.cross_entropy(
                    torch.from_numpy(z) / t, torch.from_numpy(split.y)
                )
            )
            for t in (1.0, temperature)
        ]
        # cross_entropy sums in single precision
        assert losses[1] <= losses[0] + 1e-6


def test_what_was_judged_on_the_test_split_changes_its_policy_no_more() -> None:
    result = SplitResult(10, 0.9, (0.9,), (1.0,))
    judged = TrainingOutcome(validation=result, test=result)
    with pytest.raises(ValueError, match="validation split alone"):
        judged.under(CurvePoint(ExitPolicy(()), 0.9, 1.0, (1.0,)))
