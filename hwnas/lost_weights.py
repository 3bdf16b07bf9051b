"""Weights that a worker elsewhere trained and did not leave here: trained again, seed and all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hwnas.candidate_training import SplitResult, TrainingOutcome, TrainingTask
from hwnas.kept_outcomes import keep_outcome, kept_result
from hwnas.scorers import ScoringContext, create
from hwnas.search_context import SearchContext
from hwnas.study import Evaluated
from hwnas.training_pool import TrainingPool

# what a full training gives, by whichever of them it was judged
_TRAINED = ("full", "halving")


def restore_weights(
    context: SearchContext, trainers: TrainingPool, evaluated: Sequence[Evaluated]
) -> list[Evaluated]:
    """Train again what has no weights in the run's folder, or others than its exit policy's.

    By the scorer that judged it, so that accuracies still compare: full training in the pool
    (which halving's survivors equal), others in this process. On equal hardware the weights are
    the same. On other hardware they are of the same kind, and all that depends on them is judged
    by them.

    Args:
        context: The search.
        trainers: Train.
        evaluated: Whose weights are wanted.

    Returns:
        All of them, with the outcome of the new training where there was one; without those
        whose training failed here.
    """
    lost = [e for e in evaluated if _is_lost(context, e)]
    if not lost:
        return list(evaluated)
    progress = context.progress
    progress.phase("Training again what was trained elsewhere", len(lost))
    outcomes: dict[str, TrainingOutcome] = {}
    for scorer, items in _by_scorer(lost).items():
        tasks = [_task(context, e) for e in items]
        if scorer in _TRAINED:
            found = trainers.run(tasks, lambda *_: progress.advance())
        else:
            found = _scored(context, scorer, tasks)
        outcomes |= dict(zip((e.architecture.arch_id for e in items), found, strict=True))
    failed = set()
    for item in lost:
        arch_id = item.architecture.arch_id
        outcome = outcomes[arch_id]
        if outcome.validation is None:
            failed.add(arch_id)
            progress.message(f"{arch_id}: training again failed: {outcome.failure}")
            continue
        keep_outcome(context.run.checkpoint(arch_id), outcome)
    return [as_restored(context, e) for e in evaluated if e.architecture.arch_id not in failed]


def as_restored(context: SearchContext, evaluated: Evaluated) -> Evaluated:
    """Return an evaluation with the outcome that belongs to the weights in the run's folder.

    As it is where these were judged under another exit policy than the one it has now: a longer
    search, resumed, may want another of the same network.
    """
    result = kept_result(context.run.checkpoint(evaluated.architecture.arch_id))
    if result is None or not _is_as_wanted(result, evaluated):
        return evaluated
    luck = evaluated.luck
    if luck:
        # what is expected of other seeds stays the same
        luck += result["validation"]["accuracy"] - evaluated.result["validation"]["accuracy"]
    return replace(evaluated, result=result, luck=luck)


def _is_lost(context: SearchContext, evaluated: Evaluated) -> bool:
    checkpoint = context.run.checkpoint(evaluated.architecture.arch_id)
    if not checkpoint.exists():
        return True
    result = kept_result(checkpoint)
    return result is not None and not _is_as_wanted(result, evaluated)


def _is_as_wanted(result: Mapping[str, Any], evaluated: Evaluated) -> bool:
    return bool(result["max_accuracy_drop"] == evaluated.result["max_accuracy_drop"])


def _by_scorer(evaluated: Sequence[Evaluated]) -> dict[str, list[Evaluated]]:
    found: dict[str, list[Evaluated]] = {}
    for item in evaluated:
        found.setdefault(item.result["scorer"], []).append(item)
    return found


def _scored(
    context: SearchContext, scorer: str, tasks: Sequence[TrainingTask]
) -> list[TrainingOutcome]:
    own = ScoringContext(context.space, context.dataset, context.config, context.run.path)
    judge = create(scorer, own)
    outcomes = []
    for task in tasks:
        outcomes.append(judge.score(task, _NoOthers()))
        context.progress.advance()
    return outcomes


class _NoOthers:
    """Rungs at which nothing else was seen: what was worth ending once is ended again."""

    def losses(self, validation: SplitResult) -> tuple[float, ...]:
        return (1 - validation.accuracy,)

    def report(self, rung: int, losses: tuple[float, ...]) -> None:
        pass

    def others(self, rung: int) -> list[tuple[float, ...]]:
        return []


def _task(context: SearchContext, evaluated: Evaluated) -> TrainingTask:
    costs = context.costs.predict([evaluated.architecture])[0]
    return TrainingTask(
        architecture=evaluated.architecture,
        seed=context.training_seed(evaluated.number),
        stage_costs=costs.mean_stage_latency_s,
        checkpoint=context.run.checkpoint(evaluated.architecture.arch_id),
        max_accuracy_drop=float(evaluated.result["max_accuracy_drop"]),
    )
