"""Look at trainings at given epochs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hwnas.candidate_training import LearningCurve, SplitResult, TrainingTask, judge_on_validation
from hwnas.scorers._types import ScoringContext
from hwnas.training_config import HalvingConfig

if TYPE_CHECKING:
    from torch import nn


def rung_epochs(epochs: int, config: HalvingConfig) -> tuple[int, ...]:
    """Return after which epochs trainings are judged, ascending; the last one is the end.

    ``epochs / reduction^k``, rounded, at least 1; rungs that fall on one epoch are one.

    Args:
        epochs: Of a full training.
        config: Number of rungs and the factor between them.
    """
    powers = range(config.rungs)
    return tuple(sorted({max(1, round(epochs / config.reduction**k)) for k in powers}))


class CurveRecorder:
    """Judges one training at given epochs, on the validation split.

    Args:
        context: Of the training.
        task: What is trained.
        epochs: When to look, ascending.
    """

    def __init__(self, context: ScoringContext, task: TrainingTask, epochs: Sequence[int]) -> None:
        self._context = context
        self._task = task
        self._wanted = set(epochs)
        self._epochs: list[int] = []
        self._accuracy: list[float] = []
        self._cpu_s: list[float] = []
        self._began = time.process_time()

    def look(self, epoch: int, network: nn.Module) -> SplitResult | None:
        """Return how the network does after this epoch; ``None`` where it is none of them."""
        if epoch not in self._wanted:
            return None
        context = self._context
        judged = judge_on_validation(
            network, self._task, context.dataset, context.config
        ).validation
        if judged is not None:
            self._epochs.append(epoch)
            self._accuracy.append(judged.accuracy)
            self._cpu_s.append(time.process_time() - self._began)
        return judged

    @property
    def curve(self) -> LearningCurve:
        """What was seen."""
        return LearningCurve(
            self._task.seed, tuple(self._epochs), tuple(self._accuracy), tuple(self._cpu_s)
        )
