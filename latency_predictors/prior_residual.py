"""A linear cost prior with a learned residual: good from a few measurements on."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.model_selection import GroupKFold

from latency_predictors._types import Graph, Prediction
from latency_predictors.features import (
    PER_OPERATOR,
    additive_features,
    operators,
    peak_activations,
    shape_features,
)
from latency_predictors.operating_point import checked_clocks, over_clocks

CONFIDENCE = 0.9
_FOLDS = 8
_RIDGE = 1e-3
# no graph costs less than this share of the cheapest one measured: 0 is no cost
_LEAST_SHARE = 0.01
# outside the calibrated range by more than this (in log units): an extrapolation
_DOMAIN_SLACK = 0.1

PRIOR_FEATURES: dict[str, tuple[str, ...]] = {
    "latency_s": ("calls", "macs", "bytes"),
    "energy_j": ("calls", "macs", "bytes"),
    "flash_bytes": ("calls", "params"),
    "peak_ram_bytes": ("peak",),
}
"""Which columns the cost prior of each metric is linear in; always with a constant."""


class PriorResidualPredictor:
    """Non-negative linear prior on operator costs times a Gaussian-process correction.

    The prior is ``f(g) = b0 + sum over operators of b . features`` with ``b >= 0``
    and ``b0 > 0``, fitted by least squares on the *relative* error. A Gaussian process learns
    ``log(value / prior)`` from the shape of the graph. Its standard deviation is
    rescaled so that it matches cross-validated errors, and the interval is
    conformal: the quantile of cross-validated normalized errors.

    Args:
        metric: A key of `PRIOR_FEATURES`.

    References:
        Rasmussen & Williams (2006), Gaussian Processes for Machine Learning,
        Sec. 2.2 (regression); Barber et al. (2021), Predictive inference with
        the jackknife+, Sec. 1.2 (CV residuals). doi:10.1214/20-AOS1965
    """

    def __init__(self, metric: str) -> None:
        if metric not in PRIOR_FEATURES:
            raise ValueError(f"metric must be one of {sorted(PRIOR_FEATURES)}. Got {metric!r}.")
        self.metric = metric
        self.clocked = False

    def fit(
        self,
        graphs: Sequence[Graph],
        values: NDArray[np.float64],
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
        self.clocked = relative_clocks is not None
        if relative_clocks is not None and len(set(relative_clocks)) < 2:
            raise ValueError(f"needs measurements of at least 2 clocks. Got {relative_clocks[:1]}.")
        values = np.asarray(values, dtype=np.float64)
        if not np.all((values > 0) & (values < np.inf)):
            raise ValueError(f"{self.metric} of a measured graph must be positive and finite")
        n_groups = len(set(groups))
        if n_groups < 4:
            raise ValueError(f"needs measurements of at least 4 architectures. Got {n_groups}.")
        self.operators_ = operators(graphs)
        additive, shape = self._features(graphs, relative_clocks)
        errors, stds = self._cross_validate(additive, shape, values, np.asarray(groups))
        # floored by the typical error: from few samples a Gaussian process may be sure of
        # itself without reason, and dividing by its deviation alone would know no bounds
        self.typical_error_ = max(float(np.sqrt(np.mean(errors**2))), 1e-9)
        scores = errors / np.hypot(stds, self.typical_error_)
        # the root mean square of well-scaled scores is 1
        self.std_scale_ = max(float(np.sqrt(np.mean(scores**2))), 1e-6)
        self.quantile_ = _conformal_quantile(np.abs(scores) / self.std_scale_)
        self._fit_model(additive, shape, values)
        self._train_shape, self._train_log_ratio = shape, self._log_ratio(additive, values)
        return self

    def predict(
        self, graphs: Sequence[Graph], relative_clocks: Sequence[float] | None = None
    ) -> list[Prediction]:
        """Predict the cost of each graph; see `CostPredictor.predict`.

        Args:
            graphs: n graphs.
            relative_clocks: Length n, where the predictor was fitted to several clocks.

        Raises:
            ValueError: If clocks are missing, or the predictor knows none.
        """
        if not graphs:
            return []
        if self.clocked != (relative_clocks is not None):
            raise ValueError(
                f"{self.metric}: fitted to {'several clocks' if self.clocked else 'one clock'}, "
                f"{'none' if self.clocked else 'some'} given in relative_clocks"
            )
        additive, shape = self._features(graphs, relative_clocks)
        mean, log_std = self._predict_log(additive, shape)
        log_std = np.hypot(log_std, self.typical_error_) * self.std_scale_
        half = self.quantile_ * log_std
        low = self._train_shape.min(axis=0) - _DOMAIN_SLACK
        high = self._train_shape.max(axis=0) + _DOMAIN_SLACK
        inside = np.all((shape >= low) & (shape <= high), axis=1)
        value = np.exp(mean)
        return [
            Prediction(float(v), float(v * s), float(v * np.exp(-h)), float(v * np.exp(h)), bool(d))
            for v, s, h, d in zip(value, log_std, half, inside, strict=True)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the fitted state, JSON-ready, for `from_dict`."""
        return {
            "metric": self.metric,
            "operators": list(self.operators_),
            "typical_error": self.typical_error_,
            "std_scale": self.std_scale_,
            "quantile": self.quantile_,
            "log_kernel": self._gp.kernel_.theta.tolist(),
            "prior": self._prior.tolist(),
            "center": self._center.tolist(),
            "scale": self._scale.tolist(),
            "train_shape": self._train_shape.tolist(),
            "train_log_ratio": self._train_log_ratio.tolist(),
            **({"clocked": True} if self.clocked else {}),
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """Rebuild a predictor that predicts exactly as the one `to_dict` was taken from.

        Raises:
            KeyError, TypeError, ValueError: If an entry is missing or not what it should be.
        """
        self = cls(state["metric"])
        self.operators_ = tuple(state["operators"])
        self.typical_error_ = float(state["typical_error"])
        self.std_scale_, self.quantile_ = float(state["std_scale"]), float(state["quantile"])
        n = len(state["train_log_ratio"])
        self.clocked = state.get("clocked") is True
        prior, shape = self._features((), () if self.clocked else None)
        n_shape = shape.shape[1]
        self._prior = _array(state, "prior", (prior.shape[1],))
        self._center, self._scale = (_array(state, k, (n_shape,)) for k in ("center", "scale"))
        self._train_shape = _array(state, "train_shape", (n, n_shape))
        self._train_log_ratio = _array(state, "train_log_ratio", (n,))
        kernel = _kernel(n_shape)
        kernel = kernel.clone_with_theta(_array(state, "log_kernel", kernel.theta.shape))
        self._gp = GaussianProcessRegressor(kernel, optimizer=None)
        self._gp.fit((self._train_shape - self._center) / self._scale, self._train_log_ratio)
        return self

    def _features(
        self, graphs: Sequence[Graph], relative_clocks: Sequence[float] | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the columns of the prior, and those of the residual."""
        prior, shape = self._prior_matrix(graphs), shape_features(graphs, self.operators_)
        if relative_clocks is None:
            return prior, shape
        clocks = checked_clocks(relative_clocks, len(graphs))
        return over_clocks(prior, clocks, self.metric), np.column_stack([shape, np.log(clocks)])

    def _prior_matrix(self, graphs: Sequence[Graph]) -> NDArray[np.float64]:
        names = PRIOR_FEATURES[self.metric]
        additive = additive_features(graphs, self.operators_)
        wanted = [PER_OPERATOR.index(name) for name in names if name in PER_OPERATOR]
        flat = additive[..., wanted].reshape(len(graphs), len(self.operators_) * len(wanted))
        columns = [np.ones((len(graphs), 1)), flat]
        if "peak" in names:
            columns.append(peak_activations(graphs)[:, None])
        return np.concatenate(columns, axis=1)

    def _fit_model(
        self,
        additive: NDArray[np.float64],
        shape: NDArray[np.float64],
        values: NDArray[np.float64],
    ) -> None:
        self._prior = _relative_nnls(additive, values)
        self._center = shape.mean(axis=0)
        self._scale = np.maximum(shape.std(axis=0), 1e-3)
        self._gp = GaussianProcessRegressor(_kernel(shape.shape[1]), n_restarts_optimizer=0)
        with warnings.catch_warnings():
            # a hyperparameter at its bound is intended: the bounds are the regularization
            warnings.simplefilter("ignore", ConvergenceWarning)
            self._gp.fit((shape - self._center) / self._scale, self._log_ratio(additive, values))

    def _log_ratio(
        self, additive: NDArray[np.float64], values: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        return np.asarray(np.log(values / (additive @ self._prior)))

    def _predict_log(
        self, additive: NDArray[np.float64], shape: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        mean, std = self._gp.predict((shape - self._center) / self._scale, return_std=True)
        return np.log(additive @ self._prior) + mean, std

    def _cross_validate(
        self,
        additive: NDArray[np.float64],
        shape: NDArray[np.float64],
        values: NDArray[np.float64],
        groups: NDArray[np.str_],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return out-of-fold errors of the log value, and the standard deviations predicted."""
        errors, stds = np.empty(len(values)), np.empty(len(values))
        folds = GroupKFold(min(_FOLDS, len(np.unique(groups))))
        for train, held_out in folds.split(shape, values, groups):
            self._fit_model(additive[train], shape[train], values[train])
            mean, std = self._predict_log(additive[held_out], shape[held_out])
            errors[held_out] = np.log(values[held_out]) - mean
            stds[held_out] = std
        return errors, stds


def _array(state: Mapping[str, Any], key: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    array = np.asarray(state[key], dtype=np.float64)
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"{key}: wanted finite numbers of shape {shape}, got {array.shape}")
    return array


def _kernel(n_features: int) -> Any:
    # bounds keep the correction smooth and small: the prior carries the physics
    return ConstantKernel(0.01, (1e-4, 1.0)) * RBF(
        np.sqrt(n_features), (0.5 * np.sqrt(n_features), 20 * np.sqrt(n_features))
    ) + WhiteKernel(1e-3, (1e-6, 0.1))


def _relative_nnls(
    features: NDArray[np.float64], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Minimize ``||(features @ b - values) / values||^2 + ridge`` subject to ``b >= 0``.

    The first column is the constant; its coefficient is at least ``_LEAST_SHARE``
    of the smallest value.
    """
    least = _LEAST_SHARE * values.min()
    rows = features / values[:, None]
    scale = np.maximum(np.linalg.norm(rows, axis=0), 1e-300)
    ridge = np.sqrt(_RIDGE) * np.eye(rows.shape[1])
    solution, _ = nnls(
        np.vstack([rows / scale, ridge]),
        np.concatenate([1 - least / values, np.zeros(rows.shape[1])]),
    )
    solution = solution / scale
    solution[0] += least
    return np.asarray(solution)


def _conformal_quantile(scores: NDArray[np.float64]) -> float:
    """Return the ``ceil((n + 1) * CONFIDENCE)``-th smallest score (the largest for tiny n)."""
    rank = int(np.ceil((len(scores) + 1) * CONFIDENCE))
    return float(np.sort(scores)[min(rank, len(scores)) - 1])
