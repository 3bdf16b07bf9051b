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

# distance from the best loss at which the logarithm sets in, of the range seen
_KNEES = (0.03, 0.2)
# of a Gaussian by 7 points: exact for polynomials up to degree 13
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(7)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
_LARGEST_EXPONENT = 20.0
_LEAST_VARIANCE = 1e-300
# of predictions that were evaluated, below which nothing is learned from them
_LEAST_ERRORS = 5
# models of what is learned err more than they say where it counts, by about so much
_DOUBT = 2.0
# standard deviations from the others beyond which an error of a prediction is an outlier
_OUTLIER = 3.0


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
class TailWarp:
    """Losses as they are up to the best one seen, and logarithmic well beyond it.

    So a few bad losses do not hide how the good ones differ, nor does the warp bound how much
    better than the best one others may be.

    Args:
        best: Loss seen.
        knee: Distance from it at which the slope is 1/2.
    """

    best: float
    knee: float

    def forward(self, losses: Array) -> Array:
        """Return what is Gaussian."""
        excess = np.maximum(losses - self.best, 0.0)
        return np.asarray(np.minimum(losses, self.best) + self.knee * np.log1p(excess / self.knee))

    def slopes(self, losses: Array) -> Array:
        """Return derivatives of `forward`."""
        return np.asarray(1 / (1 + np.maximum(losses - self.best, 0.0) / self.knee))

    def losses(self, mean: Array, variance: Array) -> tuple[Array, Array]:
        """Return means and standard deviations of losses."""
        drawn = mean[:, None] + np.sqrt(variance)[:, None] * _NODES
        exponents = np.clip((drawn - self.best) / self.knee, 0.0, _LARGEST_EXPONENT)
        losses = np.minimum(drawn, self.best) + self.knee * np.expm1(exponents)
        expected = losses @ _WEIGHTS
        return expected, np.sqrt((losses - expected[:, None]) ** 2 @ _WEIGHTS)


Warp: TypeAlias = LinearWarp | TailWarp
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

    def losses(self, *, exploring: bool = False) -> tuple[Array, Array]:
        """Return means and standard deviations of the losses, larger ones to explore."""
        means, stds = self.warp.losses(self.mean, self.shared + self.own)
        return means, stds * (_DOUBT if exploring else 1.0)


class BeliefInPrediction(Belief):
    """Of what is predicted. Errors of one candidate alone are counted on only to explore.

    Of thousands, some would always seem to have a chance of being cheapest, and be tried one
    after the other.
    """

    def losses(self, *, exploring: bool = False) -> tuple[Array, Array]:
        """Return means and standard deviations of the losses, larger ones to explore."""
        return self.warp.losses(self.mean, self.shared + self.own if exploring else self.shared)


class LearnedObjective:
    """An objective of which nothing is known but evaluations.

    Losses are learned as they are or warped by a logarithm, whichever foretells better what
    was left out.

    Args:
        features: Groups of features of k evaluated candidates.
        losses: Shape ``(k,)``.
        noise_std: Known standard deviation of the losses' noise; NaN where it is not known.
    """

    def __init__(self, features: Features, losses: Array, noise_std: float) -> None:
        extent = float(np.ptp(losses)) or 1.0
        best = float(losses.min())
        warps: list[Warp] = [TailWarp(best, part * extent) for part in _KNEES]
        warps.append(LinearWarp())
        self._noise_std = noise_std
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
        return self._unwarped(self._surrogate.denoised())

    def denoised_others(self, candidates: Candidates, losses: Array) -> Array:
        """Return expected losses, without noise, of n that were evaluated but not learned from."""
        mean, variance = self._surrogate.predict(candidates.features)
        signal = variance + self._surrogate.nugget_variance
        noise = (self._noise_std * self._warp.slopes(losses)) ** 2
        if np.isnan(self._noise_std):
            noise = np.full(len(losses), self._surrogate.noise_variance)
        weight = signal / np.maximum(signal + noise, _LEAST_VARIANCE)
        return self._unwarped(mean + weight * (self._warp.forward(losses) - mean))

    def _unwarped(self, cleaned: Array) -> Array:
        return self._warp.losses(cleaned, np.zeros(len(cleaned)))[0]


def _fit(
    warp: Warp, features: Features, losses: Array, noise_std: float
) -> tuple[float, Surrogate, Warp]:
    slopes = warp.slopes(losses)
    noise = None if np.isnan(noise_std) else (noise_std * slopes) ** 2
    surrogate = Surrogate(features, warp.forward(losses), noise)
    quality = float(np.mean(surrogate.log_densities_left_out() + np.log(slopes)))
    return quality, surrogate, warp


class PredictedObjective:
    """An objective that costs predict, but for an error learned from evaluations.

    What is learned is the logarithm of measured over predicted values, in units of the
    standard deviation that predictions claim: candidates that resemble each other err alike,
    and may err more than is claimed, as where exits decide how much of a network runs.

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
        predicted, stds = self._predicted(evaluated)
        unsure = np.flatnonzero(stds > 0)
        self._error: Surrogate | None = None
        if len(unsure) >= _LEAST_ERRORS:
            features = [part[unsure] for part in evaluated.features]
            errors = _without_outliers((np.log(values) - predicted)[unsure] / stds[unsure])
            self._error = Surrogate(features, errors, np.zeros(len(unsure)), centered=True)

    def belief(self, candidates: Candidates) -> Belief:
        """Return what is believed of candidates."""
        mean, stds = self._predicted(candidates)
        nothing = np.zeros(len(mean))
        if self._error is None:
            return BeliefInPrediction(mean, nothing, nothing, self._warp)
        error, shared = self._error.predict(candidates.features)
        own = np.full(len(mean), self._error.nugget_variance)
        return BeliefInPrediction(mean + stds * error, stds**2 * shared, stds**2 * own, self._warp)

    def covariance(self, candidates: Candidates) -> Array:
        """Return their joint covariance before the warp, shape ``(n, n)``."""
        if self._error is None:
            return np.zeros((len(candidates), len(candidates)))
        _, stds = self._predicted(candidates)
        return np.asarray(np.outer(stds, stds) * self._error.covariance(candidates.features))

    def believing(self, candidates: Candidates) -> PredictedObjective:
        """Return the model that awaits results of candidates, as it expects them."""
        if self._error is None:
            return self
        believed = copy(self)
        believed._error = self._error.believing(candidates.features)
        return believed

    def _predicted(self, candidates: Candidates) -> tuple[Array, Array]:
        costs = candidates.costs
        return np.log(costs.values[:, self._column]), costs.log_stds[:, self._column]


def _without_outliers(errors: Array) -> Array:
    """Return errors, those far from the others brought nearer: they would inflate all variances."""
    center = float(np.median(errors))
    # the median deviation of a Gaussian is 1 / 1.48 of its standard deviation
    spread = max(1.48 * float(np.median(np.abs(errors - center))), 1.0)
    return np.clip(errors, center - _OUTLIER * spread, center + _OUTLIER * spread)


ObjectiveModel: TypeAlias = LearnedObjective | PredictedObjective
"""What evaluations and predictions tell of one objective."""
