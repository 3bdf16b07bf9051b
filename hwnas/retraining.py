"""Finalists: which front members are trained again with several seeds, and what they got right."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwnas.bits import unpack_bits
from hwnas.candidate_training import TrainingOutcome, TrainingTask
from hwnas.front import Candidate, ParetoFront
from hwnas.kept_outcomes import keep_outcome, kept_result
from hwnas.pareto import spread_members
from hwnas.search_context import SearchContext
from hwnas.training_pool import TrainingPool

# trainings of finalists draw their seeds from a stream that no trial number reaches
_FINALIST_STREAM = 1 << 30


def next_finalists(front: ParetoFront, count: int, tried: Set[str]) -> list[Candidate]:
    """Return the front members to retrain next, spread over the front.

    Args:
        front: As it is now; where nothing meets the limits, all of its candidates count.
        count: How many may be retrained in all.
        tried: Identifiers of those that were retrained, whether or not that succeeded.
    """
    remaining = [
        c for c in front.members or front.candidates if c.architecture.arch_id not in tried
    ]
    if not remaining or len(tried) >= count:
        return []
    values = np.array([c.values(front.objectives) for c in remaining])
    return [remaining[i] for i in spread_members(front.scale.losses(values), count - len(tried))]


def retrain(
    context: SearchContext, trainers: TrainingPool, finalists: Sequence[Candidate]
) -> dict[str, dict[int, TrainingOutcome]]:
    """Train each finalist with each seed; trainings finished before an interruption are kept.

    Its exit policy is chosen anew of each training, at the drop in accuracy that it had.
    """
    seeds = finalist_seeds(context)
    tasks = [
        TrainingTask(
            architecture=finalist.architecture,
            seed=seed,
            stage_costs=context.costs.predict([finalist.architecture])[0].mean_stage_latency_s,
            checkpoint=context.run.checkpoint(finalist.architecture.arch_id, seed),
            judge_on_test=True,
            max_accuracy_drop=finalist.deployment.max_accuracy_drop,
        )
        for finalist in finalists
        for seed in seeds
    ]
    missing = sum(_kept_as_wanted(task) is None for task in tasks)
    context.progress.phase(f"Retraining {len(finalists)} finalists", missing)
    outcomes = train_and_keep(trainers, tasks, context.progress.advance)
    trained: dict[str, dict[int, TrainingOutcome]] = {f.architecture.arch_id: {} for f in finalists}
    for task, outcome in zip(tasks, outcomes, strict=True):
        if outcome.validation is not None:
            trained[task.architecture.arch_id][task.seed] = outcome
    return trained


def finalist_seeds(context: SearchContext) -> list[int]:
    """Return the seeds that finalists are trained with; the first one's network is deployed."""
    count = context.config.finalists.seeds
    return [context.training_seed(_FINALIST_STREAM, k) for k in range(count)]


def train_and_keep(
    trainers: TrainingPool,
    tasks: Sequence[TrainingTask],
    on_done: Callable[[], None] = lambda: None,
) -> list[TrainingOutcome]:
    """Train what was not trained before an interruption, and return all outcomes.

    An outcome is kept as JSON beside the weights it belongs to.

    Args:
        trainers: Train.
        tasks: What to train.
        on_done: Told of each training as it finishes.
    """
    found = {i: _kept_as_wanted(task) for i, task in enumerate(tasks)}
    kept = {i: outcome for i, outcome in found.items() if outcome is not None}
    missing = [i for i in range(len(tasks)) if i not in kept]

    def keep(index: int, outcome: TrainingOutcome) -> None:
        keep_outcome(tasks[missing[index]].checkpoint, outcome)
        on_done()

    kept |= dict(zip(missing, trainers.run([tasks[i] for i in missing], keep), strict=True))
    return [kept[i] for i in range(len(tasks))]


def _kept_as_wanted(task: TrainingTask) -> TrainingOutcome | None:
    """Return what is kept of a task, with the exit policy wanted: a search may want another."""
    outcome, drop = _kept(task.checkpoint), task.max_accuracy_drop
    if outcome is None or outcome.validation is None or drop is None:
        return outcome
    return outcome if outcome.max_accuracy_drop == drop else None


def finalist_outcomes(context: SearchContext, arch_id: str) -> dict[int, TrainingOutcome]:
    """Return what an architecture's trainings as a finalist came to, by seed; none if it is none.

    Failed ones are left out; ``context.run.checkpoint(arch_id, seed)`` has the others' weights.
    """
    found = {seed: _kept(context.run.checkpoint(arch_id, seed)) for seed in finalist_seeds(context)}
    return {
        seed: outcome
        for seed, outcome in found.items()
        if outcome is not None and outcome.validation is not None
    }


def _kept(checkpoint: Path) -> TrainingOutcome | None:
    result = kept_result(checkpoint)
    return None if result is None else TrainingOutcome.from_dict(result)


def correct_on_test(
    retrained: Mapping[str, Mapping[int, TrainingOutcome]],
) -> dict[str, NDArray[np.bool_]]:
    """Return which test samples each finalist's networks got right, ``(seeds, n)``.

    Only of those with several seeds: how far one network tells of its architecture is not known.
    """
    correct = {}
    for arch_id, outcomes in retrained.items():
        tests = [o.test for o in outcomes.values() if o.test]
        rows = [unpack_bits(t.correct, t.n) for t in tests if t.correct is not None]
        if len(rows) > 1:
            correct[arch_id] = np.stack(rows)
    return correct
