"""What Gaussian processes share: scales of features, and the most probable kernel variances."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpotri
from scipy.optimize import minimize

Array = NDArray[np.float64]


def inverse_spread(features: Array) -> Array:
    """Return what to multiply features with, for a mean square distance from their mean of 1.

    Nothing can be learned of a feature that does not vary: 0.

    Args:
        features: Shape ``(n, d)``.

    Returns:
        Shape ``(d,)``.
    """
    deviation = features.std(axis=0)
    varies = deviation > 1e-9 * np.abs(features).max(axis=0, initial=0)
    inverse = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)
    return np.asarray(inverse / np.sqrt(max(varies.sum(), 1)))


def most_probable_variances(
    covariances: Sequence[Array],
    targets: Array,
    noise_variances: Array,
    *,
    typical_deviation: float,
    start: Array,
    bounds: Sequence[tuple[float, float]],
) -> Array:
    """Return the variance of each kernel, and of further noise, that are most probable.

    Every kernel's variance has an exponential prior on its square root, so that kernels which
    explain nothing vanish; the marginal likelihood is that of targets of mean 0.

    Args:
        covariances: m kernels between the n points, each of shape ``(n, n)``.
        targets: Shape ``(n,)``.
        noise_variances: Shape ``(n,)``: of noise that is there whatever is found.
        typical_deviation: Scale of the prior.
        start: Shape ``(m + 1,)``: logarithms of variances to begin with, that of the noise last.
        bounds: m + 1 pairs, of the same.

    Returns:
        Shape ``(m + 1,)``.

    References:
        Rasmussen & Williams (2006), Gaussian Processes for Machine Learning, Sec. 5.4.1.
        Simpson et al. (2017), Penalising model component complexity, Sec. 3.3.
        doi:10.1214/16-STS576
    """
    m = len(covariances)

    def objective(log_variances: Array) -> tuple[float, Array]:
        variances = np.exp(log_variances)
        total = np.diag(variances[m] + noise_variances)
        for variance, covariance in zip(variances[:m], covariances, strict=True):
            total += variance * covariance
        lower = np.linalg.cholesky(total)
        # half of a symmetric matrix; a third of the work of solving for the identity
        half, _ = dpotri(lower, lower=True)
        inverse = half + np.tril(half, -1).T
        alpha = inverse @ targets
        slope = 0.5 * (inverse - np.outer(alpha, alpha))
        gradient = np.array([np.vdot(slope, c) for c in covariances] + [np.trace(slope)])
        deviations = np.sqrt(variances[:m]) / typical_deviation
        gradient *= variances
        gradient[:m] += 0.5 * deviations
        likelihood = 0.5 * targets @ alpha + np.log(np.diag(lower)).sum()
        return float(likelihood + deviations.sum()), gradient

    found = minimize(
        objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 60}
    )
    return np.asarray(np.exp(found.x))
