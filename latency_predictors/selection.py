"""Which architectures to measure next: those that tell most about all the others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from latency_predictors.features import PER_KIND, GraphFeatures

Array = NDArray[np.float64]

# standard deviation of the log latency before anything is measured, for what operators
# cost, and for the shape of the graph, each
_PRIOR_STD = 0.3
# below this, rounding decides what is chosen
_LEAST_ERROR_STD = 1e-4
_COUNTED = [PER_KIND.index(name) for name in ("calls", "macs", "bytes")]


def most_informative(
    features: GraphFeatures,
    predicted_s: Array,
    error_std: float,
    measured: Sequence[int],
    n: int,
) -> list[int]:
    """Choose the architectures whose measurement lessens the variance of all the most.

    The relative error of a latency is taken as a Gaussian process: costs of operators that are
    not known (linear in a graph's calls, MACs and bytes per kind, relative to its predicted
    latency) plus a smooth function of its shape. One after the other, that architecture is
    chosen which lessens the posterior variance most, summed over all; what was chosen counts
    as measured, so that a batch does not hold the same thing twice. O(m^2 (n + measured)).

    Args:
        features: Of m architectures.
        predicted_s: Shape ``(m,)``: latencies predicted for them, positive.
        error_std: Typical relative standard deviation of the predictions, positive: what no
            measurement of another architecture is expected to explain.
        measured: Indices of those measured.
        n: How many to choose.

    Returns:
        At most ``n`` indices, none of them in ``measured``, the most informative first.

    References:
        Seo et al. (2000), Gaussian process regression: active data selection and test point
        rejection, Sec. 3 (ALC). doi:10.1109/IJCNN.2000.861310; after Cohn (1996), Neural
        network exploration using optimal experiment design. doi:10.1016/0893-6080(95)00137-9
    """
    error_std = max(error_std, _LEAST_ERROR_STD)
    covariance = _prior_covariance(features, predicted_s)
    taken = np.zeros(len(features), dtype=np.bool_)
    for index in measured:
        _observe(covariance, index, error_std)
        taken[index] = True
    chosen: list[int] = []
    for _ in range(min(n, int((~taken).sum()))):
        gain = (covariance**2).sum(axis=0) / (np.diag(covariance) + error_std**2)
        best = int(np.argmax(np.where(taken, -np.inf, gain)))
        _observe(covariance, best, error_std)
        taken[best] = True
        chosen.append(best)
    return chosen


def _prior_covariance(features: GraphFeatures, predicted_s: Array) -> Array:
    sums = features.sums[..., _COUNTED]
    columns = np.column_stack(
        [np.ones(len(features)), sums.reshape(len(features), -1), sums.sum(axis=1)]
    )
    rows = _scaled(columns / predicted_s[:, None])
    shape = features.shape_features()
    points = _scaled(shape - shape.mean(axis=0))
    # features of unit variance: distances grow with the root of their number
    nearness = np.exp(-0.5 * cdist(points, points, "sqeuclidean") / max(points.shape[1], 1))
    linear = rows @ rows.T / max(rows.shape[1], 1)
    covariance: Array = _PRIOR_STD**2 * (linear + nearness)
    return covariance


def _scaled(columns: Array) -> Array:
    """Return the columns that are not 0 everywhere, of root mean square 1."""
    size = np.sqrt((columns**2).mean(axis=0))
    scaled: Array = columns[:, size > 0] / size[size > 0]
    return scaled


def _observe(covariance: Array, index: int, error_std: float) -> None:
    """Turn a covariance into that after measuring one of its points."""
    column = covariance[:, index].copy()
    covariance -= np.outer(column, column) / (column[index] + error_std**2)
