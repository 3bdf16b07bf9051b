"""Have workers evaluate candidates until the budget is spent, and watch them."""

from __future__ import annotations

import json
import time

from hwnas.candidate_training import TrainingOutcome
from hwnas.errors import UserError
from hwnas.local_workers import LocalWorkers
from hwnas.ray_workers import RayWorkers
from hwnas.scorer_choice import LADDER, can_be_chosen
from hwnas.search_budget import Accounts
from hwnas.search_context import SearchContext
from hwnas.search_study import storage_url

_LOOK_S = 0.3


def evaluate_candidates(context: SearchContext, workers: int) -> None:
    """Evaluate architectures until the budget is spent or the feasible space exhausted.

    Workers elsewhere may take part; this process only watches.

    Args:
        context: The search.
        workers: Processes started here.

    Raises:
        UserError: If no architecture was trained to the end.
    """
    study, accounts = context.study, Accounts(context.plan, context.study)
    budget = accounts.budget()
    accounts.update()
    seen, wanted = _Seen(context), accounts.wanted(budget)
    context.progress.phase("Training candidates", max(0, wanted - seen.evaluated))
    if seen.evaluated < wanted and accounts.stop_reason(budget) is None:
        with _team(context, workers) as team:
            while team.check(seen.endings):
                seen.look()
                time.sleep(_LOOK_S)
        seen.look()
        accounts.update()
    if seen.evaluated == 0:
        raise UserError(f"{context.run.path}: {_why_none(context, accounts.stop_reason(budget))}")
    failed = study.counts()["failed"]
    if failed > budget.evaluations:
        context.progress.message(f"Given up after {failed} failed trainings")
    elif reason := accounts.stop_reason(budget):
        context.progress.message(f"Stopped after {seen.evaluated} architectures: {reason}")
    elif seen.evaluated < accounts.wanted(budget):
        context.progress.message(
            f"The feasible space is exhausted after {seen.evaluated} architectures"
        )


def _why_none(context: SearchContext, stop_reason: str | None) -> str:
    """Return why no evaluation is complete, and what to do."""
    counts, failures = context.study.counts(), context.study.failures()
    if failures and not counts["stopped"]:
        return (
            f"all {len(failures)} trainings failed; the last: {failures[-1]}. "
            "Change section training, and choose another name with --set name=NAME."
        )
    if stop_reason is not None:
        return (
            f"no training was completed, {counts['stopped']} were stopped early; {stop_reason}. "
            "Go on with --resume and a larger search.stop."
        )
    return (
        f"no training was completed; {counts['infeasible']} architectures proposed exceed the "
        f"constraints, {counts['stopped']} trainings were stopped early. Loosen section "
        "constraints, or raise search.warm_start, under another name with --set name=NAME."
    )


def _team(context: SearchContext, workers: int) -> LocalWorkers | RayWorkers:
    config = context.config
    url = storage_url(config, context.run)
    if config.search.ray is None:
        return LocalWorkers(url, config.name, workers)
    team = RayWorkers(url, config.name, config.search.ray)
    if team.awaited:
        context.progress.message(f"search.ray: waiting for a node with room: {team.awaited}")
    return team


class _Seen:
    """What was already told of a study's progress."""

    def __init__(self, context: SearchContext) -> None:
        self._context = context
        before = context.study.endings()
        self.endings = len(before)
        self.evaluated = sum(ending.values is not None for ending in before)
        self._ladder = context.config.accuracy.scorer != "auto"

    def look(self) -> None:
        """Tell what has ended since the last look, and how accuracies are scored from now on."""
        study, progress = self._context.study, self._context.progress
        for ending in study.endings(self.endings):
            self.endings += 1
            if ending.result is None:
                progress.message("an evaluation killed its workers: recorded as failed")
                continue
            outcome = TrainingOutcome.from_dict(ending.result)
            if ending.values is not None:
                self.evaluated += 1
                progress.advance(outcome.note)
            elif not outcome.halted:
                progress.message(outcome.note)
        if self._ladder or not can_be_chosen(study, self._context.config.accuracy):
            return
        if (found := study.description(LADDER)) is not None:
            self._ladder = True
            for line in json.loads(found)["lines"]:
                progress.message(line)
