"""Predictors of other targets as the start for a new one: few measurements, or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from latency_predictors._types import Graph, Prediction, Predictions
from latency_predictors.conformal import CONFIDENCE, ErrorScale
from latency_predictors.observed import Observed, observed_graphs
from latency_predictors.prior_residual import PriorResidualPredictor
from latency_predictors.source_mixture import SourceMixture

Array = NDArray[np.float64]

KIND = "transfer"
"""What `TransferPredictor.to_dict` calls its kind."""

_LEAST_TO_WEIGH = 3
_LEAST_FOR_OWN = 4
# so many measurements count as much as the belief that the sources alone predict best
_SOURCES_UNTIL = 10
# up to so many errors held out their conformal quantile is the largest one
_LARGEST_IS_QUANTILE = round(2 / (1 - CONFIDENCE)) - 2


class TransferPredictor:
    """Predicts a target's costs from predictors of the same metric on other targets.

    The logarithm of the cost is an average of ridge regressions on those the sources
    predict, see `SourceMixture`. From 4 architectures on, a predictor learned of the
    target's measurements alone is mixed in, by a weight that grows as it proves better on
    what was left out: where no source resembles the target, what they say fades.

    * 0 measurements: the geometric mean of what the sources predict. Only ranks mean
      something, the interval is that of their spread, and nothing is in the domain.
    * 1 or 2: likewise, each source scaled to fit.

    Args:
        sources: Fitted predictors of one metric on one search space, by name of their target.

    Attributes:
        cv_errors_: Shape ``(n,)``: logarithms of measured over predicted cost, of predictions
            that had not seen the architecture; from 3 architectures on.
        cv_stds_: Shape ``(n,)``: the standard deviations claimed for them.

    Raises:
        ValueError: If there is no source, one has another metric, or was fitted to several
            clocks.
    """

    clocked = False

    def __init__(self, sources: Mapping[str, PriorResidualPredictor]) -> None:
        metrics = sorted({source.metric for source in sources.values()})
        if len(metrics) != 1:
            raise ValueError(f"sources must be of one metric. Got {metrics}.")
        clocked = [name for name, source in sources.items() if source.clocked]
        if clocked:
            raise ValueError(f"sources must be fitted to one clock; {clocked} know several.")
        self.metric = metrics[0]
        self._sources = dict(sources)
        self._own: PriorResidualPredictor | None = None
        self._own_weight = 0.0

    def fit(self, graphs: Sequence[Graph], values: Array, groups: Sequence[str]) -> Self:
        """Learn from n measured graphs, which may be none; see `CostPredictor.fit`.

        Raises:
            ValueError: For a value that is not positive and finite, or a single source and
                fewer than 3 architectures.
            UnknownWorkloadError: If a graph holds an operator a source does not know.
        """
        return self.fit_observed(observed_graphs(graphs, None), values, groups)

    def fit_observed(self, observed: Observed, values: Array, groups: Sequence[str]) -> Self:
        """Learn from n measured architectures; see `fit`.

        Args:
            observed: What is known of them.
            values: Shape ``(n,)``, positive.
            groups: Length n.
        """
        values = np.asarray(values, dtype=np.float64)
        if not np.all((values > 0) & (values < np.inf)):
            raise ValueError(f"{self.metric} of a measured graph must be positive and finite")
        numbers = np.unique(np.asarray(groups, dtype=np.str_), return_inverse=True)[1]
        self._n_groups = int(numbers.max(initial=-1)) + 1
        self._own, self._own_weight = None, 0.0
        log_sources, stds, _ = self._ask_sources(observed)
        if self._n_groups < _LEAST_TO_WEIGH:
            return self._fit_unweighed(log_sources, np.log(values))
        self._mixture, errors, spreads = SourceMixture.fit(log_sources, np.log(values), numbers)
        stds = np.hypot(spreads, stds)
        if self._n_groups >= _LEAST_FOR_OWN:
            own = PriorResidualPredictor(self.metric).fit_observed(observed, values, groups)
            self._own, self._known = own, _operators(observed)
            self._own_weight = _weight_of_own(own.cv_errors_, errors)
            errors = self._mixed(errors, own.cv_errors_)
            stds = self._mixed(stds, own.cv_stds_)
        self.cv_errors_, self.cv_stds_ = errors, stds
        self._scale = _error_scale(errors, stds, self._n_groups)
        return self

    def _fit_unweighed(self, log_sources: Array, log_values: Array) -> Self:
        k = len(self._sources)
        if k < 2:
            raise ValueError(
                f"one source needs measurements of {_LEAST_TO_WEIGH} architectures. "
                f"Got {self._n_groups}."
            )
        self._mixture = SourceMixture.alike(log_sources, log_values)
        # the new device as one more draw from where the sources come from
        widening = float(_student_t_quantile(k) * np.sqrt(1 + 1 / k))
        # the spread is a maximum likelihood estimate: k / (k - 1) removes its bias
        self._scale = ErrorScale(0.0, float(np.sqrt(k / (k - 1))), widening)
        return self

    def predict(self, graphs: Sequence[Graph]) -> list[Prediction]:
        """Predict the cost of each graph; see `CostPredictor.predict`.

        Raises:
            UnknownWorkloadError: If a graph holds an operator that a source does not know.
        """
        if not graphs:
            return []
        return self.predict_observed(observed_graphs(graphs, None)).to_list()

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

        In the domain is what one of the sources, or what was measured here, resembles.
        """
        log_sources, source_stds, inside = self._ask_sources(observed)
        mean, spread = self._mixture.predict(log_sources)
        std = np.hypot(spread, source_stds)
        if self._own is not None:
            rows = np.flatnonzero(_holds_only(observed, self._known))
            own_mean, own_std, own_inside = self._own.predict_log(observed[rows])
            mean[rows] = self._mixed(mean[rows], own_mean)
            std[rows] = self._mixed(std[rows], own_std)
            inside[rows] |= own_inside
        return mean, std, inside & (self._n_groups > 0)

    @property
    def own_weight(self) -> float:
        """Weight of what the target's measurements tell alone, 0 to 1."""
        return self._own_weight

    @property
    def source_weights(self) -> dict[str, float]:
        """How far the cost follows each source: by so many per cent if it rises by one."""
        shares = (1 - self._own_weight) * self._mixture.coefficients
        return dict(zip(self._sources, shares.tolist(), strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Return the fitted state with its sources, JSON-ready, for `from_dict`."""
        own = None
        if self._own is not None:
            known = [list(operator) for operator in sorted(self._known)]
            own = {"weight": self._own_weight, "known": known, "state": self._own.to_dict()}
        return {
            "kind": KIND,
            "metric": self.metric,
            "sources": {name: source.to_dict() for name, source in self._sources.items()},
            "n_groups": self._n_groups,
            "mixture": self._mixture.to_dict(),
            "errors": self._scale.to_dict(),
            "own": own,
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """Rebuild a predictor that predicts exactly as the one `to_dict` was taken from.

        Raises:
            KeyError, TypeError, ValueError: If an entry is missing or not what it should be.
        """
        if state["kind"] != KIND:
            raise ValueError(f"kind: wanted {KIND!r}, got {state['kind']!r}")
        sources = state["sources"].items()
        self = cls({str(name): PriorResidualPredictor.from_dict(s) for name, s in sources})
        if state["metric"] != self.metric:
            raise ValueError(f"metric: {state['metric']!r}, that of the sources {self.metric!r}")
        self._n_groups = int(state["n_groups"])
        self._mixture = SourceMixture.from_dict(state["mixture"], len(self._sources))
        self._scale = ErrorScale.from_dict(state["errors"])
        own = state["own"]
        if own is not None:
            self._own = PriorResidualPredictor.from_dict(own["state"])
            self._own_weight = float(own["weight"])
            self._known = frozenset((str(op), str(dtype)) for op, dtype in own["known"])
        return self

    def _ask_sources(self, observed: Observed) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Return log costs by source, their typical deviation, and whether one is at home."""
        said = [source.predict_observed(observed) for source in self._sources.values()]
        relative = np.array([predictions.std / predictions.mean for predictions in said])
        inside = np.any([predictions.in_domain for predictions in said], axis=0)
        log_costs = np.log([predictions.mean for predictions in said]).T
        return log_costs, np.sqrt(np.mean(relative**2, axis=0)), inside

    def _mixed(self, of_sources: Array, own: Array) -> Array:
        return (1 - self._own_weight) * of_sources + self._own_weight * own


CostModel: TypeAlias = PriorResidualPredictor | TransferPredictor
"""What predicts a cost of a target: learned there alone, or started from other targets."""


def _operators(observed: Observed) -> frozenset[tuple[str, str]]:
    """Return operator and data type of all kinds in any view."""
    views = observed.views.values()
    return frozenset((op, dtype) for view in views for op, _, dtype in view.kinds)


def _holds_only(observed: Observed, known: frozenset[tuple[str, str]]) -> NDArray[np.bool_]:
    """Return which architectures hold no other operators, shape ``(n,)``."""
    holds = np.ones(len(observed), dtype=np.bool_)
    for view in observed.views.values():
        strange = [i for i, (op, _, dtype) in enumerate(view.kinds) if (op, dtype) not in known]
        holds &= ~np.any(view.sums[:, strange, 0] > 0, axis=1)
    return holds


def _weight_of_own(own: Array, of_sources: Array) -> float:
    """Return the weight of the own model with the least square error of the average.

    The belief that it is 0 counts as much as some measurements with the better one's errors:
    a slight advantage must be seen often, one beyond the noise of the better one but once.

    Args:
        own: Errors of the own model on what it had not seen, shape ``(n,)``.
        of_sources: Likewise.
    """
    gap = of_sources - own
    noise = min(float(np.mean(own**2)), float(np.mean(of_sources**2)))
    norm = float(gap @ gap) + _SOURCES_UNTIL * noise
    return float(np.clip(of_sources @ gap / norm, 0, 1)) if norm > 0 else 0.0


def _error_scale(errors: Array, stds: Array, n_groups: int) -> ErrorScale:
    scale = ErrorScale.fit(errors, stds)
    if n_groups > _LARGEST_IS_QUANTILE:
        return scale
    # the largest of few may be small by luck: no less than if errors were normal
    widest = max(scale.quantile, _student_t_quantile(n_groups))
    return ErrorScale(scale.typical_error, scale.std_scale, widest)


def _student_t_quantile(n: int) -> float:
    """Return half the interval of one more of n normal numbers, in their deviations."""
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1))
