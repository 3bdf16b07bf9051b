"""What a graph costs, operator by operator: non-negative, robust, averaged over views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.optimize import nnls

Array = NDArray[np.float64]

# how strongly the cost of a kind of operator is drawn to that of all kinds
_RIDGES = (0.01, 0.1, 1.0, 10.0)
_CONSTANT_RIDGE = 1e-3
_LARGEST_SHARED_RIDGE = 1e-2
# no graph costs less than this share of the cheapest one measured: 0 is no cost
_LEAST_SHARE = 0.01
_DEGREES_OF_FREEDOM = 4.0
_REWEIGHTINGS = 4
# relative errors below this are rounding: a law without noise is no reason to divide by zero
_LEAST_SCALE = 1e-4
_LEAST_WEIGHT = 1e-3
# columns are scaled to 1: a coefficient below it is rounding
_LEAST_SHARE_USED = 1e-9


@dataclass(frozen=True)
class Columns:
    """What the cost of n graphs is taken to be linear in, for one view of them.

    Args:
        constant: Shape ``(n, c)``: terms every graph has.
        shared: Shape ``(n, s)``: sums over all operators.
        own: Shape ``(n, p)``: sums over the operators of one kind.
    """

    constant: Array
    shared: Array
    own: Array

    def matrix(self) -> Array:
        """Return all columns, constants first."""
        return np.concatenate([self.constant, self.shared, self.own], axis=1)

    def penalties(self, ridge: float) -> Array:
        """Return the penalty of each column: constants are all but free."""
        return np.concatenate(
            [
                np.full(self.constant.shape[1], _CONSTANT_RIDGE),
                np.full(self.shared.shape[1], min(ridge, _LARGEST_SHARED_RIDGE)),
                np.full(self.own.shape[1], ridge),
            ]
        )


class CostPrior:
    """Non-negative linear costs of operators, averaged over views and ridges.

    For every view of the graph (as written down, without its dead ends, ...) and every ridge
    the cost is ``columns @ b`` with ``b >= 0``, by relative least squares with Student-t
    weights. The candidates' predictions are averaged geometrically with the weights of
    pseudo-Bayesian model averaging: the cross-validated likelihood of each.

    References:
        Lange, Little & Taylor (1989), Robust statistical modeling using the t distribution,
        Sec. 3 (weights). doi:10.1080/01621459.1989.10478852. Yao et al. (2018), Using stacking
        to average Bayesian predictive distributions, Sec. 3.4 (pseudo-BMA).
        doi:10.1214/17-BA1091
    """

    def __init__(self, members: Sequence[tuple[str, float, Array]]) -> None:
        self._members = list(members)

    @classmethod
    def fit(
        cls,
        views: Mapping[str, Columns],
        plausibility: Mapping[str, float],
        values: Array,
        folds: Sequence[NDArray[np.intp]],
    ) -> tuple[Self, Array]:
        """Fit to the costs of n graphs.

        Args:
            views: Columns of each view.
            plausibility: Weight of each view before anything was measured; 1 if not given.
            values: Shape ``(n,)``, positive.
            folds: Rows held out together, each row once.

        Returns:
            The prior, and the logarithm of its out-of-fold predictions, shape ``(n,)``.
        """
        names, held_out, coefficients, beliefs = [], [], [], []
        for name, columns in views.items():
            matrix = columns.matrix()
            for ridge in _RIDGES if columns.own.shape[1] else _RIDGES[:1]:
                penalties = columns.penalties(ridge)
                names.append(name)
                held_out.append(np.log(_out_of_fold(matrix, values, penalties, folds)))
                coefficients.append(relative_nnls(matrix, values, penalties))
                beliefs.append(np.log(plausibility.get(name, 1.0)))
        log_held_out, log_beliefs = np.array(held_out), np.array(beliefs)
        errors = np.log(values) - log_held_out
        members = [
            (name, float(weight), b)
            for name, weight, b in zip(
                names, _weights(errors, log_beliefs), coefficients, strict=True
            )
            if weight > 0
        ]
        averaged = np.empty(len(values))
        for fold in folds:
            # what is held out has no say in the weights either
            weights = _weights(np.delete(errors, fold, axis=1), log_beliefs)
            averaged[fold] = weights @ log_held_out[:, fold]
        return cls(members), averaged

    def log_cost(self, views: Mapping[str, Columns]) -> Array:
        """Return the logarithm of the cost of n graphs, shape ``(n,)``.

        Args:
            views: Columns, as in `fit`.
        """
        matrices = {name: views[name].matrix() for name, _, _ in self._members}
        parts = [weight * np.log(matrices[name] @ b) for name, weight, b in self._members]
        return np.asarray(np.sum(parts, axis=0))

    @property
    def view_weights(self) -> dict[str, float]:
        """How far each view is believed, the most believed first."""
        weights: dict[str, float] = {}
        for name, weight, _ in self._members:
            weights[name] = weights.get(name, 0.0) + weight
        return dict(sorted(weights.items(), key=lambda item: -item[1]))

    def to_dict(self) -> list[dict[str, Any]]:
        """Return the members, JSON-ready."""
        return [
            {"view": name, "weight": weight, "coefficients": b.tolist()}
            for name, weight, b in self._members
        ]

    @classmethod
    def from_dict(cls, state: Sequence[Mapping[str, Any]], views: Mapping[str, Columns]) -> Self:
        """Rebuild what `to_dict` returned.

        Args:
            state: From `to_dict`.
            views: Columns of any graphs, which tell how many coefficients there must be.

        Raises:
            KeyError, TypeError, ValueError: If an entry is missing or not what it should be.
        """
        members = []
        for entry in state:
            b = np.asarray(entry["coefficients"], dtype=np.float64)
            wanted = (views[entry["view"]].matrix().shape[1],)
            if b.shape != wanted or not np.isfinite(b).all():
                raise ValueError(f"prior: wanted finite numbers of shape {wanted}, got {b.shape}")
            members.append((str(entry["view"]), float(entry["weight"]), b))
        if not members:
            raise ValueError("prior: wanted at least one member, got none")
        return cls(members)


def relative_nnls(matrix: Array, values: Array, penalties: Array) -> Array:
    """Minimize ``sum w ((matrix @ b - values) / values)^2 + penalty`` subject to ``b >= 0``.

    Weights ``w`` are those of Student's t with 4 degrees of freedom, found by reweighting;
    penalties are on columns scaled to a mean square of 1. The coefficient of the first
    column, a constant, is at least ``_LEAST_SHARE`` of the smallest value.

    Args:
        matrix: Shape ``(n, c)``, non-negative; the first column is positive.
        values: Shape ``(n,)``, positive.
        penalties: Shape ``(c,)``, positive.
    """
    least = _LEAST_SHARE * values.min() / matrix[:, 0].max()
    rows = matrix / values[:, None]
    scale = np.sqrt(np.mean(rows**2, axis=0))
    rows = rows / np.maximum(scale, 1e-300)
    wanted = 1 - least * scale[0] * rows[:, 0]
    weights = np.ones(len(values))
    for _ in range(_REWEIGHTINGS):
        weighted = rows * weights[:, None]
        # of the normal equations, whose size does not grow with n; the penalties keep them regular
        lower = np.linalg.cholesky(weighted.T @ rows + np.diag(penalties))
        target = solve_triangular(lower, weighted.T @ wanted, lower=True)
        solution, _ = nnls(lower.T, target, maxiter=100 * len(penalties))
        errors = wanted - rows @ solution
        used = min(int((solution > _LEAST_SHARE_USED).sum()), len(values) - 1)
        # the median absolute deviation, and what fitting took from it
        spread = 1.4826 * np.median(np.abs(errors)) * np.sqrt(len(values) / (len(values) - used))
        z2 = (errors / max(spread, _LEAST_SCALE)) ** 2
        weights = (_DEGREES_OF_FREEDOM + 1) / (_DEGREES_OF_FREEDOM + z2)
    solution = solution / np.maximum(scale, 1e-300)
    solution[0] += least
    return np.asarray(solution)


def student_t_score(errors: Array) -> float:
    """Return the log likelihood of errors under Student's t of their own scale.

    Up to a constant that depends on their number alone: 4 degrees of freedom, the scale by
    maximum likelihood.

    Args:
        errors: Shape ``(n,)``.
    """
    nu = _DEGREES_OF_FREEDOM
    scale = max(float(np.median(np.abs(errors))), _LEAST_SCALE)
    for _ in range(20):
        weights = (nu + 1) / (nu + (errors / scale) ** 2)
        scale = max(float(np.sqrt(np.mean(weights * errors**2))), _LEAST_SCALE)
    spread = np.log1p((errors / scale) ** 2 / nu).sum()
    return float(-len(errors) * np.log(scale) - (nu + 1) / 2 * spread)


def _weights(errors: Array, log_beliefs: Array) -> Array:
    return averaging_weights(np.array([student_t_score(row) for row in errors]) + log_beliefs)


def averaging_weights(scores: Array) -> Array:
    """Return weights in proportion to ``exp(scores)`` that add up to 1; the least are 0."""
    weights = np.exp(scores - scores.max())
    weights /= weights.sum()
    weights[weights < _LEAST_WEIGHT] = 0
    return np.asarray(weights / weights.sum())


def _out_of_fold(
    matrix: Array, values: Array, penalties: Array, folds: Sequence[NDArray[np.intp]]
) -> Array:
    predicted = np.empty(len(values))
    for fold in folds:
        kept = np.ones(len(values), dtype=np.bool_)
        kept[fold] = False
        predicted[fold] = matrix[fold] @ relative_nnls(matrix[kept], values[kept], penalties)
    return predicted
