"""Weights that a worker elsewhere trained and did not leave here: trained again, seed and all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from hwnas.candidate_training import TrainingTask
from hwnas.search_context import SearchContext
from hwnas.study import Evaluated
from hwnas.training_pool import TrainingPool
from targets import write_atomically


def restore_weights(
    context: SearchContext, trainers: TrainingPool, evaluated: Sequence[Evaluated]
) -> list[Evaluated]:
    """Train again what has no weights in the run's folder.

    On equal hardware the weights are the same. On other hardware they are those of a full
    training all the same, and all that depends on them is judged by them.

    Args:
        context: The search.
        trainers: Train.
        evaluated: Whose weights are wanted.

    Returns:
        All of them, with the outcome of the new training where there was one; without those
        whose training failed here.
    """
    lost = [e for e in evaluated if not context.run.checkpoint(e.architecture.arch_id).exists()]
    if not lost:
        return list(evaluated)
    progress = context.progress
    progress.phase("Training again what was trained elsewhere", len(lost))
    outcomes = trainers.run([_task(context, e) for e in lost], lambda *_: progress.advance())
    failed = set()
    for item, outcome in zip(lost, outcomes, strict=True):
        arch_id = item.architecture.arch_id
        if outcome.validation is None:
            failed.add(arch_id)
            progress.message(f"{arch_id}: training again failed: {outcome.failure}")
            continue
        path = context.run.checkpoint(arch_id).with_suffix(".json")
        write_atomically(path, json.dumps(outcome.to_dict()).encode())
    return [as_restored(context, e) for e in evaluated if e.architecture.arch_id not in failed]


def as_restored(context: SearchContext, evaluated: Evaluated) -> Evaluated:
    """Return an evaluation with the outcome that belongs to the weights in the run's folder."""
    path = context.run.checkpoint(evaluated.architecture.arch_id).with_suffix(".json")
    if not path.exists():
        return evaluated
    result = json.loads(path.read_text())
    luck = evaluated.luck
    if luck:
        # what is expected of other seeds stays the same
        luck += result["validation"]["accuracy"] - evaluated.result["validation"]["accuracy"]
    return replace(evaluated, result=result, luck=luck)


def _task(context: SearchContext, evaluated: Evaluated) -> TrainingTask:
    costs = context.costs.predict([evaluated.architecture])[0]
    return TrainingTask(
        architecture=evaluated.architecture,
        seed=context.training_seed(evaluated.number),
        stage_costs=costs.mean_stage_latency_s,
        checkpoint=context.run.checkpoint(evaluated.architecture.arch_id),
        max_accuracy_drop=float(evaluated.result["max_accuracy_drop"]),
    )
