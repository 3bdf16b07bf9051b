"""Intervals that hold as often as they say: quantiles of errors on what was held out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latency_predictors._types import Predictions

CONFIDENCE = 0.9
"""Share of predictions whose interval holds the measurement."""


class ErrorScale:
    """How far predictions may be off, in logarithms, from errors on what was held out.

    The standard deviation that a model claims is taken together with the typical error, as
    a model of few samples may be sure of itself without reason; both are scaled such that
    they match the errors, and the interval is their conformal quantile.

    Args:
        typical_error: Root mean square of the errors held out.
        std_scale: What standard deviations are multiplied with.
        quantile: Half the interval, in scaled standard deviations.

    References:
        Barber et al. (2021), Predictive inference with the jackknife+, Sec. 1.2 (CV
        residuals). doi:10.1214/20-AOS1965
    """

    def __init__(self, typical_error: float, std_scale: float, quantile: float) -> None:
        self.typical_error, self.std_scale, self.quantile = typical_error, std_scale, quantile

    @classmethod
    def fit(cls, errors: NDArray[np.float64], stds: NDArray[np.float64]) -> ErrorScale:
        """Fit to n errors of log costs held out, and the deviations claimed for them."""
        typical = max(float(np.sqrt(np.mean(errors**2))), 1e-9)
        scores = errors / np.hypot(stds, typical)
        # the root mean square of well-scaled scores is 1
        scale = max(float(np.sqrt(np.mean(scores**2))), 1e-6)
        return cls(typical, scale, _conformal_quantile(np.abs(scores) / scale))

    def predictions(
        self,
        log_mean: NDArray[np.float64],
        claimed: NDArray[np.float64],
        in_domain: NDArray[np.bool_],
    ) -> Predictions:
        """Return n predictions with their intervals.

        Args:
            log_mean: Shape ``(n,)``: logarithms of the costs predicted.
            claimed: Shape ``(n,)``: the model's deviations of these.
            in_domain: Shape ``(n,)``.
        """
        log_std = self.std(claimed)
        mean, half = np.exp(log_mean), self.quantile * log_std
        return Predictions(
            mean, mean * log_std, mean * np.exp(-half), mean * np.exp(half), in_domain
        )

    def std(self, claimed: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the standard deviation of the error of log costs."""
        return np.asarray(np.hypot(claimed, self.typical_error) * self.std_scale)

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> ErrorScale:
        """Rebuild what `to_dict` returned."""
        return cls(*(float(state[k]) for k in ("typical_error", "std_scale", "quantile")))

    def to_dict(self) -> dict[str, float]:
        """Return the arguments of the class."""
        return {
            "typical_error": self.typical_error,
            "std_scale": self.std_scale,
            "quantile": self.quantile,
        }


def _conformal_quantile(scores: NDArray[np.float64]) -> float:
    """Return the ``ceil((n + 1) * CONFIDENCE)``-th smallest score (the largest for tiny n)."""
    rank = int(np.ceil((len(scores) + 1) * CONFIDENCE))
    return float(np.sort(scores)[min(rank, len(scores)) - 1])
