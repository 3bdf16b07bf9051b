"""Energy of an inference: latency times learned power, averaged with a direct model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from latency_predictors._types import Graph, Prediction, Predictions
from latency_predictors.conformal import ErrorScale
from latency_predictors.observed import Observed, observed_graphs
from latency_predictors.prior_residual import PriorResidualPredictor
from latency_predictors.transfer import CostModel

Array = NDArray[np.float64]

# so many measurements count as much as the belief that both models are equally good
_EQUAL_UNTIL = 20


class EnergyPredictor:
    """Predicts energies from measured energies and latencies of the same architectures.

    Power varies far less between architectures than latency does, so that a few measurements
    tell it; the product is averaged geometrically with a model of the energy itself. The
    weight is what would have been best for architectures neither model had seen.

    Args:
        latency: Fitted to the latencies of the same architectures, in the same order.
    """

    metric = "energy_j"

    def __init__(self, latency: CostModel) -> None:
        self._latency = latency
        self._power, self._direct = (PriorResidualPredictor(m) for m in ("power_w", "energy_j"))

    @property
    def clocked(self) -> bool:
        """Whether it was fitted to several clocks, so that predicting needs one."""
        return self._latency.clocked

    @property
    def product_weight(self) -> float:
        """Weight of latency times power, 0 to 1, beside the direct model."""
        return self._weight

    def fit_observed(
        self, observed: Observed, energies_j: Array, latencies_s: Array, groups: Sequence[str]
    ) -> Self:
        """Learn from n measured architectures.

        Args:
            observed: What is known of them.
            energies_j: Shape ``(n,)``, positive.
            latencies_s: Shape ``(n,)``, positive: those that the latency predictor learned.
            groups: Length n; stages of one architecture share a group.

        Raises:
            ValueError: As `PriorResidualPredictor.fit`.
        """
        self._power.fit_observed(observed, energies_j / latencies_s, groups)
        self._direct.fit_observed(observed, energies_j, groups)
        product = self._latency.cv_errors_ + self._power.cv_errors_
        direct = self._direct.cv_errors_
        self._weight = _best_weight(product, direct)
        errors = self._weight * product + (1 - self._weight) * direct
        stds = self._std(self._latency.cv_stds_, self._power.cv_stds_, self._direct.cv_stds_)
        self._scale = ErrorScale.fit(errors, stds)
        return self

    def fit(
        self,
        graphs: Sequence[Graph],
        energies_j: Array,
        latencies_s: Array,
        groups: Sequence[str],
        relative_clocks: Sequence[float] | None = None,
    ) -> Self:
        """Learn from n measured graphs; see `fit_observed`."""
        observed = observed_graphs(graphs, relative_clocks)
        return self.fit_observed(observed, energies_j, latencies_s, groups)

    def predict(
        self, graphs: Sequence[Graph], relative_clocks: Sequence[float] | None = None
    ) -> list[Prediction]:
        """Predict the energy of each graph, joules; see `PriorResidualPredictor.predict`."""
        if not graphs:
            return []
        return self.predict_observed(observed_graphs(graphs, relative_clocks)).to_list()

    def predict_observed(self, observed: Observed) -> Predictions:
        """Predict the energies of n architectures at once, joules."""
        return self._predicted(observed, *self._latency.predict_log(observed))

    def predict_with_latency(self, observed: Observed) -> tuple[Predictions, Predictions]:
        """Predict latencies, in seconds, and energies: sooner than one after the other."""
        latency = self._latency.predict_log(observed)
        return self._latency.predictions(*latency), self._predicted(observed, *latency)

    def _predicted(
        self, observed: Observed, latency: Array, latency_std: Array, inside: NDArray[np.bool_]
    ) -> Predictions:
        power, power_std, _ = self._power.predict_log(observed)
        direct, direct_std, _ = self._direct.predict_log(observed)
        log_mean = self._weight * (latency + power) + (1 - self._weight) * direct
        return self._scale.predictions(
            log_mean, self._std(latency_std, power_std, direct_std), inside
        )

    def _std(self, latency: Array, power: Array, direct: Array) -> Array:
        # errors of the two models are those of one measurement: taken as fully correlated
        return self._weight * np.hypot(latency, power) + (1 - self._weight) * direct

    def to_dict(self) -> dict[str, Any]:
        """Return the fitted state without the latency predictor, JSON-ready."""
        return {
            "metric": self.metric,
            "power": self._power.to_dict(),
            "direct": self._direct.to_dict(),
            "product_weight": self._weight,
            "errors": self._scale.to_dict(),
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any], latency: CostModel) -> Self:
        """Rebuild a predictor that predicts exactly as the one `to_dict` was taken from.

        Raises:
            KeyError, TypeError, ValueError: If an entry is missing or not what it should be.
        """
        self = cls(latency)
        self._power = PriorResidualPredictor.from_dict(state["power"])
        self._direct = PriorResidualPredictor.from_dict(state["direct"])
        self._weight = float(state["product_weight"])
        self._scale = ErrorScale.from_dict(state["errors"])
        return self


def _best_weight(product: Array, direct: Array) -> float:
    """Return the weight of the product with the least square error of the average."""
    gap = direct - product
    # as if so many more measurements had been best at one half
    prior = _EQUAL_UNTIL * float(np.mean(gap**2))
    norm = float(gap @ gap) + prior
    return float(np.clip((direct @ gap + 0.5 * prior) / norm, 0, 1)) if norm > 0 else 0.5
