"""What the path through all stages of a network costs, for many networks at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from latency_predictors._types import Predictions


def of_paths(metric: str, stages: Predictions, first: NDArray[np.intp]) -> Predictions:
    """Return what the path through all stages of each network costs.

    Args:
        metric: ``peak_ram_bytes``, which is the `largest` of a path's, or one of which a path
            takes the `total`.
        stages: Of m stages, those of one path in a row.
        first: Shape ``(n,)``: where each path begins, ascending from 0.
    """
    return (largest if metric == "peak_ram_bytes" else total)(stages, first)


def total(stages: Predictions, first: NDArray[np.intp]) -> Predictions:
    """Add the stages of each path, their errors taken as fully correlated (the cautious case).

    Args:
        stages: Of m stages, those of one path in a row.
        first: Shape ``(n,)``: where each path begins, ascending from 0.

    Returns:
        Predictions of n paths.
    """
    mean, std, low, high = (
        np.add.reduceat(column, first)
        for column in (stages.mean, stages.std, stages.low, stages.high)
    )
    return Predictions(mean, std, low, high, np.logical_and.reduceat(stages.in_domain, first))


def largest(stages: Predictions, first: NDArray[np.intp]) -> Predictions:
    """Return the maximum over the stages of each path; its interval is that of their bounds.

    The standard deviation is that of the stage with the largest upper end.

    Args:
        stages: Of m stages, those of one path in a row.
        first: Shape ``(n,)``: where each path begins, ascending from 0.

    Returns:
        Predictions of n paths.
    """
    mean, low, high = (
        np.maximum.reduceat(column, first) for column in (stages.mean, stages.low, stages.high)
    )
    paths = np.repeat(np.arange(len(first)), np.diff(first, append=len(stages.high)))
    uncertain = np.flatnonzero(stages.high == high[paths])
    one_per_path = uncertain[np.unique(paths[uncertain], return_index=True)[1]]
    inside = np.logical_and.reduceat(stages.in_domain, first)
    return Predictions(mean, stages.std[one_per_path], low, high, inside)


def joined(parts: list[Predictions]) -> Predictions:
    """Return the predictions of all parts in a row."""
    names = ("mean", "std", "low", "high", "in_domain")
    return Predictions(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
