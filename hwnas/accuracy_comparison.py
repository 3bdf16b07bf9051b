"""Which of several trained architectures is the more accurate, and which are tied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95
"""That no statement about any pair of one comparison is wrong."""

Correct = NDArray[np.bool_]


@dataclass(frozen=True)
class AccuracyComparison:
    """How much more accurate an architecture is than another.

    Args:
        arch_id: The other one.
        difference: Of the mean accuracies over seeds; positive where the other is worse.
        low: Lower end of the difference's interval.
        high: Upper end.
        probability: That it is the more accurate one, of this pair alone: the posterior
            probability of a positive difference under a flat prior.
    """

    arch_id: str
    difference: float
    low: float
    high: float
    probability: float

    @property
    def is_tie(self) -> bool:
        """Whether the interval holds zero: neither is shown to be better."""
        return self.low <= 0 <= self.high

    def of_the_other(self, arch_id: str) -> AccuracyComparison:
        """Return the same comparison as the other one sees it.

        Args:
            arch_id: Of the architecture that this comparison belongs to.
        """
        return AccuracyComparison(
            arch_id, -self.difference, -self.high, -self.low, 1 - self.probability
        )


@dataclass(frozen=True)
class Standing:
    """Where an architecture's accuracy stands among the others.

    Args:
        better_than: Those it is more accurate than, the surest first.
        ties_with: Those that it is neither shown to be better nor worse than.
    """

    better_than: tuple[AccuracyComparison, ...] = field(default=())
    ties_with: tuple[AccuracyComparison, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Standing:
        """Rebuild a standing from `to_dict`, or from an older document without it."""
        return cls(
            tuple(AccuracyComparison(**item) for item in data.get("better_than", ())),
            tuple(AccuracyComparison(**item) for item in data.get("ties_with", ())),
        )


def compare_accuracy(
    arch_id: str, first: Correct, second: Correct, confidence: float = CONFIDENCE
) -> AccuracyComparison:
    """Compare two architectures, each trained with several seeds, on the same samples.

    With ``d_i`` the difference of the seeds' mean correctness on sample i, the difference of
    accuracies is ``mean(d)``, and the variances of its two errors add:

    - which samples the test set holds: ``S^2(d) / n``. It is small where both are right on
      the same samples. Half a sample is added to each cell of the table of agreement
      (Agresti & Min), so that two that never differ are not told apart for sure. It holds
      what chance each sample has to flip with the seed, too.
    - which seeds were drawn: ``S^2(accuracy) / k`` of each architecture, less the flips
      of single samples, which the first error holds already (the residual mean square of
      the k x n table over ``k n``), and not less than 0. With one seed there is none: then
      two networks are compared, not their architectures.

    The statistic follows a t-distribution with the degrees of freedom of Satterthwaite.
    For one seed each the square of the statistic is that of McNemar's test, but for the half
    samples and for the variance, which is not taken under equality.

    Args:
        arch_id: Of the second one.
        first: Which samples each network got right, shape ``(k, n)``.
        second: Likewise ``(l, n)``, in the same order of samples.
        confidence: Of the interval.

    Raises:
        ValueError: For another number of samples, fewer than two, or no network.

    References:
        Agresti & Min (2005), Simple improved confidence intervals for comparing matched
        proportions. Statistics in Medicine 24(5), 729-740.
        Satterthwaite (1946), An approximate distribution of estimates of variance
        components. Biometrics Bulletin 2(6), 110-114.
        Owen (2007), The pigeonhole bootstrap, Sec. 3: the variance of a mean over two crossed
        random factors. doi:10.1214/07-AOAS122
    """
    _check(first, second)
    n = first.shape[1]
    by_sample = first.mean(axis=0) - second.mean(axis=0)
    total = float(by_sample.sum())
    # two samples more: one that only the first gets half right, one that only the second does
    sampling = (float(np.sum(by_sample**2)) + 1 - total**2 / (n + 2)) / (n + 2) ** 2
    variance, freedom = sampling, sampling**2 / (n - 1)
    for correct in (first, second):
        if len(correct) > 1:
            scatter, of_seeds = _seed_variance(correct)
            variance += of_seeds
            freedom += scatter**2 / (len(correct) - 1) if of_seeds else 0.0
    distribution = stats.t(variance**2 / freedom, total / (n + 2), np.sqrt(variance))
    low, high = distribution.interval(confidence)
    return AccuracyComparison(
        arch_id,
        total / n,
        max(-1.0, float(low)),
        min(1.0, float(high)),
        float(distribution.sf(0.0)),
    )


def compare_all(correct: Mapping[str, Correct]) -> dict[str, Standing]:
    """Compare every two of several architectures on the same samples.

    The intervals are simultaneous: each of the m pairs has one of confidence
    ``1 - 0.05 / m`` (Bonferroni), so that the chance that any statement, of all that are made,
    is wrong stays below 5 % however the pairs depend on each other.

    Args:
        correct: By ``arch_id``, which samples each seed's network got right, ``(k, n)``.

    Raises:
        ValueError: As `compare_accuracy`.
    """
    pairs = list(combinations(correct, 2))
    found: dict[str, list[AccuracyComparison]] = {arch_id: [] for arch_id in correct}
    for one, other in pairs:
        confidence = 1 - (1 - CONFIDENCE) / len(pairs)
        comparison = compare_accuracy(other, correct[one], correct[other], confidence)
        found[one].append(comparison)
        found[other].append(comparison.of_the_other(one))
    return {arch_id: _standing(comparisons) for arch_id, comparisons in found.items()}


def _standing(comparisons: Sequence[AccuracyComparison]) -> Standing:
    surest_first = sorted(comparisons, key=lambda c: -c.probability)
    return Standing(
        tuple(c for c in surest_first if c.low > 0), tuple(c for c in surest_first if c.is_tie)
    )


def _seed_variance(correct: Correct) -> tuple[float, float]:
    """Return the variance of the mean over seeds, and how much of it no flips explain."""
    k, n = correct.shape
    accuracies = correct.mean(axis=1)
    scatter = float(np.var(accuracies, ddof=1)) / k
    residuals = correct - correct.mean(axis=0) - accuracies[:, None] + accuracies.mean()
    flips = float(np.sum(residuals**2)) / ((k - 1) * (n - 1)) / (k * n)
    return scatter, max(0.0, scatter - flips)


def _check(first: Correct, second: Correct) -> None:
    shapes = (first.shape, second.shape)
    if any(len(shape) != 2 or shape[0] < 1 or shape[1] < 2 for shape in shapes) or (
        first.shape[1] != second.shape[1]
    ):
        raise ValueError(
            "wanted shapes (k, n) and (l, n) of at least one network on at least two samples. "
            f"Got {first.shape} and {second.shape}."
        )
