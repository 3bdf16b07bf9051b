"""Logits of made-up networks with exits, and policies followed one sample after another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from scipy.stats import entropy

from hwnas.exit_policy import ConfidenceMeasure, ExitPolicy

Logits = list[NDArray[np.float32]]


def exits_of_growing_skill(
    seed: int, n_exits: int, n: int, n_classes: int = 3
) -> tuple[Logits, NDArray[np.int64], list[float]]:
    """Return logits of each exit, labels and stage costs."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n_classes, n)
    truth = np.eye(n_classes)[labels] * rng.exponential(1.0, size=(n, 1))
    logits = [
        (rng.normal(size=(n, n_classes)) + (k + 1) * truth).astype(np.float32)
        for k in range(n_exits)
    ]
    return logits, labels, rng.uniform(0.1, 1.0, n_exits).tolist()


def confidence_of(
    logits: NDArray[np.float32], measure: ConfidenceMeasure, temperature: float
) -> float:
    """Return how sure an exit is of one sample, by scipy."""
    probabilities = softmax(logits.astype(np.float64) / temperature)
    if measure == "entropy":
        return float(1 - entropy(probabilities, base=len(probabilities)))
    first, second = np.sort(probabilities)[::-1][:2]
    return float(first if measure == "max_probability" else first - second)


def follow(
    logits: Logits, labels: NDArray[np.int64], costs: Sequence[float], policy: ExitPolicy
) -> tuple[float, float]:
    """Return accuracy and mean cost of a policy, one sample after another."""
    temperatures = policy.temperatures or (1.0,) * len(logits)
    right, paid = 0, 0.0
    for sample, label in enumerate(labels):
        for index, z in enumerate(logits):
            paid += costs[index]
            sure = confidence_of(z[sample], policy.measure, temperatures[index])
            # scipy's sums may round differently
            if index == len(logits) - 1 or sure >= policy.thresholds[index] - 1e-12:
                right += int(z[sample].argmax() == label)
                break
    return right / len(labels), paid / len(labels)
