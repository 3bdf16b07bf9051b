"""What is believed of one objective: learned wholly, or predicted and corrected."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hwnas.samplers.candidates import Candidates
from hwnas.samplers.loss_scale import LossScale
from hwnas.samplers.surrogate import Features, Surrogate

Array = NDArray[np.float64]

# how far below the best loss seen the logarithm of losses has its pole, of the range seen
_POLES = (0.03, 0.2)
# normalized squared errors of predictions, above which they are corrected
_LARGEST_SURPRISE = 2.0
_LEAST_LOG_STD = 1e-3


@dataclass(frozen=True)
class LinearWarp:
    """No warp but a scale."""

    slope: float = 1.0
    origin: float = 0.0

    def forward(self, losses: Array) -> Array:
        """Return what is Gaussian."""
        return np.asarray((losses - self.origin) / self.slope)

    def slopes(self, losses: Array) -> Array:
        """Return derivatives of `forward`."""
        return np.full(len(losses), 1 / abs(self.slope))

    def losses(self, mean: Array, variance: Array) -> tuple[Array, Array]:
        """Return means and standard deviations of losses."""
        return self.origin + self.slope * mean, abs(self.slope) * np.sqrt(variance)


@dataclass(frozen=True)
class LogWarp:
    """Losses whose distance from a pole below all of them is log-normal."""

    pole: float

    def forward(self, losses: Array) -> Array:
        """Return what is Gaussian."""
        return np.log(losses - self.pole)

    def slopes(self, losses: Array) -> Array:
        """Return derivatives of `forward`."""
        return np.asarray(1 / (losses - self.pole))

    def losses(self, mean: Array, variance: Array) -> tuple[Array, Array]:
        """Return means and standard deviations of losses."""
        # beyond it nothing is known anyway
        bounded = np.minimum(variance, 1.0)
        expected = np.exp(mean + bounded / 2)
        return self.pole + expected, expected * np.sqrt(np.expm1(bounded))


Warp: TypeAlias = LinearWarp | LogWarp
"""A monotone map of losses that makes them more nearly Gaussian."""


@dataclass(frozen=True)
class Belief:
    """Gaussian beliefs of n candidates' losses, before the warp.

    Args:
        mean: Shape ``(n,)``.
        shared: Shape ``(n,)``: variance that evaluating a neighbour lessens.
        own: Shape ``(n,)``: variance that only evaluating the candidate takes away.
        warp: Of the losses.
    """

    mean: Array
    shared: Array
    own: Array
    warp: Warp

    def losses(self) -> tuple[Array, Array]:
        """Return means and standard deviations of the losses."""
        return self.warp.losses(self.mean, self.shared + self.own)


class LearnedObjective:
    """An objective of which nothing is known but evaluations.

    Losses are learned as they are or warped by a logarithm, whichever foretells better what
    was left out.

    Args:
        features: Groups of features of k evaluated candidates.
        losses: Shape ``(k,)``.
        noise_std: Known standard deviation of the losses' noise.
    """

    def __init__(self, features: Features, losses: Array, noise_std: float) -> None:
        extent = float(np.ptp(losses)) or 1.0
        warps: list[Warp] = [LogWarp(float(losses.min()) - part * extent) for part in _POLES]
        warps.append(LinearWarp())
        fitted = [_fit(warp, features, losses, noise_std) for warp in warps]
        self.quality, self._surrogate, self._warp = max(fitted, key=lambda found: found[0])

    def belief(self, candidates: Candidates) -> Belief:
        """Return what is believed of candidates."""
        mean, variance = self._surrogate.predict(candidates.features)
        own = np.full(len(mean), self._surrogate.nugget_variance)
        return Belief(mean, variance, own, self._warp)

    def covariance(self, candidates: Candidates) -> Array:
        """Return their joint covariance before the warp, shape ``(n, n)``."""
        return self._surrogate.covariance(candidates.features)

    def believing(self, candidates: Candidates) -> LearnedObjective:
        """Return the model that awaits results of candidates, as it expects them."""
        believed = copy(self)
        believed._surrogate = self._surrogate.believing(candidates.features)
        return believed

    def denoised(self) -> Array:
        """Return expected losses of what was learned from without their noise, shape ``(k,)``."""
        cleaned = self._surrogate.denoised()
        return self._warp.losses(cleaned, np.zeros(len(cleaned)))[0]


def _fit(
    warp: Warp, features: Features, losses: Array, noise_std: float
) -> tuple[float, Surrogate, Warp]:
    slopes = warp.slopes(losses)
    surrogate = Surrogate(features, warp.forward(losses), (noise_std * slopes) ** 2)
    quality = float(np.mean(surrogate.log_densities_left_out() + np.log(slopes)))
    return quality, surrogate, warp


class PredictedObjective:
    """An objective that costs predict, up to a factor learned from evaluations.

    Where evaluations lie as near to the predictions as those claim, nothing is learned.

    Args:
        scale: Of the losses; logarithmic in this objective.
        column: Of the objective.
        evaluated: k evaluated candidates.
        values: Shape ``(k,)``: what they were evaluated to.
    """

    def __init__(self, scale: LossScale, column: int, evaluated: Candidates, values: Array) -> None:
        self._column = column
        slope = float(scale.slopes[column])
        self._warp = LinearWarp(slope, float(scale.losses_of_logs(column, np.zeros(1))[0]))
        residuals = np.log(values) - np.log(evaluated.costs.values[:, column])
        stds = np.maximum(evaluated.costs.log_stds[:, column], _LEAST_LOG_STD)
        surprise = float(np.mean((residuals / stds) ** 2)) if len(values) else 0.0
        self._factor: Surrogate | None = None
        if surprise > _LARGEST_SURPRISE and np.ptp(residuals) > 0:
            self._factor = Surrogate(evaluated.features, residuals, np.zeros(len(residuals)))

    def belief(self, candidates: Candidates) -> Belief:
        """Return what is believed of candidates."""
        mean = np.log(candidates.costs.values[:, self._column])
        own = candidates.costs.log_stds[:, self._column] ** 2
        if self._factor is None:
            return Belief(mean, np.zeros(len(mean)), own, self._warp)
        correction, variance = self._factor.predict(candidates.features)
        own = np.full(len(mean), self._factor.nugget_variance)
        return Belief(mean + correction, variance, own, self._warp)

    def covariance(self, candidates: Candidates) -> Array:
        """Return their joint covariance before the warp, shape ``(n, n)``."""
        if self._factor is None:
            return np.zeros((len(candidates), len(candidates)))
        return self._factor.covariance(candidates.features)

    def believing(self, candidates: Candidates) -> PredictedObjective:
        """Return the model that awaits results of candidates, as it expects them."""
        if self._factor is None:
            return self
        believed = copy(self)
        believed._factor = self._factor.believing(candidates.features)
        return believed


ObjectiveModel: TypeAlias = LearnedObjective | PredictedObjective
"""What evaluations and predictions tell of one objective."""
