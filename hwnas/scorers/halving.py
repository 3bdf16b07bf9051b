"""Asynchronous successive halving by non-dominated rank: poor trainings end early."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import moocore
import numpy as np
from numpy.typing import NDArray

from hwnas.candidate_training import TrainingOutcome, TrainingTask, train_candidate
from hwnas.pareto import knee
from hwnas.scorers._types import Rungs, ScoringContext
from hwnas.scorers.learning_curves import CurveRecorder, rung_epochs

if TYPE_CHECKING:
    from torch import nn


class SuccessiveHalving:
    """Goes on from a rung only with what is among the best of all that were seen there.

    The stopping type: no training waits for others or is taken up again. One that is never
    halted is a full training, bit for bit: schedule and seed are the same.

    Args:
        context: What it works with; ``accuracy.halving`` of its configuration sets the rungs.

    References:
        Schmucker et al. (2021), Multi-objective Asynchronous Successive Halving.
        arXiv:2106.12639. Li et al. (2020), A System for Massively Parallel Hyperparameter
        Tuning. arXiv:1810.05934
    """

    def __init__(self, context: ScoringContext) -> None:
        self._context = context
        self._halving = context.config.accuracy.halving
        self._epochs = rung_epochs(context.config.training.epochs, self._halving)[:-1]

    def score(self, task: TrainingTask, rungs: Rungs) -> TrainingOutcome:
        """Train as long as it is worth it; see `AccuracyScorer`."""
        context = self._context
        recorder = CurveRecorder(context, task, self._epochs)

        def go_on(epoch: int, network: nn.Module) -> bool:
            validation = recorder.look(epoch, network)
            if validation is None:
                return True
            rung = self._epochs.index(epoch)
            own, others = rungs.losses(validation), rungs.others(rung)
            rungs.report(rung, own)
            return is_among_best(own, others, self._halving.reduction)

        outcome = train_candidate(task, context.space, context.dataset, context.config, go_on=go_on)
        return replace(outcome, scorer="halving", curves=(recorder.curve,))


def is_among_best(own: Sequence[float], others: Sequence[Sequence[float]], reduction: int) -> bool:
    """Tell whether a candidate is among the best ``1 / reduction``, itself counted.

    Candidates are ordered by non-dominated rank. Of the rank that is cut, those are taken
    that spread best: the knee first, then always the one farthest from all
    taken so far (a greedy epsilon-net). A share is rounded up, so that the best always goes on.

    Args:
        own: Losses of the candidate, minimized.
        others: Losses of the others, in any order.
        reduction: At least 1.

    References:
        Schmucker et al. (2021): the epsilon-net. arXiv:2106.12639
    """
    losses = np.array([own, *others], dtype=np.float64)
    # sorted, whatever order the others come in; equal rows stay as they are, own first
    order = np.lexsort(losses.T)
    losses, own_row = losses[order], int(np.flatnonzero(order == 0)[0])
    ranks = np.asarray(moocore.pareto_rank(losses))
    better, equal = ranks < ranks[own_row], ranks == ranks[own_row]
    places = math.ceil(len(losses) / reduction) - int(better.sum())
    if places <= 0 or places >= equal.sum():
        return places > 0
    return own_row in np.flatnonzero(equal)[_spread(losses[equal], places)]


def _spread(losses: NDArray[np.float64], count: int) -> list[int]:
    """Return ``count`` rows that lie far from each other, the knee first."""
    taken = [knee(losses)]
    distance = np.linalg.norm(losses - losses[taken[0]], axis=1)
    while len(taken) < count:
        taken.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(losses - losses[taken[-1]], axis=1))
    return taken
