"""Evaluations whose weights were trained again, elsewhere than in the search."""

import json
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from hwnas.candidate_training import TrainingOutcome, TrainingTask
from hwnas.lost_weights import as_restored, restore_weights
from hwnas.scorers import ScoringContext
from hwnas.scorers.supernet import InheritedWeights
from hwnas.search_context import SearchContext
from hwnas.study import Evaluated
from hwnas.training_pool import TrainingPool
from targets import Target
from tests.unit.hwnas.untrained_search import random_dataset, untrained_search


@pytest.mark.parametrize("luck", [0.04, 0.0])
def test_what_other_seeds_are_expected_to_reach_stays_the_same(tmp_path: Path, luck: float) -> None:
    context = untrained_search(tmp_path / "run", cast(Target, None), random_dataset())
    arch = context.space.sample(np.random.default_rng(0))
    searched = {"validation": {"accuracy": 0.90}, "max_accuracy_drop": 0.01}
    evaluated = Evaluated(0, arch, (0.90 - luck, 1e-3), searched, luck=luck)
    assert as_restored(context, evaluated) == evaluated
    path = context.run.checkpoint(arch.arch_id).with_suffix(".json")
    path.write_text(json.dumps({**searched, "validation": {"accuracy": 0.88}}))
    restored = as_restored(context, evaluated)
    assert restored.result["validation"]["accuracy"] == 0.88
    # of few trainings nothing is known to be luck
    assert restored.luck == pytest.approx(0.02 if luck else 0.0)


def test_what_inherited_its_weights_inherits_them_again(tmp_path: Path) -> None:
    context = untrained_search(tmp_path / "run", cast(Target, None), random_dataset())
    lost, weights = inherited(context)
    # no training will do: the pool is none
    (found,) = restore_weights(context, cast(TrainingPool, None), [lost])
    arch_id = lost.architecture.arch_id
    assert context.run.checkpoint(arch_id).read_bytes() == weights
    assert found.result["scorer"] == "supernet"
    assert outcome(found).validation == outcome(lost).validation


def test_weights_are_judged_again_under_another_exit_policy(tmp_path: Path) -> None:
    context = untrained_search(tmp_path / "run", cast(Target, None), random_dataset())
    lost, _ = inherited(context)
    (restored,) = restore_weights(context, cast(TrainingPool, None), [lost])
    wanted = replace(lost, result={**lost.result, "max_accuracy_drop": 0.05})

    assert as_restored(context, restored) == restored
    assert as_restored(context, wanted) == wanted
    (found,) = restore_weights(context, cast(TrainingPool, None), [wanted])
    assert found.result["max_accuracy_drop"] == 0.05
    assert as_restored(context, wanted) == found


def inherited(context: SearchContext) -> tuple[Evaluated, bytes]:
    """Return an architecture that a supernet judged, and the weights, which were lost."""
    arch = context.space.sample(np.random.default_rng(0))
    scoring = ScoringContext(context.space, context.dataset, context.config, context.run.path)
    task = TrainingTask(
        arch,
        context.training_seed(3),
        context.costs.predict([arch])[0].mean_stage_latency_s,
        context.run.checkpoint(arch.arch_id),
        max_accuracy_drop=0.01,
    )
    judged = InheritedWeights(scoring).judge(task)
    weights = task.checkpoint.read_bytes()
    task.checkpoint.unlink()
    return Evaluated(3, arch, (0.5, 1e-3), judged.to_dict()), weights


def outcome(evaluated: Evaluated) -> TrainingOutcome:
    return TrainingOutcome.from_dict(evaluated.result)
