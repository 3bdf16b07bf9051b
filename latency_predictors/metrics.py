"""How well predictions agree with measurements."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats


@dataclass(frozen=True)
class Agreement:
    """Agreement of predictions with measurements on the same n graphs.

    Args:
        n: Number of pairs.
        mape: Mean absolute percentage error, as a fraction.
        within_5: Share of predictions within 5 % of the measurement.
        within_10: Share within 10 %.
        spearman: Spearman's rank correlation; ``None`` where either side is
            constant, which has no ranks, or n < 2.
        kendall: Kendall's tau-b; ``None`` likewise.
    """

    n: int
    mape: float
    within_5: float
    within_10: float
    spearman: float | None
    kendall: float | None


def mean_absolute_percentage_error(
    measured: NDArray[np.float64], predicted: NDArray[np.float64]
) -> float:
    """Return ``mean(|predicted - measured| / measured)`` as a fraction.

    Raises:
        ValueError: If a measured value is not positive, or shapes differ.
    """
    return float(np.mean(_relative_error(measured, predicted)))


def share_within(
    measured: NDArray[np.float64], predicted: NDArray[np.float64], tolerance: float
) -> float:
    """Return the share of predictions at most ``tolerance`` (a fraction) off."""
    # the slack keeps a prediction that is off by exactly the tolerance inside it
    return float(np.mean(_relative_error(measured, predicted) <= tolerance * (1 + 1e-12)))


def agreement(measured: NDArray[np.float64], predicted: NDArray[np.float64]) -> Agreement:
    """Compare predictions with measurements, both of shape ``(n,)`` and positive."""
    varies = len(measured) > 1 and np.ptp(measured) > 0 and np.ptp(predicted) > 0
    return Agreement(
        n=len(measured),
        mape=mean_absolute_percentage_error(measured, predicted),
        within_5=share_within(measured, predicted, 0.05),
        within_10=share_within(measured, predicted, 0.10),
        spearman=float(stats.spearmanr(measured, predicted).statistic) if varies else None,
        kendall=float(stats.kendalltau(measured, predicted).statistic) if varies else None,
    )


def _relative_error(
    measured: NDArray[np.float64], predicted: NDArray[np.float64]
) -> NDArray[np.float64]:
    if measured.shape != predicted.shape:
        raise ValueError(f"measured has shape {measured.shape}, predicted {predicted.shape}")
    if not np.all(measured > 0):
        raise ValueError("measured values must be positive")
    return np.abs(predicted - measured) / measured
