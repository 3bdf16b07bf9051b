"""Which of several trained architectures is the more accurate, and which are tied."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

CONFIDENCE = 0.95
"""That no statement about any pair of one comparison is wrong."""

Correct = NDArray[np.bool_]
Differences = NDArray[np.int8]


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


@dataclass(frozen=True)
class SeedScatter:
    """How accuracies scatter with the seed, taken as equal for all architectures compared.

    With two to five seeds each, an architecture's own scatter is known too badly to tell so rare
    an error as that of one of many pairs; pooled, as in an analysis of variance, it is.

    Args:
        variance: Of the accuracies of one architecture over its seeds, pooled.
        excess: The part of it that flips of single samples do not explain, at least 0.
        freedom: Degrees of freedom of the variance; 0 where nobody has two seeds.
    """

    variance: float
    excess: float
    freedom: int

    @classmethod
    def of(cls, correct: Iterable[Correct | Differences]) -> SeedScatter:
        """Pool architectures, or differences of two, each ``(k, n)`` over the same n samples.

        A sample that flips with the seed, independently of others, has a variance: the residual
        mean square of the k x n table. It makes accuracies scatter by its n-th part.
        """
        squares, flips, freedom = 0.0, 0.0, 0
        for table in correct:
            k, n = table.shape
            accuracies = table.mean(axis=1)
            residuals = table - table.mean(axis=0) - accuracies[:, None] + accuracies.mean()
            squares += float(np.sum((accuracies - accuracies.mean()) ** 2))
            flips += float(np.sum(residuals**2)) / ((n - 1) * n)
            freedom += k - 1
        if freedom == 0:
            return cls(0.0, 0.0, 0)
        variance = squares / freedom
        return cls(variance, max(0.0, variance - flips / freedom), freedom)


def compare_accuracy(
    arch_id: str,
    first: Correct,
    second: Correct,
    scatter: SeedScatter | None = None,
    confidence: float = CONFIDENCE,
    *,
    by_seed: bool = False,
) -> AccuracyComparison:
    """Compare two architectures, each trained with several seeds, on the same samples.

    With ``d_i`` the difference of the seeds' mean correctness on sample i, the difference of
    accuracies is ``mean(d)``, and the variances of its two errors add:

    - which samples the test set holds: ``S^2(d) / n``. It is small where both are right on
      the same samples. Half a sample is added to each cell of the table of agreement
      (Agresti & Min), so that two that never differ are not told apart for sure. It holds
      what chance each sample has to flip with the seed, too.
    - which seeds were drawn: ``excess (1 / k + 1 / l)``, the scatter of accuracies less the
      flips of single samples, which the first error holds already. With one seed each there
      is none: then two networks are compared, not their architectures. Where the second's
      networks were made of the first's, one of each, it is their differences that scatter:
      ``excess / k``.

    The statistic follows a t-distribution with the degrees of freedom of Satterthwaite, but for
    an excess near 0: as a difference of two estimates it would have less than one degree. It is
    taken to be known as well as the scatter.
    For one seed each the square of the statistic is that of McNemar's test, but for the half
    samples and for the variance, which is not taken under equality.

    Args:
        arch_id: Of the second one.
        first: Which samples each network got right, shape ``(k, n)``.
        second: Likewise ``(l, n)``, in the same order of samples.
        scatter: Of all architectures that are compared; of these two if not given.
        confidence: Of the interval.
        by_seed: Whether networks in the same row belong together, as a quantized one and that
            which it was made of; ``scatter`` is not asked then.

    Raises:
        ValueError: For another number of samples, fewer than two, or no network; with
            ``by_seed`` for another number of networks.

    References:
        Agresti & Min (2005), Simple improved confidence intervals for comparing matched
        proportions. Statistics in Medicine 24(5), 729-740.
        Satterthwaite (1946), An approximate distribution of estimates of variance
        components. Biometrics Bulletin 2(6), 110-114.
        Owen (2007), The pigeonhole bootstrap, Sec. 3: the variance of a mean over two crossed
        random factors. doi:10.1214/07-AOAS122
    """
    _check(first, second)
    n, per_seed = first.shape[1], 1 / len(first) + 1 / len(second)
    if by_seed:
        scatter, per_seed = SeedScatter.of([_differences(first, second)]), 1 / len(first)
    scatter = scatter or SeedScatter.of([first, second])
    by_sample = first.mean(axis=0) - second.mean(axis=0)
    total = float(by_sample.sum())
    # two samples more: one that only the first gets half right, one that only the second does
    sampling = (float(np.sum(by_sample**2)) + 1 - total**2 / (n + 2)) / (n + 2) ** 2
    variance = sampling + per_seed * scatter.excess
    freedom: float = n - 1
    if scatter.excess:
        of_seeds = (per_seed * scatter.variance) ** 2 / scatter.freedom
        freedom = max(variance**2 / (sampling**2 / (n - 1) + of_seeds), scatter.freedom)
    center, deviation = total / (n + 2), float(np.sqrt(variance))
    half = float(stdtrit(freedom, 0.5 + confidence / 2)) * deviation
    return AccuracyComparison(
        arch_id,
        total / n,
        max(-1.0, center - half),
        min(1.0, center + half),
        float(stdtr(freedom, center / deviation)),
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
        _check(correct[one], correct[other])
    scatter = SeedScatter.of(correct.values())
    for one, other in pairs:
        confidence = 1 - (1 - CONFIDENCE) / len(pairs)
        comparison = compare_accuracy(other, correct[one], correct[other], scatter, confidence)
        found[one].append(comparison)
        found[other].append(comparison.of_the_other(one))
    return {arch_id: _standing(comparisons) for arch_id, comparisons in found.items()}


def _standing(comparisons: Sequence[AccuracyComparison]) -> Standing:
    surest_first = sorted(comparisons, key=lambda c: -c.probability)
    return Standing(
        tuple(c for c in surest_first if c.low > 0), tuple(c for c in surest_first if c.is_tie)
    )


def _differences(first: Correct, second: Correct) -> Differences:
    if len(first) != len(second):
        raise ValueError(f"by_seed: wanted as many networks. Got {len(first)} and {len(second)}.")
    return first.astype(np.int8) - second.astype(np.int8)


def _check(first: Correct, second: Correct) -> None:
    shapes = (first.shape, second.shape)
    if any(len(shape) != 2 or shape[0] < 1 or shape[1] < 2 for shape in shapes) or (
        first.shape[1] != second.shape[1]
    ):
        raise ValueError(
            "wanted shapes (k, n) and (l, n) of at least one network on at least two samples. "
            f"Got {first.shape} and {second.shape}."
        )
