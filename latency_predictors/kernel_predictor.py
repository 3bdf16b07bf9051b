"""Latency of networks from the sum of their kernels, and few measured end to end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from latency_predictors._types import Predictions
from latency_predictors.conformal import ErrorScale
from latency_predictors.cost_prior import relative_nnls
from latency_predictors.kernel_costs import KernelCosts
from latency_predictors.kernel_segments import segments
from search_spaces import Stage

Array: TypeAlias = NDArray[np.float64]

# rounding beside columns of scale 1: three coefficients are always known from eight networks
_PENALTY = 1e-6
LEAST_NETWORKS = 5


class KernelSumPredictor:
    """``latency = a + b calls + c kernel_seconds``, each coefficient non-negative.

    ``a`` and ``b`` are what a runtime spends per inference and per call; ``c`` is near 1
    where a kernel in a network takes as long as alone. Kernels that were not measured widen
    the interval by the deviation that their costs are predicted with.

    Args:
        costs: Of kernels, on the same target.
    """

    def __init__(self, costs: KernelCosts) -> None:
        self._costs = costs

    def fit(self, stages: Sequence[Stage], latency_s: Array, groups: Sequence[str]) -> Self:
        """Learn from n networks measured end to end.

        Args:
            stages: What was measured.
            latency_s: Shape ``(n,)``, positive.
            groups: Length n; networks of one architecture share a group and are held out
                together.

        Raises:
            ValueError: For fewer than 5 groups, or a latency that is not positive and finite.
            UnknownWorkloadError: If an operator was never timed.
        """
        latency_s = np.asarray(latency_s, dtype=np.float64)
        names = sorted(set(groups))
        if len(names) < LEAST_NETWORKS:
            raise ValueError(f"groups: wanted at least {LEAST_NETWORKS}, got {len(names)}")
        if not (np.isfinite(latency_s).all() and (latency_s > 0).all()):
            raise ValueError("latency_s: wanted positive, finite numbers")
        matrix, stds = self._columns(stages)
        self._coefficients = _fit(matrix, latency_s)
        errors, claimed = np.zeros(len(stages)), np.zeros(len(stages))
        rows = np.array([names.index(group) for group in groups])
        for fold in range(len(names)):
            held_out = rows == fold
            without = _fit(matrix[~held_out], latency_s[~held_out])
            predicted = matrix[held_out] @ without
            errors[held_out] = np.log(latency_s[held_out] / predicted)
            claimed[held_out] = without[-1] * stds[held_out] / predicted
        self._scale = ErrorScale.fit(errors, claimed)
        return self

    def predict(self, stages: Sequence[Stage]) -> Predictions:
        """Predict the latency of n networks, seconds.

        A network is in domain if all its kernels were measured.

        Raises:
            UnknownWorkloadError: If an operator was never timed.
        """
        matrix, stds = self._columns(stages)
        mean = matrix @ self._coefficients
        claimed = self._coefficients[-1] * stds / mean
        known = [self._costs.n_measured_of(stage) == len(segments(stage)) for stage in stages]
        return self._scale.predictions(np.log(mean), claimed, np.array(known, dtype=np.bool_))

    @property
    def coefficients(self) -> tuple[float, float, float]:
        """Seconds per inference, seconds per call, and the factor of the kernels' sum."""
        a, b, c = (float(x) for x in self._coefficients)
        return a, b, c

    def to_dict(self) -> dict[str, Any]:
        """Return the fitted state, JSON-ready, for `from_dict`."""
        return {
            "kernels": self._costs.to_dict(),
            "coefficients": self._coefficients.tolist(),
            "errors": self._scale.to_dict(),
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """Rebuild a predictor that predicts exactly as the one `to_dict` was taken from.

        Raises:
            KeyError, TypeError, ValueError: If an entry is missing or not what it should be.
        """
        self = cls(KernelCosts.from_dict(state["kernels"]))
        self._coefficients = np.asarray(state["coefficients"], dtype=np.float64)
        if self._coefficients.shape != (3,):
            raise ValueError(f"coefficients: wanted 3, got {self._coefficients.shape}")
        self._scale = ErrorScale.from_dict(state["errors"])
        return self

    def _columns(self, stages: Sequence[Stage]) -> tuple[Array, Array]:
        sums, stds = self._costs.network_s(stages)
        calls = [float(len(segments(stage))) for stage in stages]
        return np.column_stack([np.ones(len(stages)), calls, sums]), stds


def _fit(matrix: Array, latency_s: Array) -> Array:
    return relative_nnls(matrix, latency_s, np.full(matrix.shape[1], _PENALTY))
