"""What is to be expected of candidates, given what was evaluated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import moocore
import numpy as np
from numpy.typing import NDArray

from hwnas.samplers.batch_selection import expected_gains, greedy_batch, improvable
from hwnas.samplers.candidates import Candidates
from hwnas.samplers.grid import Rows
from hwnas.samplers.loss_scale import LossScale
from hwnas.samplers.objective_models import LearnedObjective, ObjectiveModel, PredictedObjective

Array = NDArray[np.float64]

_LARGEST_TRAINING_SET = 400


@dataclass(frozen=True)
class Evaluations:
    """Candidates that were evaluated, each once, and those whose evaluation has not ended.

    Args:
        candidates: k of them.
        values: Shape ``(k, m)``: what is learned from.
        others: Shape ``(p, m)``: what they can have, too, in place of these values. Nothing is
            learned from it, but it is reached.
        others_of: Shape ``(p,)``: positions of the candidates that these are of.
        is_feasible: Shape ``(k,)``: whether every limit was met.
        pending: p candidates.
    """

    candidates: Candidates
    values: Array
    others: Array
    others_of: NDArray[np.intp]
    is_feasible: NDArray[np.bool_]
    pending: Candidates

    def with_features(self, group: Callable[[Rows], Array]) -> Evaluations:
        """Return them with another group of features."""
        return replace(
            self,
            candidates=self.candidates.with_features(group(self.candidates.rows)),
            pending=self.pending.with_features(group(self.pending.rows)),
        )


class Outlook:
    """Models of all objectives, learned from evaluations.

    Args:
        evaluations: At least two.
        scale: Of the losses.
        noise_std: Shape ``(m,)``: noise of the objectives, in their units; NaN where it is not
            known, and what features do not tell is taken for it.

    Attributes:
        denoised: Shape ``(k, m)``: losses of the evaluations, less what is taken for noise.
    """

    def __init__(self, evaluations: Evaluations, scale: LossScale, noise_std: Array) -> None:
        self._evaluations = evaluations
        self._scale = scale
        self._losses = scale.losses(evaluations.values)
        self._noise_std = noise_std * np.abs(scale.slopes)
        self._learned_from = _training_set(self._losses)
        learners = evaluations.candidates[self._learned_from]
        known = np.asarray(~np.isnan(learners.costs.values).any(axis=0))
        self._models = [self._model(j, learners, bool(k)) for j, k in enumerate(known)]
        self.denoised = self._without_noise()
        front = self._reached()
        if len(evaluations.pending):
            self._models = [model.believing(evaluations.pending) for model in self._models]
            expected = [m.belief(evaluations.pending).losses()[0] for m in self._models]
            front = np.concatenate([front, np.stack(expected, axis=1)])
        self._region = improvable(front)

    def gains(self, candidates: Candidates) -> Array:
        """Return how much hypervolume each of n candidates is expected to add."""
        return expected_gains([m.belief(candidates) for m in self._models], self._region)

    def batch(self, candidates: Candidates, n: int) -> list[int]:
        """Choose n of some candidates, the best first, each to complement those before it.

        Returns:
            Positions in ``candidates``.
        """
        return greedy_batch(self._models, candidates, self._region, n)

    def best(self, n: int) -> NDArray[np.intp]:
        """Return the positions of n evaluated candidates that others dominate least."""
        order = _by_rank(self._losses)
        feasible = self._evaluations.is_feasible[order]
        return np.concatenate([order[feasible], order[~feasible]])[:n]

    @property
    def quality(self) -> float:
        """Sum of the log densities, per evaluation, of learned objectives that were left out."""
        return sum(m.quality for m in self._models if isinstance(m, LearnedObjective))

    def _model(self, column: int, learners: Candidates, is_known: bool) -> ObjectiveModel:
        if is_known:
            values = self._evaluations.values[self._learned_from, column]
            return PredictedObjective(self._scale, column, learners, values)
        losses = self._losses[self._learned_from, column]
        return LearnedObjective(learners.features, losses, float(self._noise_std[column]))

    def _without_noise(self) -> Array:
        losses = self._losses.copy()
        rest = np.setdiff1d(np.arange(len(losses)), self._learned_from)
        others = self._evaluations.candidates[rest]
        for column, model in enumerate(self._models):
            if isinstance(model, LearnedObjective) and self._noise_std[column] != 0:
                losses[self._learned_from, column] = model.denoised()
                losses[rest, column] = model.denoised_others(others, self._losses[rest, column])
        return losses

    def _reached(self) -> Array:
        """Return what feasible evaluations reached, less what is taken for noise."""
        others = self._scale.losses(self._evaluations.others)
        # points of one evaluation share its luck
        others += (self.denoised - self._losses)[self._evaluations.others_of]
        reached = np.concatenate([self.denoised[self._evaluations.is_feasible], others])
        # of thousands of points a few count, and they are asked for again and again
        return np.asarray(reached[moocore.is_nondominated(reached)])


def _training_set(losses: Array) -> NDArray[np.intp]:
    """Return what is learned from: half of it the best, half of it spread over the rest."""
    n = len(losses)
    if n <= _LARGEST_TRAINING_SET:
        return np.arange(n)
    best, rest = np.split(_by_rank(losses), [_LARGEST_TRAINING_SET // 2])
    spread = np.linspace(0, len(rest) - 1, _LARGEST_TRAINING_SET - len(best)).round()
    return np.sort(np.concatenate([best, np.sort(rest)[spread.astype(np.intp)]]))


def _by_rank(losses: Array) -> NDArray[np.intp]:
    """Return rows by how many fronts dominate them, fewest first."""
    return np.lexsort((losses.sum(axis=1), moocore.pareto_rank(losses)))
