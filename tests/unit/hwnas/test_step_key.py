"""What was derived of a member counts again only while the member is what it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from hwnas.front import Candidate
from hwnas.retraining import finalist_seeds
from hwnas.search_context import SearchContext
from hwnas.step_key import step_key
from targets import Target
from tests.unit.hwnas.untrained_search import finalist, random_dataset, untrained_search


@pytest.fixture
def context(tmp_path: Path) -> SearchContext:
    # nothing here is measured
    return untrained_search(tmp_path / "run", cast(Target, None), random_dataset())


def other_weights(context: SearchContext, member: Candidate) -> Candidate:
    path = context.run.checkpoints / member.deployment.checkpoint
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    return member


def other_outcome(context: SearchContext, member: Candidate) -> Candidate:
    seed = finalist_seeds(context)[1]
    path = context.run.checkpoint(member.architecture.arch_id, seed).with_suffix(".json")
    document = json.loads(path.read_text())
    document["policy"]["thresholds"] = [0.123]
    path.write_text(json.dumps(document))
    return member


def one_training_less(context: SearchContext, member: Candidate) -> Candidate:
    seed = finalist_seeds(context)[1]
    context.run.checkpoint(member.architecture.arch_id, seed).with_suffix(".json").unlink()
    return member


def other_drop(context: SearchContext, member: Candidate) -> Candidate:
    return replace(member, deployment=replace(member.deployment, max_accuracy_drop=0.02))


@pytest.mark.parametrize("change", [other_weights, other_outcome, one_training_less, other_drop])
def test_a_member_that_changed_has_another_key(
    change: Callable[[SearchContext, Candidate], Candidate], context: SearchContext
) -> None:
    member, other = finalist(context, 1), finalist(context, 5)
    before, as_teacher = step_key(context, member), step_key(context, other, member)
    assert step_key(context, member) == before
    changed = change(context, member)
    assert step_key(context, changed) != before
    # nor does its student's count, nor that of another teacher
    assert step_key(context, other, changed) != as_teacher
    assert step_key(context, other) not in (before, as_teacher)


def test_metrics_of_a_front_that_was_measured_again_change_nothing(
    context: SearchContext,
) -> None:
    member = finalist(context, 1)
    again = replace(member, metrics={}, on_front=False)
    assert step_key(context, again) == step_key(context, member)


def test_other_variants_wanted_have_another_key(context: SearchContext) -> None:
    member = finalist(context, 1)
    before = step_key(context, member)
    wanted = context.config.deployment.model_copy(update={"calibration_samples": 64})
    context.config = context.config.model_copy(update={"deployment": wanted})
    assert step_key(context, member) != before
