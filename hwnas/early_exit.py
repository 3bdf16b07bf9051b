"""Exit policies: when a network may answer early, and what that saves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CANDIDATES_PER_EXIT = 40
NEVER = 2.0
"""A threshold no confidence reaches: the exit is never taken."""


@dataclass(frozen=True)
class ExitPolicy:
    """Answer at the first exit whose largest softmax probability reaches its threshold.

    Args:
        thresholds: One per exit but the last, which always answers.

    References:
        Teerapittayanon et al. (2016), BranchyNet, Sec. II-C; confidence by the
        largest probability as in Huang et al. (2018), MSDNet, Sec. 4.1.
    """

    thresholds: tuple[float, ...]


def apply_policy(
    logits: Sequence[NDArray[np.float32]], thresholds: Sequence[float]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Run an exit policy.

    Args:
        logits: One array ``(n, classes)`` per exit.
        thresholds: One per exit but the last.

    Returns:
        Predicted class and exit index of each sample, both of shape ``(n,)``.

    Raises:
        ValueError: For another number of thresholds.
    """
    if len(thresholds) != len(logits) - 1:
        raise ValueError(
            f"wanted a threshold for each of {len(logits)} exits but the last. "
            f"Got {len(thresholds)}."
        )
    confidence = _confidence(logits)
    exits = _exits(confidence, thresholds)
    predicted = np.stack([z.argmax(axis=1) for z in logits])
    return predicted[exits, np.arange(len(exits))], exits


def exit_shares(exits: NDArray[np.int64], n_exits: int) -> tuple[float, ...]:
    """Return the share of samples that leaves at each exit."""
    counts = np.bincount(exits, minlength=n_exits)
    return tuple(float(c) for c in counts / len(exits))


def expected_cost(shares: Sequence[float], stage_costs: Sequence[float]) -> float:
    """Return ``sum_k p_k sum_{j<=k} c_j``: a sample that leaves at k paid all stages to k.

    Args:
        shares: Share of samples that leaves at each exit.
        stage_costs: Cost of each stage, its exit head included.
    """
    return float(np.dot(shares, np.cumsum(stage_costs)))


def choose_thresholds(
    logits: Sequence[NDArray[np.float32]],
    labels: NDArray[np.int64],
    stage_costs: Sequence[float],
    max_accuracy_drop: float,
) -> ExitPolicy:
    """Find the cheapest thresholds that cost at most so much accuracy.

    Over a grid of quantiles of the observed confidences: for every threshold of
    the first exit, coordinate descent from "never exit" over the others, each in
    turn set to the one of least expected cost that keeps accuracy within
    ``max_accuracy_drop`` of the final exit's, until nothing changes. The optimum
    on the grid for one or two early exits.

    Args:
        logits: One array ``(n, classes)`` per exit, on samples not trained on.
        labels: Shape ``(n,)``.
        stage_costs: Cost of each stage.
        max_accuracy_drop: Accuracy that may be lost, as a fraction.
    """
    confidence = _confidence(logits)
    right = np.stack([z.argmax(axis=1) == labels for z in logits])
    least = right[-1].mean() - max_accuracy_drop - 1e-12
    cumulative = np.cumsum(stage_costs)
    samples = np.arange(len(labels))

    def cost(thresholds: Sequence[float]) -> float:
        exits = _exits(confidence, thresholds)
        accurate = right[exits, samples].mean() >= least
        return float(cumulative[exits].mean()) if accurate else np.inf

    grids = [_candidates(row) for row in confidence[:-1]]
    if not grids:
        return ExitPolicy(())
    found = [_descend([first] + [NEVER] * (len(grids) - 1), grids, cost) for first in grids[0]]
    cheapest = min(found, key=cost)
    return ExitPolicy(tuple(cheapest))


def _descend(
    thresholds: list[float],
    grids: Sequence[Sequence[float]],
    cost: Callable[[Sequence[float]], float],
) -> list[float]:
    """Improve every threshold but the first, one at a time, until nothing changes."""
    best, improved = cost(thresholds), True
    while improved:
        improved = False
        for position in range(1, len(thresholds)):
            for candidate in grids[position]:
                trial = [*thresholds]
                trial[position] = candidate
                if (new := cost(trial)) < best:
                    thresholds, best, improved = trial, new, True
    return thresholds


def _candidates(confidence: NDArray[np.float64]) -> list[float]:
    grid = np.quantile(confidence, np.linspace(0, 1, _CANDIDATES_PER_EXIT), method="higher")
    return [float(c) for c in np.unique(grid)] + [NEVER]


def _confidence(logits: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Return the largest softmax probability, shape ``(exits, n)``."""
    rows: list[NDArray[Any]] = []
    for z in logits:
        shifted = z.astype(np.float64) - z.max(axis=1, keepdims=True)
        rows.append(1 / np.exp(shifted).sum(axis=1))
    return np.stack(rows)


def _exits(confidence: NDArray[np.float64], thresholds: Sequence[float]) -> NDArray[np.int64]:
    confident = np.ones(confidence.shape, dtype=np.bool_)
    confident[:-1] = confidence[:-1] >= np.asarray(thresholds).reshape(-1, 1)
    return np.asarray(confident.argmax(axis=0), dtype=np.int64)
