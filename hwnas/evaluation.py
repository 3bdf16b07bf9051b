"""Have workers evaluate candidates until the budget is spent, and watch them."""

from __future__ import annotations

import time

from hwnas.errors import UserError
from hwnas.local_workers import LocalWorkers
from hwnas.ray_workers import RayWorkers
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
    study, wanted = context.study, context.config.search.evaluations
    seen = _Seen(context)
    context.progress.phase("Training candidates", max(0, wanted - seen.evaluated))
    if seen.evaluated < wanted:
        with _team(context, workers) as team:
            while team.check():
                seen.look()
                time.sleep(_LOOK_S)
        seen.look()
    if seen.evaluated == 0:
        failures = study.failures()
        raise UserError(
            f"{context.run.path}: all {len(failures)} trainings failed; the last: {failures[-1]}. "
            "Change section training, and choose another name with --set name=NAME."
        )
    if seen.evaluated < wanted:
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
