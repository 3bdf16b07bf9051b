"""One device's costs from what other devices would take: ridge regressions, averaged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from latency_predictors.cost_prior import averaging_weights, student_t_score

Array = NDArray[np.float64]

# noise over signal variance of a weight; the last one leaves the weights where they are drawn to
_RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0, np.inf)
_FOLDS = 10
_LEAST_GROUPS = 3


class SourceMixture:
    """Linear in the log costs on k source devices: an average of many such predictions.

    A member predicts ``log_sources @ b + c`` with a free offset ``c``: the device may be any
    times as fast. Each is a ridge regression whose ``b`` is drawn to all sources alike, or to
    one of them, which are few enough beliefs to choose among by a handful of measurements.
    They are averaged with the weights of pseudo-Bayesian model averaging: the likelihood of
    what was left out. Without measurements of 3 architectures, sources count alike.

    Args:
        coefficients: Shape ``(m, k)``: ``b`` of each member.
        offsets: Shape ``(m,)``: ``c``.
        weights: Shape ``(m,)``, adding up to 1.

    References:
        Hoerl & Kennard (1970), Ridge regression. doi:10.1080/00401706.1970.10488634. Yao et
        al. (2018), Using stacking to average Bayesian predictive distributions, Sec. 3.4.
        doi:10.1214/17-BA1091
    """

    def __init__(self, coefficients: Array, offsets: Array, weights: Array) -> None:
        self._coefficients, self._offsets, self._weights = coefficients, offsets, weights

    @classmethod
    def alike(cls, log_sources: Array, log_values: Array) -> Self:
        """Return sources that count alike, each with the offset that fits best.

        Args:
            log_sources: Shape ``(n, k)``; n may be 0: then the offsets are 0.
            log_values: Shape ``(n,)``.
        """
        k = log_sources.shape[1]
        offsets = (log_values[:, None] - log_sources).sum(axis=0) / max(len(log_values), 1)
        return cls(np.eye(k), offsets, np.full(k, 1 / k))

    @classmethod
    def fit(
        cls, log_sources: Array, log_values: Array, groups: NDArray[np.intp]
    ) -> tuple[Self, Array, Array]:
        """Fit to n measurements.

        Args:
            log_sources: Shape ``(n, k)``: log costs on the source devices.
            log_values: Shape ``(n,)``: measured.
            groups: Shape ``(n,)``: number of the group that is left out together, from 0.

        Returns:
            The mixture, and for each measurement the error (measured minus predicted) and the
            spread of a mixture that had not seen its group.

        Raises:
            ValueError: For fewer than 3 groups.
        """
        if len(np.unique(groups)) < _LEAST_GROUPS:
            raise ValueError(f"needs {_LEAST_GROUPS} groups to weigh sources. Got {groups}.")
        without = np.empty((2, len(log_values)))
        for fold in range(min(_FOLDS, int(groups.max()) + 1)):
            out = groups % _FOLDS == fold
            kept = cls._averaged(log_sources[~out], log_values[~out], groups[~out])
            without[:, out] = kept.predict(log_sources[out])
        without[0] = log_values - without[0]
        return cls._averaged(log_sources, log_values, groups), without[0], without[1]

    @classmethod
    def _averaged(cls, log_sources: Array, log_values: Array, groups: NDArray[np.intp]) -> Self:
        """Return the members that are believed after seeing these measurements."""
        k = log_sources.shape[1]
        alike, single = np.full((1, k), 1 / k), np.eye(k) if k > 1 else np.empty((0, k))
        centers = np.concatenate([alike, single])
        belief = np.concatenate([[0.0], np.full(len(single), -np.log(k))])
        members = [
            ridge_regressions(log_sources, log_values, groups, centers, ridge) for ridge in _RIDGES
        ]
        coefficients, offsets, errors = (
            np.concatenate([member[part] for member in members]) for part in range(3)
        )
        scores = np.array([student_t_score(row) for row in errors])
        weights = averaging_weights(scores + np.tile(belief, len(_RIDGES)))
        kept = weights > 0
        return cls(coefficients[kept], offsets[kept], weights[kept])

    def predict(self, log_sources: Array) -> tuple[Array, Array]:
        """Return log costs and the spread among members, each of shape ``(n,)``.

        Args:
            log_sources: Shape ``(n, k)``.
        """
        members = log_sources @ self._coefficients.T + self._offsets
        mean = members @ self._weights
        return mean, np.sqrt((members - mean[:, None]) ** 2 @ self._weights)

    @property
    def coefficients(self) -> Array:
        """How far each source is followed, shape ``(k,)``."""
        return np.asarray(self._weights @ self._coefficients)

    def to_dict(self) -> dict[str, Any]:
        """Return the arguments of the class, JSON-ready."""
        return {
            "coefficients": self._coefficients.tolist(),
            "offsets": self._offsets.tolist(),
            "weights": self._weights.tolist(),
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any], n_sources: int) -> Self:
        """Rebuild what `to_dict` returned.

        Raises:
            KeyError, TypeError, ValueError: If an entry is missing or not what it should be.
        """
        m = len(state["weights"])
        shapes = {"coefficients": (m, n_sources), "offsets": (m,), "weights": (m,)}
        arrays = {key: np.asarray(state[key], dtype=np.float64) for key in shapes}
        for key, shape in shapes.items():
            if m == 0 or arrays[key].shape != shape or not np.isfinite(arrays[key]).all():
                raise ValueError(
                    f"{key}: wanted finite numbers of shape {shape}, got {arrays[key].shape}"
                )
        return cls(**arrays)


def ridge_regressions(
    log_sources: Array,
    log_values: Array,
    groups: NDArray[np.intp],
    centers: Array,
    ridge: float,
) -> tuple[Array, Array, Array]:
    """Minimize ``|log_values - log_sources @ b - c|^2 + ridge |b - center|^2`` per center.

    Args:
        log_sources: Shape ``(n, k)``.
        log_values: Shape ``(n,)``.
        groups: Shape ``(n,)``: what is left out together.
        centers: Shape ``(m, k)``.
        ridge: Positive; infinite for ``b = center``.

    Returns:
        ``b``, shape ``(m, k)``; ``c``, shape ``(m,)``; and the errors where a group was left
        out, shape ``(m, n)``: in closed form, as the regression is linear in the values.
    """
    n, k = log_sources.shape
    middle = log_sources.mean(axis=0)
    x = log_sources - middle
    left = log_values[:, None] - log_sources @ centers.T
    offsets = left.mean(axis=0)
    left = left - offsets
    inverse = np.linalg.inv(x.T @ x + ridge * np.eye(k)) if ridge < np.inf else np.zeros((k, k))
    change = inverse @ x.T @ left
    errors = left - x @ change
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        hat = x[rows] @ inverse @ x[rows].T + 1 / n
        errors[rows] = np.linalg.solve(np.eye(len(rows)) - hat, errors[rows])
    return centers + change.T, offsets - middle @ change, errors.T
