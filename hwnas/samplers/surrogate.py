"""A Gaussian process that learns one objective from what was evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import numpy as np
from numpy.typing import NDArray

from latency_predictors.kernel_variances import inverse_spread, most_probable_variances

Array = NDArray[np.float64]
Features = Sequence[Array]
Mask = NDArray[np.bool_]

# of the squared exponentials, in units of the spread of all features together
_LENGTH_SCALES = (1.0, 3.0)
_KERNELS = 1 + len(_LENGTH_SCALES)
_MOST_FOR_VARIANCES = 200
# of the variance of the targets: few of them may seem to have no noise by chance
_LEAST_NOISE = 3e-3
# of the variance of the targets: copies that are awaited have no singular covariance by it
_BELIEVED_NOISE = 1e-6
# of the variance of the targets: kernels that explain less are left out
_VANISHED = 1e-5
# numbers of a kernel that are held at once: they stay in the processor's cache
_NUMBERS_AT_ONCE = 2**18


class Surrogate:
    """A Gaussian process with a linear and squared exponential kernels of groups of features.

    Every kernel's variance has an exponential prior on its square root, so that kernels that
    explain nothing vanish; variances, and that of what no kernel explains (the nugget), are
    the mode of the posterior. The nugget is of each candidate, not of its evaluation: it is
    there again if the candidate is asked for, whereas noise is not.

    Args:
        features: Groups of features of n evaluated candidates, each of shape ``(n, f)``.
        targets: Shape ``(n,)``.
        noise_variances: Shape ``(n,)``: known variance of each target about the mean of
            evaluating without end; ``None`` where it is not known. Then what no kernel explains
            is taken for noise, and there is no nugget.
        centered: Whether targets are known to lie about 0, about 1 from it.

    References:
        Rasmussen & Williams (2006), Gaussian Processes for Machine Learning, Secs. 2.2
        (regression), 5.4.1 (type II maximum likelihood), 5.4.2 (leave-one-out, eq. 5.12).
        Simpson et al. (2017), Penalising model component complexity, Sec. 3.3.
        doi:10.1214/16-STS576
    """

    def __init__(
        self,
        features: Features,
        targets: Array,
        noise_variances: Array | None,
        centered: bool = False,
    ) -> None:
        self._center = [part.mean(axis=0) for part in features]
        self._inverse_spread = [inverse_spread(part) for part in features]
        self._mean = 0.0 if centered else float(targets.mean())
        self._scale = 1.0 if centered else float(targets.std()) or 1.0
        self._targets: Array = (targets - self._mean) / self._scale
        known = np.zeros(len(targets)) if noise_variances is None else noise_variances
        self._noise: Array = known / self._scale**2
        self._points = self._standardized(features)
        n = len(targets)
        some = np.linspace(0, n - 1, min(n, _MOST_FOR_VARIANCES)).round().astype(np.intp)
        few = [part[some] for part in self._points]
        m = _KERNELS * len(few)
        variances = most_probable_variances(
            [kernel for part in few for kernel in _kernels(part, part, [True] * _KERNELS)],
            self._targets[some],
            self._noise[some],
            typical_deviation=1.0,
            start=np.log([*[0.7 / m] * m, 0.3]),
            bounds=[(-16.0, 4.0)] * m + [(float(np.log(_LEAST_NOISE)), 2.0)],
        )
        self._variances = np.where(variances[:m] > _VANISHED, variances[:m], 0.0)
        self._nugget = float(variances[m])
        if noise_variances is None:
            self._noise, self._nugget = np.full(n, self._nugget), 0.0
        self._condition()

    @property
    def nugget_variance(self) -> float:
        """Variance of what the features do not tell, in squared units of the targets."""
        return self._nugget * self._scale**2

    @property
    def noise_variance(self) -> float:
        """Mean variance of the noise, given or learned, in squared units of the targets."""
        return float(self._noise.mean()) * self._scale**2

    def predict(self, features: Features) -> tuple[Array, Array]:
        """Return means and variances (without nugget) of candidates, each of shape ``(n,)``."""
        n = len(features[0])
        mean, variance = np.empty(n), np.empty(n)
        step = max(_NUMBERS_AT_ONCE // len(self._targets), 1)
        for rows in (slice(start, start + step) for start in range(0, n, step)):
            points = self._standardized([part[rows] for part in features])
            cross = self._covariance(points, self._points)
            mean[rows] = cross @ self._weights
            explained = np.einsum("ij,ij->i", cross @ self._inverse, cross)
            variance[rows] = self._prior_variance(points) - explained
        return (
            self._mean + self._scale * mean,
            self._scale**2 * np.maximum(variance, 0.0),
        )

    def covariance(self, features: Features) -> Array:
        """Return the joint covariance (without nugget) of n candidates, shape ``(n, n)``."""
        points = self._standardized(features)
        cross = self._covariance(points, self._points)
        joint = self._covariance(points, points) - cross @ self._inverse @ cross.T
        return np.asarray(self._scale**2 * joint)

    def believing(self, features: Features) -> Surrogate:
        """Return the process that has seen its own means at candidates: only less unsure.

        They are taken to have next to no noise. An evaluation that is noisy will tell less than
        that; counting on it spreads what is awaited together, and searches of noisy tables are as
        good with it as without.
        """
        believed = copy(self)
        mean, _ = self.predict(features)
        points = self._standardized(features)
        believed._points = [
            np.concatenate([old, new]) for old, new in zip(self._points, points, strict=True)
        ]
        believed._targets = np.concatenate([self._targets, (mean - self._mean) / self._scale])
        believed._noise = np.concatenate([self._noise, np.full(len(mean), _BELIEVED_NOISE)])
        believed._condition()
        return believed

    def denoised(self) -> Array:
        """Return what each target is expected to be without its noise, shape ``(n,)``."""
        cleaned = self._targets - self._noise * self._weights
        return np.asarray(self._mean + self._scale * cleaned)

    def log_densities_left_out(self) -> Array:
        """Return the log density of each target by a process that has not seen it."""
        variance = 1 / np.diag(self._inverse)
        error = self._weights * variance
        density = -0.5 * (np.log(2 * np.pi * variance) + error**2 / variance)
        return np.asarray(density - np.log(self._scale))

    def _condition(self) -> None:
        joint = self._covariance(self._points, self._points)
        joint[np.diag_indices_from(joint)] += self._nugget + self._noise
        self._inverse: Array = np.asarray(np.linalg.inv(joint), dtype=np.float64)
        self._weights: Array = self._inverse @ self._targets

    def _standardized(self, features: Features) -> list[Array]:
        return [
            (part - center) * inverse_spread
            for part, center, inverse_spread in zip(
                features, self._center, self._inverse_spread, strict=True
            )
        ]

    def _covariance(self, points: Features, others: Features) -> Array:
        total = np.zeros((len(points[0]), len(others[0])))
        by_group = self._variances.reshape(-1, _KERNELS)
        for variances, one, other in zip(by_group, points, others, strict=True):
            present = variances > 0
            if present.any():
                for variance, kernel in zip(
                    variances[present], _kernels(one, other, present), strict=True
                ):
                    total += variance * kernel
        return total

    def _prior_variance(self, points: Features) -> Array:
        by_group = self._variances.reshape(len(points), _KERNELS)
        linear = sum(
            variance * np.einsum("ij,ij->i", part, part)
            for variance, part in zip(by_group[:, 0], points, strict=True)
        )
        return np.asarray(linear + by_group[:, 1:].sum())


def _kernels(points: Array, others: Array, wanted: Sequence[bool] | Mask) -> list[Array]:
    """Return the linear kernel and the squared exponentials of one group of features."""
    products = points @ others.T
    kernels = [products] if wanted[0] else []
    if any(wanted[1:]):
        squares = np.einsum("ij,ij->i", points, points)[:, None]
        squares = squares + np.einsum("ij,ij->i", others, others)
        halves = np.minimum(products - 0.5 * squares, 0.0)
        kernels += _squared_exponentials(halves, wanted[1:])
    return kernels


def _squared_exponentials(halves: Array, wanted: Sequence[bool] | Mask) -> list[Array]:
    """Return squared exponentials of the wanted length scales, of minus half squared distances.

    The longer scale is three times the shorter: the ninth power of its kernel is the other's,
    and four products cost less than a second exponential.
    """
    longer = np.exp(halves / _LENGTH_SCALES[1] ** 2)
    if not wanted[0]:
        return [longer]
    eighth = longer * longer
    eighth *= eighth
    eighth *= eighth
    shorter = eighth * longer
    return [shorter, longer] if wanted[1] else [shorter]
