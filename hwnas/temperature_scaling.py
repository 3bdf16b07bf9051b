"""Temperatures: what the logits of each exit are divided by, so that its confidence is honest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

_LOG_RANGE = float(np.log(100.0))


def fit_temperatures(
    logits: Sequence[NDArray[np.float32]], labels: NDArray[np.int64]
) -> tuple[float, ...]:
    """Return the temperature of each exit that makes the labels most likely.

    The minimum over T, from 1/100 to 100, of the mean of ``ln sum_j exp(z_j / T) - z_y / T``,
    which is convex in 1 / T. Labels become likelier without end the colder an exit is that is
    never wrong, and the hotter one whose mean logit of the label is not above the mean of all:
    the logits of either are taken as they are, with a temperature of 1.

    Args:
        logits: One array ``(n, classes)`` per exit, on samples not trained on.
        labels: Shape ``(n,)``.

    References:
        Guo et al. (2017), On calibration of modern neural networks, Sec. 4.2.
        arXiv:1706.04599
    """
    return tuple(_fit(z.astype(np.float64), labels) for z in logits)


def _fit(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    # a likelihood knows differences of logits only: thus none overflows
    logits = logits - logits.max(axis=1, keepdims=True)
    of_labels = logits[np.arange(len(labels)), labels]
    if of_labels.min() == 0 or of_labels.mean() <= logits.mean():
        return 1.0

    def loss(log_temperature: float) -> float:
        coldness = np.exp(-log_temperature)
        log_sums = np.log(np.exp(coldness * logits).sum(axis=1))
        return float(log_sums.mean() - coldness * of_labels.mean())

    found = minimize_scalar(
        loss, bounds=(-_LOG_RANGE, _LOG_RANGE), method="bounded", options={"xatol": 1e-4}
    )
    return float(np.exp(found.x))
