"""The cost of a kernel from measured ones of the same operator: a small Gaussian process."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, eigh
from scipy.optimize import nnls

from search_spaces import Workload, bytes_moved, macs

Array: TypeAlias = NDArray[np.float64]
Workloads: TypeAlias = tuple[Workload, ...]

_LENGTHS = (1.0, 2.0, 4.0, 8.0, 16.0)
_NOISES = (1e-3, 1e-2, 1e-1, 1.0)
# a handful of kernels that fit a line say nothing of how far the next one is from it
_LEAST_STD = 0.03
_PRIOR_STD = 0.3
_PRIOR_SAMPLES = 3.0
# the time of a fit grows with the cube: 1500 kernels take seconds
_MOST = 1500
# what the line may be off by, in deviations of the residuals per deviation of the features
_SLOPE = 1.0
_VECTORS = (4, 8, 16)


class KernelRegression:
    """Costs of kernels of one operator: a non-negative line and a smooth correction.

    The line ``a + b MACs + c bytes`` is the least-squares fit to relative errors; a Gaussian
    process on the logarithm of what is left, with a Matern and a linear kernel whose length
    and noise maximize the marginal likelihood, corrects it.

    References:
        Rasmussen & Williams (2006), Gaussian Processes for Machine Learning, Eqs. 2.25, 2.26
        (prediction), 4.17 (kernel), 5.8 (marginal likelihood).
    """

    def __init__(self, line: Array, points: Array, residuals: Array) -> None:
        self._line = line
        self._center = points.mean(axis=0)
        self._scale = np.maximum(points.std(axis=0), 1e-3)
        # a feature that never varied has no unit: a difference in it is a large one
        self._points = (points - self._center) / self._scale
        self._length, self._noise, self._std = _most_likely(self._points, residuals)
        covariance = _covariance(self._points, self._points, self._length)
        covariance[np.diag_indices_from(covariance)] += self._noise
        self._factor = cho_factor(covariance, lower=True)
        self._weights = cho_solve(self._factor, residuals)

    @classmethod
    def fit(cls, kernels: Sequence[Workloads], seconds: Array) -> Self:
        """Learn from n different kernels.

        Args:
            kernels: The workloads of each.
            seconds: Shape ``(n,)``, positive.
        """
        line = _relative_line(_sums(kernels), seconds)
        residuals = np.log(seconds / (_sums(kernels) @ line))
        return cls(line, _features(kernels)[:_MOST], residuals[:_MOST])

    def predict(self, kernels: Sequence[Workloads]) -> list[tuple[float, float]]:
        """Return mean and standard deviation of each kernel's cost, seconds."""
        points = (_features(kernels) - self._center) / self._scale
        cross = _covariance(points, self._points, self._length)
        correction = cross @ self._weights
        explained = np.einsum("ij,ji->i", cross, cho_solve(self._factor, cross.T))
        prior = 1 + _SLOPE * np.mean(points**2, axis=1)
        variance = self._std**2 * np.maximum(prior + self._noise - explained, 0.0)
        log_std = np.hypot(np.sqrt(variance), _LEAST_STD)
        # the median of a log-normal: sums of medians are compared with medians
        mean = _sums(kernels) @ self._line * np.exp(correction)
        std = mean * np.sqrt(np.expm1(np.minimum(log_std, 3.0) ** 2))
        return [(float(m), float(s)) for m, s in zip(mean, std, strict=True)]


def _relative_line(sums: Array, seconds: Array) -> Array:
    rows = sums / seconds[:, None]
    scale = np.sqrt(np.mean(rows**2, axis=0)) + 1e-300
    rows = rows / scale
    # a ridge that is rounding for more kernels than columns
    ridge = 1e-3 * np.eye(rows.shape[1])
    wanted = np.concatenate([np.ones(len(rows)), np.zeros(rows.shape[1])])
    solution, _ = nnls(np.vstack([rows, ridge]), wanted)
    line = solution / scale
    line[0] += 1e-3 * seconds.min()  # no kernel is free
    return np.asarray(line)


def _sums(kernels: Sequence[Workloads]) -> Array:
    return np.array(
        [
            [1.0, sum(macs(w) for w in workloads), sum(bytes_moved(w) for w in workloads)]
            for workloads in kernels
        ]
    )


def _features(kernels: Sequence[Workloads]) -> Array:
    return np.array([_kernel_features(workloads) for workloads in kernels])


def _kernel_features(workloads: Workloads) -> list[float]:
    first, *joined = workloads
    n_in, n_out = first.input_shape[0], first.output_shape[0]
    pixels = first.output_shape[1:] or (1,)
    sizes = [n_in, n_out, prod(pixels), pixels[-1], macs(first), bytes_moved(first)]
    return [
        *(float(np.log1p(size)) for size in sizes),
        float(np.log(prod(first.kernel))),
        float(np.log(prod(first.stride))),
        # how full the last vector of channels, and of pixels in a row, is
        *((-n_out % lanes) / lanes for lanes in _VECTORS),
        (-n_in % 4) / 4,
        (-pixels[-1] % 4) / 4,
        float(first.activation != "none"),
        float(first.activation.startswith("hard")),
        float(len(joined)),
    ]


def _covariance(points: Array, others: Array, length: float) -> Array:
    """Matern kernel of smoothness 3/2, and a linear one that widens extrapolations."""
    products = points @ others.T
    squared = (points**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2 * products
    scaled = np.sqrt(3 * np.maximum(squared, 0.0)) / length
    return np.asarray((1 + scaled) * np.exp(-scaled) + _SLOPE * products / points.shape[1])


def _most_likely(points: Array, residuals: Array) -> tuple[float, float, float]:
    """Return length, noise and standard deviation of largest marginal likelihood.

    The variance has a scaled inverse chi-squared prior, so that a few kernels that happen to
    agree do not make it zero.
    """
    n = len(residuals)
    best, found = -np.inf, (_LENGTHS[-1], _NOISES[-1], _PRIOR_STD)
    for length in _LENGTHS:
        eigenvalues, vectors = eigh(_covariance(points, points, length))
        rotated = (vectors.T @ residuals) ** 2
        for noise in _NOISES:
            spectrum = np.maximum(eigenvalues, 0.0) + noise
            squares = _PRIOR_SAMPLES * _PRIOR_STD**2 + float(np.sum(rotated / spectrum))
            variance = squares / (n + _PRIOR_SAMPLES)
            likelihood = -0.5 * float(
                (n + _PRIOR_SAMPLES) * np.log(variance) + np.log(spectrum).sum()
            )
            if likelihood > best:
                best, found = likelihood, (length, noise, float(np.sqrt(variance)))
    return found
