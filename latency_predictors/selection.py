"""Which architectures to measure next: those that tell most about all the others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from latency_predictors.features import PER_KIND, GraphFeatures

Array = NDArray[np.float64]

# standard deviations of the log latency: what operators cost may differ between kinds by far
# more than what the shape of a graph adds, and a measurement scatters by less than either
_OPERATOR_STD, _SHAPE_STD, _NOISE_STD = 0.3, 0.1, 0.02
_COUNTED = [PER_KIND.index(name) for name in ("calls", "macs", "bytes")]


def most_informative(
    features: GraphFeatures, predicted_s: Array, measured: Sequence[int], n: int
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
        measured: Indices of those measured.
        n: How many to choose.

    Returns:
        At most ``n`` indices, none of them in ``measured``, the most informative first.

    References:
        Seo et al. (2000), Gaussian process regression: active data selection and test point
        rejection, Sec. 3 (ALC). doi:10.1109/IJCNN.2000.861310; after Cohn (1996), Neural
        network exploration using optimal experiment design. doi:10.1016/0893-6080(95)00137-9
    """
    covariance = _prior_covariance(features, predicted_s)
    taken = np.zeros(len(features), dtype=np.bool_)
    for index in measured:
        _observe(covariance, index)
        taken[index] = True
    chosen: list[int] = []
    for _ in range(min(n, int((~taken).sum()))):
        gain = (covariance**2).sum(axis=0) / (np.diag(covariance) + _NOISE_STD**2)
        best = int(np.argmax(np.where(taken, -np.inf, gain)))
        _observe(covariance, best)
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
    covariance: Array = _OPERATOR_STD**2 * linear + _SHAPE_STD**2 * nearness
    return covariance


def _scaled(columns: Array) -> Array:
    """Return the columns that are not 0 everywhere, of root mean square 1."""
    size = np.sqrt((columns**2).mean(axis=0))
    scaled: Array = columns[:, size > 0] / size[size > 0]
    return scaled


def _observe(covariance: Array, index: int) -> None:
    """Turn a covariance into that after measuring one of its points."""
    column = covariance[:, index].copy()
    covariance -= np.outer(column, column) / (column[index] + _NOISE_STD**2)
