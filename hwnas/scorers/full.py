"""Full training: the accuracy that a deployed network has, at its full cost."""

from __future__ import annotations

from hwnas.candidate_training import TrainingOutcome, TrainingTask, train_candidate
from hwnas.scorers._types import Rungs, ScoringContext


class FullTraining:
    """Trains every architecture to the end; it asks nothing of the rungs.

    Args:
        context: What it works with.
    """

    def __init__(self, context: ScoringContext) -> None:
        self._context = context

    def score(self, task: TrainingTask, rungs: Rungs) -> TrainingOutcome:
        """Train and judge; see `AccuracyScorer`."""
        context = self._context
        return train_candidate(task, context.space, context.dataset, context.config)
