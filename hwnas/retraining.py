"""Finalists: which front members are trained again with several seeds, and what they got right."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set

import numpy as np
from numpy.typing import NDArray

from hwnas.bits import unpack_bits
from hwnas.candidate_training import TrainingOutcome, TrainingTask
from hwnas.front import Candidate, ParetoFront
from hwnas.pareto import spread_members
from hwnas.search_context import SearchContext
from hwnas.training_pool import TrainingPool
from targets import write_atomically

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
    """Train each finalist with each seed; trainings finished before an interruption are kept."""
    settings = context.config.finalists
    seeds = [context.training_seed(_FINALIST_STREAM, k) for k in range(settings.seeds)]
    results: dict[tuple[str, int], TrainingOutcome] = {}
    keys: list[tuple[str, int]] = []
    tasks: list[TrainingTask] = []
    for finalist in finalists:
        arch_id = finalist.architecture.arch_id
        costs = context.costs.predict([finalist.architecture])[0]
        for seed in seeds:
            checkpoint = context.run.checkpoint(arch_id, seed)
            done = checkpoint.with_suffix(".json")
            if done.exists():
                results[arch_id, seed] = TrainingOutcome.from_dict(json.loads(done.read_text()))
                continue
            keys.append((arch_id, seed))
            tasks.append(
                TrainingTask(
                    architecture=finalist.architecture,
                    seed=seed,
                    stage_costs=costs.mean_stage_latency_s,
                    checkpoint=checkpoint,
                    judge_on_test=True,
                )
            )
    context.progress.phase(f"Retraining {len(finalists)} finalists", len(tasks))

    def keep(index: int, outcome: TrainingOutcome) -> None:
        done = tasks[index].checkpoint.with_suffix(".json")
        write_atomically(done, json.dumps(outcome.to_dict()).encode())
        context.progress.advance()

    for key, outcome in zip(keys, trainers.run(tasks, keep), strict=True):
        results[key] = outcome
    return {
        f.architecture.arch_id: {
            seed: outcome
            for seed in seeds
            if (outcome := results[f.architecture.arch_id, seed]).validation is not None
        }
        for f in finalists
    }


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
