"""How far the validation accuracy that candidates were chosen by was optimistic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from hwnas.accuracy import difference_interval
from hwnas.front import Candidate, Metric


@dataclass(frozen=True)
class ValidationOptimism:
    """Mean accuracies of the finalists, each step nearer to the truth, and what they lose.

    Args:
        finalists: How many were retrained.
        searched: On the validation split, in the search: the finalists were chosen by it.
        retrained: On the validation split, of later trainings with other seeds.
        test: On the test split, of these later trainings.
        by_choice: ``searched - retrained``: of many trainings the lucky ones were chosen. Its
            interval is a t-interval over the finalists; none for a single one.
        by_samples: ``retrained - test``: the finalists suit the validation samples by which
            they were chosen, or the test samples are harder, such as new speakers.
    """

    finalists: int
    searched: float
    retrained: float
    test: float
    by_choice: Metric
    by_samples: Metric

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {
            "finalists": self.finalists,
            "searched": self.searched,
            "retrained": self.retrained,
            "test": self.test,
            "by_choice": self.by_choice.to_dict(),
            "by_samples": self.by_samples.to_dict(),
        }


def validation_optimism(
    candidates: Sequence[Candidate], n_validation: int, n_test: int
) -> ValidationOptimism | None:
    """Return how far validation accuracies of the search were optimistic.

    Args:
        candidates: Measured ones; those that were retrained count.
        n_validation: Samples of the validation split.
        n_test: Samples of the test split.

    Returns:
        ``None`` where no candidate was retrained.
    """
    names = ("search_validation_accuracy", "validation_accuracy", "accuracy")
    rows = [
        [c.metrics[name].value for name in names]
        for c in candidates
        if all(name in c.metrics for name in names)
    ]
    if not rows:
        return None
    accuracies = np.array(rows)
    searched, retrained, test = (float(mean) for mean in accuracies.mean(axis=0))
    low, high = difference_interval(retrained, n_validation, test, n_test)
    return ValidationOptimism(
        len(rows),
        searched,
        retrained,
        test,
        _mean(accuracies[:, 0] - accuracies[:, 1]),
        Metric(retrained - test, low=low, high=high),
    )


def _mean(values: NDArray[np.float64]) -> Metric:
    mean = float(values.mean())
    if len(values) < 2:
        return Metric(mean)
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return Metric(mean, low=mean - float(half), high=mean + float(half))
