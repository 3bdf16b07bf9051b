"""What additive costs cannot explain: a Gaussian process, trusted as far as it helps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from latency_predictors.kernel_variances import inverse_spread, most_probable_variances

Array = NDArray[np.float64]

# length scales of the squared exponentials, in units of the spread of all features together
_LENGTH_SCALES = (1.0, 3.0)
# scale of the exponential prior on the standard deviation that each kernel explains
_TYPICAL_DEVIATION = 0.1
_LARGEST_FIT_OF_KERNELS = 300
_LARGEST_PROCESS = 2000
_LARGEST_VARIANCE_SET = 128
# of variances: below it a kernel explains nothing, and rounding is all the noise there is
_LEAST_VARIANCE = 1e-8
_DECIMALS = 10
_LARGEST_CORRECTION = 1.0
# numbers of a kernel that are held at once: they stay in the processor's cache
_NUMBERS_AT_ONCE = 2**16


@dataclass(frozen=True)
class Inputs:
    """What the residual of n graphs may depend on.

    Args:
        linear: Shape ``(n, l)``: features it may be linear in.
        smooth: One or more arrays of shape ``(n, d)``: it may be a smooth function of each.
    """

    linear: Array
    smooth: tuple[Array, ...]

    def __getitem__(self, rows: NDArray[np.intp] | slice) -> Inputs:
        return Inputs(self.linear[rows], tuple(part[rows] for part in self.smooth))

    def __len__(self) -> int:
        return len(self.linear)


class Residual:
    """A Gaussian process of mean 0 with a linear and several squared exponential kernels.

    Each kernel's variance has an exponential prior on its square root, so that kernels
    which explain nothing vanish; variances are the mode of the posterior. The mean is
    multiplied by a trust between 0 and 1: what predictions of groups left out would have
    been best multiplied with. Beyond 2,000 graphs a spread-out part of them is used.

    References:
        Rasmussen & Williams (2006), Gaussian Processes for Machine Learning, Secs. 2.2
        (regression), 5.4.1 (type II maximum likelihood) and 5.4.2 (leave-one-out, eq. 5.12).
        Simpson et al. (2017), Penalising model component complexity, Sec. 3.3.
        doi:10.1214/16-STS576
    """

    def __init__(self, center: list[Array], scale: list[Array], variances: Array) -> None:
        self._center, self._scale, self._variances = center, scale, variances
        self._trust = 1.0

    @classmethod
    def fit(
        cls, inputs: Inputs, residuals: Array, groups: NDArray[np.intp]
    ) -> tuple[Self, Array, Array]:
        """Fit to n graphs.

        Args:
            inputs: Of the graphs.
            residuals: Shape ``(n,)``: logarithms of what is left to explain.
            groups: Shape ``(n,)``: number of the group that is left out together.

        Returns:
            The process, and for each graph the mean and the standard deviation (without
            noise) that it would predict had it not seen the graph's group.
        """
        parts = (inputs.linear, *inputs.smooth)
        center, scale = (
            [part.mean(axis=0) for part in parts],
            [inverse_spread(part) for part in parts],
        )
        points = _standardized(inputs, center, scale)
        rows = _spread_out(points, _LARGEST_PROCESS)
        used = [part[rows] for part in points]
        few = _spread_out(used, _LARGEST_FIT_OF_KERNELS)
        # rounded: the search for variances must not follow the last bits, which depend on units
        few_points = [part[few].round(_DECIMALS) for part in used]
        variances = _variances(
            _kernels(few_points, few_points), residuals[rows][few].round(_DECIMALS)
        )
        self = cls(center, scale, variances)
        inverse = self._condition(used, residuals[rows])
        without = self._means_without_group(inverse, groups[rows])
        norm = float(without @ without)
        self._trust = float(np.clip(residuals[rows] @ without / norm, 0, 1)) if norm > 0 else 0.0
        mean, std = self.predict(inputs)
        mean[rows] = self._trust * without
        std[rows[self._few]] = self._stds_without_group(groups[rows[self._few]])
        return self, mean, std

    def predict(self, inputs: Inputs) -> tuple[Array, Array]:
        """Return means and standard deviations (without noise), each of shape ``(n,)``."""
        mean, variance = np.empty(len(inputs)), np.empty(len(inputs))
        step = max(_NUMBERS_AT_ONCE // len(self._residuals), 1)
        for rows in (slice(start, start + step) for start in range(0, len(inputs), step)):
            points = _standardized(inputs[rows], self._center, self._scale)
            cross = self._cross(points, self._points)
            mean[rows] = cross @ self._alpha
            projected = cross[:, self._few] @ self._few_root
            reduction = np.einsum("ij,ij->i", projected, projected)
            variance[rows] = self._prior_variance(points) - reduction
        mean, variance = self._trust * mean, np.maximum(variance, 0.0)
        # far from all that was measured a linear kernel knows no bounds
        limit = _LARGEST_CORRECTION
        return np.clip(mean, -limit, limit), np.minimum(np.sqrt(variance), limit)

    @property
    def trust(self) -> float:
        """What the mean is multiplied with, 0 to 1."""
        return self._trust

    @property
    def noise_std(self) -> float:
        """Standard deviation of what no kernel explains."""
        return float(np.sqrt(self._variances[-1]))

    def to_dict(self) -> dict[str, Any]:
        """Return the fitted state, JSON-ready."""
        return {
            "center": [c.tolist() for c in self._center],
            "scale": [s.tolist() for s in self._scale],
            "variances": self._variances.tolist(),
            "trust": self._trust,
            "points": [p.tolist() for p in self._points],
            "residuals": self._residuals.tolist(),
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any], widths: tuple[int, ...]) -> Self:
        """Rebuild what `to_dict` returned.

        Args:
            state: From `to_dict`.
            widths: Features of the linear part and of every smooth one.

        Raises:
            KeyError, TypeError, ValueError: If an entry is missing or not what it should be.
        """
        n = len(state["residuals"])
        each = [(width,) for width in widths]
        n_variances = 2 + len(_LENGTH_SCALES) * (len(widths) - 1)
        self = cls(
            _arrays(state, "center", each),
            _arrays(state, "scale", each),
            _array(state["variances"], "variances", (n_variances,)),
        )
        points = _arrays(state, "points", [(n, width) for width in widths])
        self._trust = float(state["trust"])
        self._condition(points, _array(state["residuals"], "residuals", (n,)))
        return self

    def _condition(self, points: list[Array], residuals: Array) -> Array:
        """Learn residuals; return the inverse of their covariance."""
        self._points, self._residuals = points, residuals
        covariance = self._cross(points, points)
        noise = self._variances[-1] + _LEAST_VARIANCE
        inverse = np.asarray(np.linalg.inv(covariance + noise * np.eye(len(residuals))))
        self._alpha = inverse @ residuals
        # variances by a part: never less than by all, and quick for many predictions
        self._few = _spread_out(points, _LARGEST_VARIANCE_SET)
        of_few = covariance[np.ix_(self._few, self._few)] + noise * np.eye(len(self._few))
        self._few_root = np.linalg.inv(np.linalg.cholesky(of_few)).T
        return inverse

    def _means_without_group(self, inverse: Array, groups: NDArray[np.intp]) -> Array:
        """Return the mean at each graph learned from without its group, in closed form."""
        mean = np.empty(len(groups))
        for group in _members(groups):
            covariance = np.linalg.inv(inverse[np.ix_(group, group)])
            mean[group] = self._residuals[group] - covariance @ self._alpha[group]
        return mean

    def _stds_without_group(self, groups: NDArray[np.intp]) -> Array:
        """Return the deviation at each graph that tells variances, likewise."""
        inverse = self._few_root @ self._few_root.T
        variance = np.empty(len(groups))
        for group in _members(groups):
            variance[group] = np.diag(np.linalg.inv(inverse[np.ix_(group, group)]))
        noise = self._variances[-1] + _LEAST_VARIANCE
        return np.asarray(np.sqrt(np.clip(variance - noise, 0.0, _LARGEST_CORRECTION**2)))

    def _cross(self, points: list[Array], others: list[Array]) -> Array:
        total = np.zeros((len(points[0]), len(others[0])))
        for variance, kernel in zip(self._variances, _kernels(points, others), strict=False):
            if variance > _LEAST_VARIANCE:
                part = kernel()
                part *= variance
                total += part
        return total

    def _prior_variance(self, points: list[Array]) -> Array:
        linear = np.einsum("ij,ij->i", points[0], points[0])
        return np.asarray(self._variances[0] * linear + self._variances[1:-1].sum())


def _members(groups: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Return the rows of each group."""
    order = np.argsort(groups, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)


