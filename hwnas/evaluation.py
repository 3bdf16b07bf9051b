"""The study's loop: propose a batch, train it, tell it, until the budget is spent."""

from __future__ import annotations

from collections.abc import Sequence

from hwnas.candidate_training import TrainingOutcome, TrainingTask
from hwnas.errors import UserError
from hwnas.search_context import SearchContext
from hwnas.study import Proposal
from hwnas.training_pool import TrainingPool


def evaluate_candidates(context: SearchContext, trainers: TrainingPool) -> None:
    """Train architectures until the budget is spent or the feasible space exhausted.

    A batch is told in the order it was proposed, whichever training ends first,
    so that a search does not depend on the number of workers.

    Raises:
        UserError: If every training failed.
    """
    study, wanted = context.study, context.config.search.evaluations
    done = study.counts()["evaluated"]
    context.progress.phase("Training candidates", max(0, wanted - done))
    batch = study.pending()
    while True:
        if batch:
            _train_batch(context, trainers, batch)
        counts = study.counts()
        done = counts["evaluated"]
        # more failures than the whole budget: the settings are at fault, not the luck
        if done >= wanted or counts["failed"] > wanted:
            break
        batch = study.propose(min(context.config.search.batch, wanted - done))
        if not batch:
            context.progress.message(f"The feasible space is exhausted after {done} architectures")
            break
    if done == 0:
        failures = study.failures()
        raise UserError(
            f"{context.run.path}: all {len(failures)} trainings failed; the last: {failures[-1]}. "
            "Change section training, and choose another name with --set name=NAME."
        )


def _train_batch(context: SearchContext, trainers: TrainingPool, batch: Sequence[Proposal]) -> None:
    tasks = [
        TrainingTask(
            architecture=proposal.architecture,
            seed=context.training_seed(proposal.number),
            stage_costs=tuple(p.mean for p in proposal.costs.stage_latency_s),
            checkpoint=context.run.checkpoint(proposal.architecture.arch_id),
        )
        for proposal in batch
    ]
    outcomes = trainers.run(tasks, lambda _, outcome: context.progress.advance(_note(outcome)))
    for proposal, outcome in zip(batch, outcomes, strict=True):
        if outcome.validation is None:
            context.study.fail(proposal, outcome.failure or "no result")
            continue
        shares = outcome.validation.exit_shares
        values = [
            outcome.validation.accuracy
            if objective.name == "accuracy"
            else proposal.costs.expected(objective.metric, shares)
            for objective in context.objectives
        ]
        predicted = proposal.costs.violations(context.constraints, shares)
        violations = {
            c.name: predicted[c.name] if c.is_on_costs else c.violation(outcome.validation.accuracy)
            for c in context.constraints
            if not c.is_known_before_training
        }
        context.study.complete(proposal, values, outcome.to_dict(), violations)


def _note(outcome: TrainingOutcome) -> str:
    if outcome.validation is None:
        return outcome.failure or "failed"
    return f"{outcome.validation.accuracy:.1%} in {outcome.seconds:.1f} s"
