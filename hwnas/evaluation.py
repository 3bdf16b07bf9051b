"""Have workers evaluate candidates until the budget is spent, and watch them."""

from __future__ import annotations

import json
import time

from hwnas.errors import UserError
from hwnas.local_workers import LocalWorkers
from hwnas.ray_workers import RayWorkers
from hwnas.scorer_choice import LADDER
from hwnas.search_budget import STOPPED, Accounts
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
        UserError: If every training failed.
    """
    study, accounts = context.study, Accounts(context.plan, context.study)
    budget = accounts.budget()
    accounts.update()
    seen, wanted = _Seen(context), accounts.wanted(budget)
    context.progress.phase("Training candidates", max(0, wanted - seen.evaluated))
    if seen.evaluated < wanted and accounts.stop_reason(budget) is None:
        with _team(context, workers) as team:
            while team.check():
                seen.look()
                time.sleep(_LOOK_S)
        seen.look()
        accounts.update()
    if seen.evaluated == 0:
        failures = study.failures()
        raise UserError(
            f"{context.run.path}: all {len(failures)} trainings failed; the last: {failures[-1]}. "
            "Change section training, and choose another name with --set name=NAME."
        )
    if reason := study.announcement(STOPPED):
        context.progress.message(f"Stopped after {seen.evaluated} architectures: {reason}")
    elif seen.evaluated < accounts.wanted(budget):
        context.progress.message(
            f"The feasible space is exhausted after {seen.evaluated} architectures"
        )


def _team(context: SearchContext, workers: int) -> LocalWorkers | RayWorkers:
    config = context.config
    url = storage_url(config, context.run)
    if config.search.ray is None:
        return LocalWorkers(url, config.name, workers)
    return RayWorkers(url, config.name, config.search.ray)


class _Seen:
    """What was already told of a study's progress."""

    def __init__(self, context: SearchContext) -> None:
        self._context = context
        self.evaluated = len(context.study.evaluated())
        self._failed = len(context.study.failures())
        self._ladder = context.config.accuracy.scorer != "auto"

    def look(self) -> None:
        """Tell what has been evaluated, and what has failed, since the last look."""
        study, progress = self._context.study, self._context.progress
        for item in study.evaluated()[self.evaluated :]:
            accuracy = item.result["validation"]["accuracy"]
            progress.advance(f"{accuracy:.1%} in {item.result['seconds']:.1f} s")
            self.evaluated += 1
        for reason in study.failures()[self._failed :]:
            progress.advance(reason)
            self._failed += 1
        if not self._ladder and (found := study.description(LADDER)) is not None:
            self._ladder = True
            for line in json.loads(found)["lines"]:
                progress.message(line)