def _standardized(inputs: Inputs, centers: list[Array], scales: list[Array]) -> list[Array]:
    return [
        (part - center) * scale
        for part, center, scale in zip(
            (inputs.linear, *inputs.smooth), centers, scales, strict=True
        )
    ]


def _kernels(points: list[Array], others: list[Array]) -> list[Callable[[], Array]]:
    """Return each kernel between points, unevaluated: the linear one, then the smooth ones."""
    kernels: list[Callable[[], Array]] = [partial(np.matmul, points[0], others[0].T)]
    for one, other in zip(points[1:], others[1:], strict=True):
        distances = cache(partial(_squared_distances, one, other))
        kernels += [partial(_squared_exponential, distances, length) for length in _LENGTH_SCALES]
    return kernels


def _squared_exponential(squared_distances: Callable[[], Array], length: float) -> Array:
    exponents = squared_distances() * (-0.5 / (length * length))
    return np.asarray(np.exp(exponents, out=exponents))


def _squared_distances(points: Array, others: Array) -> Array:
    distances = points @ others.T
    distances *= -2
    distances += np.einsum("ij,ij->i", points, points)[:, None]
    distances += np.einsum("ij,ij->i", others, others)
    return np.asarray(np.maximum(distances, 0.0, out=distances))


def _spread_out(points: list[Array], most: int) -> NDArray[np.intp]:
    """Return at most so many rows, evenly spaced, in the order of their features."""
    n = len(points[0])
    # whatever order they came in
    order = np.lexsort(np.concatenate(points[1:], axis=1).round(_DECIMALS).T[::-1])
    return np.asarray(order[np.linspace(0, n - 1, min(n, most)).round().astype(np.intp)])


def _variances(kernels: Sequence[Callable[[], Array]], residuals: Array) -> Array:
    """Return the variance of each kernel, and of noise, that are most probable."""
    covariances = [kernel() for kernel in kernels]
    m = len(covariances)
    variance = max(float(residuals.var()), 1e-8)
    return most_probable_variances(
        covariances,
        residuals,
        np.full(len(residuals), _LEAST_VARIANCE),
        typical_deviation=_TYPICAL_DEVIATION,
        start=np.log([*[0.3 * variance / m] * m, 0.7 * variance]),
        bounds=[(-20.0, 2.0)] * m + [(-16.0, 2.0)],
    )


def _arrays(state: Mapping[str, Any], key: str, shapes: Sequence[tuple[int, ...]]) -> list[Array]:
    return [_array(part, key, shape) for part, shape in zip(state[key], shapes, strict=True)]


def _array(values: Any, key: str, shape: tuple[int, ...]) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"{key}: wanted finite numbers of shape {shape}, got {array.shape}")
    return array
