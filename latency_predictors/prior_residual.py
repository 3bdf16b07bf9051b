"""Additive costs of operators with a learned residual: good from a few measurements on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from latency_predictors._types import Graph, Prediction, Predictions
from latency_predictors.conformal import ErrorScale
from latency_predictors.cost_prior import Columns, CostPrior
from latency_predictors.features import PER_KIND, GraphFeatures
from latency_predictors.observed import Observed, observed_graphs
from latency_predictors.operating_point import over_clocks
from latency_predictors.residual import Inputs, Residual

Array = NDArray[np.float64]

_FOLDS = 10
# outside the calibrated range by more than this (in log units): an extrapolation
_DOMAIN_SLACK = 0.1

PRIOR_FEATURES: dict[str, tuple[str, ...]] = {
    "latency_s": ("calls", "macs", "bytes"),
    "energy_j": ("calls", "macs", "bytes"),
    "power_w": (),
    "flash_bytes": ("calls", "params"),
    "peak_ram_bytes": ("peak",),
}
"""Which sums the cost prior of each metric is linear in; always with a constant."""


class PriorResidualPredictor:
    """Non-negative costs of operators times a Gaussian-process correction.

    A `CostPrior` learns what each kind of operator costs, for every view of the graph, and
    how far to believe each view. A `Residual` learns ``log(value / prior)`` and is trusted
    as far as it would have helped on what it had not seen. The interval is conformal: the
    quantile of the normalized errors of predictions that had not seen an architecture.

    Args:
        metric: A key of `PRIOR_FEATURES`.

    Attributes:
        cv_errors_: Shape ``(n,)``: logarithms of measured over predicted cost, of predictions
            that had not seen the architecture.
        cv_stds_: Shape ``(n,)``: the standard deviations claimed for them.
    """

    def __init__(self, metric: str) -> None:
        if metric not in PRIOR_FEATURES:
            raise ValueError(f"metric must be one of {sorted(PRIOR_FEATURES)}. Got {metric!r}.")
        self.metric = metric
        self.clocked = False

    def fit(
        self,
        graphs: Sequence[Graph],
        values: Array,
        groups: Sequence[str],
        relative_clocks: Sequence[float] | None = None,
    ) -> Self:
        """Learn from n measured graphs; see `CostPredictor.fit`.

        Args:
            graphs: n measured graphs.
            values: Shape ``(n,)``, positive.
            groups: Length n.
            relative_clocks: Length n: clock each was measured at, relative to the device's
                highest. Without them all were measured at one, and it is no feature.

        Raises:
            ValueError: For fewer than 4 groups, a value that is not positive and finite, or
                clocks that are all the same.
        """
        return self.fit_observed(observed_graphs(graphs, relative_clocks), values, groups)

    def predict(
        self, graphs: Sequence[Graph], relative_clocks: Sequence[float] | None = None
    ) -> list[Prediction]:
        """Predict the cost of each graph; see `CostPredictor.predict`.

        Args:
            graphs: n graphs.
            relative_clocks: Length n, where the predictor was fitted to several clocks.

        Raises:
            UnknownWorkloadError: If a graph holds an operator not calibrated.
            ValueError: If clocks are missing, or the predictor knows none.
        """
        if not graphs:
            return []
        return self.predict_observed(observed_graphs(graphs, relative_clocks)).to_list()

    def fit_observed(self, observed: Observed, values: Array, groups: Sequence[str]) -> Self:
        """Learn from n measured architectures; see `fit`.

        Args:
            observed: What is known of them.
            values: Shape ``(n,)``, positive.
            groups: Length n.
        """
        clocks = observed.relative_clocks
        if clocks is not None and len(set(clocks.tolist())) < 2:
            raise ValueError(f"needs measurements of at least 2 clocks. Got {clocks[:1]}.")
        values = np.asarray(values, dtype=np.float64)
        if not np.all((values > 0) & (values < np.inf)):
            raise ValueError(f"{self.metric} of a measured graph must be positive and finite")
        numbers = np.unique(np.asarray(groups), return_inverse=True)[1]
        n_groups = int(numbers.max()) + 1 if len(numbers) else 0
        if n_groups < 4:
            raise ValueError(f"needs measurements of at least 4 architectures. Got {n_groups}.")
        self.clocked = clocks is not None
        with _blas().limit(limits=1, user_api="blas"):
            return self._fit(observed, values, numbers)

    def _fit(self, observed: Observed, values: Array, groups: NDArray[np.intp]) -> Self:
        clocks = observed.relative_clocks
        self._kinds = {name: view.kinds for name, view in observed.views.items()}
        self._n_encodings = None if observed.encodings is None else observed.encodings.shape[1]
        columns = {name: self._columns(view, clocks) for name, view in observed.views.items()}
        n_folds = min(_FOLDS, int(groups.max()) + 1)
        folds = [np.flatnonzero(groups % _FOLDS == k) for k in range(n_folds)]
        self._prior, log_held_out = CostPrior.fit(columns, observed.plausibility, values, folds)
        log_prior = self._prior.log_cost(columns)
        inputs = self._inputs(observed, log_prior)
        self._residual, means, stds = Residual.fit(inputs, np.log(values) - log_prior, groups)
        self.cv_errors_, self.cv_stds_ = np.log(values) - log_held_out - means, stds
        self._scale = ErrorScale.fit(self.cv_errors_, stds)
        shape = self._domain_features(observed)
        self._lowest, self._highest = shape.min(axis=0), shape.max(axis=0)
        return self

    def predict_observed(self, observed: Observed) -> Predictions:
        """Predict the costs of n architectures at once; see `predict`."""
        return self.predictions(*self.predict_log(observed))

    def predictions(
        self, log_mean: Array, claimed: Array, in_domain: NDArray[np.bool_]
    ) -> Predictions:
        """Return the predictions that `predict_log` stands for."""
        return self._scale.predictions(log_mean, claimed, in_domain)

    def predict_log(self, observed: Observed) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Return log costs, the deviations claimed for them, and whether they are in domain.

        The deviations are the residual's own, not yet scaled to the errors held out.
        """
        if self.clocked != (observed.relative_clocks is not None):
            raise ValueError(
                f"{self.metric}: fitted to {'several clocks' if self.clocked else 'one clock'}, "
                f"{'none' if self.clocked else 'some'} given in relative_clocks"
            )
        known, strange = self._aligned(observed)
        clocks = observed.relative_clocks
        columns = {name: self._columns(view, clocks) for name, view in known.views.items()}
        log_prior = self._prior.log_cost(columns)
        with _blas().limit(limits=1, user_api="blas"):
            mean, std = self._residual.predict(self._inputs(known, log_prior))
        shape = self._domain_features(known)
        inside = (shape >= self._lowest - _DOMAIN_SLACK) & (shape <= self._highest + _DOMAIN_SLACK)
        return log_prior + mean, std, inside.all(axis=1) & ~strange

    @property
    def view_weights(self) -> dict[str, float]:
        """How far each view of the graphs is believed to be what the device executes."""
        return self._prior.view_weights

    def to_dict(self) -> dict[str, Any]:
        """Return the fitted state, JSON-ready, for `from_dict`."""
        return {
            "metric": self.metric,
            "kinds": {name: [list(kind) for kind in kinds] for name, kinds in self._kinds.items()},
            "prior": self._prior.to_dict(),
            "residual": self._residual.to_dict(),
            "errors": self._scale.to_dict(),
            "lowest": self._lowest.tolist(),
            "highest": self._highest.tolist(),
            "n_encodings": self._n_encodings,
            **({"clocked": True} if self.clocked else {}),
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """Rebuild a predictor that predicts exactly as the one `to_dict` was taken from.

        Raises:
            KeyError, TypeError, ValueError: If an entry is missing or not what it should be.
        """
        self = cls(state["metric"])
        self.clocked = state.get("clocked") is True
        self._kinds = {
            str(name): tuple((str(op), (int(h), int(w)), str(dtype)) for op, (h, w), dtype in kinds)
            for name, kinds in state["kinds"].items()
        }
        self._scale = ErrorScale.from_dict(state["errors"])
        width = state["n_encodings"]
        self._n_encodings = None if width is None else int(width)
        nothing = self._nothing()
        columns = {
            name: self._columns(view, nothing.relative_clocks)
            for name, view in nothing.views.items()
        }
        self._prior = CostPrior.from_dict(state["prior"], columns)
        inputs = self._inputs(nothing, np.zeros(0))
        widths = (inputs.linear.shape[1], *(part.shape[1] for part in inputs.smooth))
        self._residual = Residual.from_dict(state["residual"], widths)
        wanted = self._domain_features(nothing).shape[1:]
        self._lowest, self._highest = (
            np.asarray(state[key], dtype=np.float64) for key in ("lowest", "highest")
        )
        if self._lowest.shape != wanted or self._highest.shape != wanted:
            raise ValueError(f"lowest, highest: wanted {wanted[0]} numbers each")
        return self

    def _columns(self, features: GraphFeatures, clocks: Array | None) -> Columns:
        names = PRIOR_FEATURES[self.metric]
        sums = features.sums[..., [PER_KIND.index(name) for name in names if name in PER_KIND]]
        n = len(features)
        shared = sums.sum(axis=1)
        if "peak" in names:
            shared = np.column_stack([shared, features.peak_bytes])
        constant, own = np.ones((n, 1)), sums.reshape(n, sums.shape[1] * sums.shape[2])
        if clocks is None:
            return Columns(constant, shared, own)
        return Columns(
            *(over_clocks(part, clocks, self.metric) for part in (constant, shared, own))
        )

    def _inputs(self, observed: Observed, log_prior: Array) -> Inputs:
        """Return what the residual may depend on: shares of the cost, and all features."""
        typical = np.exp(-log_prior)[:, None]
        sums = [
            view.sums.reshape(len(view), len(view.kinds) * len(PER_KIND))
            for view in observed.views.values()
        ]
        smooth = [self._domain_features(observed)]
        if observed.encodings is not None:
            smooth.append(observed.encodings)
        return Inputs(np.concatenate(sums, axis=1) * typical, tuple(smooth))

    def _domain_features(self, observed: Observed) -> Array:
        parts = [view.shape_features() for view in observed.views.values()]
        if observed.relative_clocks is not None:
            parts.append(np.log(observed.relative_clocks)[:, None])
        return np.concatenate(parts, axis=1)

    def _aligned(self, observed: Observed) -> tuple[Observed, NDArray[np.bool_]]:
        strange = np.zeros(len(observed), dtype=np.bool_)
        views = {}
        for name, kinds in self._kinds.items():
            views[name], unknown = observed.views[name].aligned(kinds)
            strange |= unknown
        return Observed(views, {}, observed.encodings, observed.relative_clocks), strange

    def _nothing(self) -> Observed:
        """Return what is known of no architecture, in the form of those fitted."""
        views = {
            name: GraphFeatures(kinds, np.zeros((0, len(kinds), len(PER_KIND))), np.zeros(0))
            for name, kinds in self._kinds.items()
        }
        encodings = None if self._n_encodings is None else np.zeros((0, self._n_encodings))
        return Observed(views, {}, encodings, np.zeros(0) if self.clocked else None)


@cache
def _blas() -> ThreadpoolController:
    """Return what limits threads: matrices are small, so that these cost more than they give."""
    return ThreadpoolController()
