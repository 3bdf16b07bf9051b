"""Full training with several seeds: what tells how well anything can rank architectures."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hwnas.candidate_training import TrainingOutcome, TrainingTask, train_candidate
from hwnas.scorers._types import Rungs, ScoringContext
from hwnas.scorers.learning_curves import CurveRecorder, rung_epochs
from hwnas.seeds import derived_seed

if TYPE_CHECKING:
    from torch import nn


class ReseededTraining:
    """Trains every architecture fully, several times, and looks at each training's rungs.

    The outcome is that of the task's own seed, equal to a full training's, with the learning
    curve of every seed whose training did not diverge. Only its weights are kept. What it
    reached at the rungs is told, for trainings that may be halted later.

    Args:
        context: What it works with; ``accuracy.ranking.seeds`` of its configuration is how
            many seeds there are, ``accuracy.halving`` where the rungs are.
    """

    def __init__(self, context: ScoringContext) -> None:
        self._context = context
        config = context.config
        self._epochs = rung_epochs(config.training.epochs, config.accuracy.halving)

    def score(self, task: TrainingTask, rungs: Rungs) -> TrainingOutcome:
        """Train with each seed; see `AccuracyScorer`."""
        outcome = self._train(task, rungs)
        if outcome.failure is not None:
            return outcome
        n_further = self._context.config.accuracy.ranking.seeds - 1
        others = [
            self._train(
                replace(
                    task, seed=derived_seed(task.seed, k), judge_on_test=False, keep_weights=False
                ),
                None,
            )
            for k in range(n_further)
        ]
        return replace(
            outcome,
            seconds=sum(o.seconds for o in (outcome, *others)),
            cpu_s=sum(o.cpu_s for o in (outcome, *others)),
            curves=(*outcome.curves, *(c for o in others if o.failure is None for c in o.curves)),
        )

    def _train(self, task: TrainingTask, rungs: Rungs | None) -> TrainingOutcome:
        context = self._context
        recorder = CurveRecorder(context, task, self._epochs)

        def go_on(epoch: int, network: nn.Module) -> bool:
            validation = recorder.look(epoch, network)
            if rungs is not None and validation is not None and epoch != self._epochs[-1]:
                rungs.report(self._epochs.index(epoch), rungs.losses(validation))
            return True

        outcome = train_candidate(task, context.space, context.dataset, context.config, go_on=go_on)
        return replace(outcome, curves=(recorder.curve,))
