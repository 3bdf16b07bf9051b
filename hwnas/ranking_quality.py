"""How well scores rank architectures, against the ceiling that training again sets.

Truth is an accuracy that another seed gave: what shares a training with the truth would be
flattered by it. The ceiling is how well one full training ranks another one's accuracies, r: what
a training can tell. A score without any noise of its own could reach the root of r, no more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from hwnas.candidate_training import TrainingOutcome

_RESAMPLES = 1000
_Correlation: TypeAlias = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True)
class Estimate:
    """A value with the ends of its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class CandidateScores:
    """What one score says of n architectures; more is better.

    Args:
        name: What tables call it.
        values: Shape ``(n,)``, or ``(n, k)`` where each of k trainings has its own.
        cpu_s: Processor seconds per architecture.
        once_cpu_s: Processor seconds before the first one.
    """

    name: str
    values: NDArray[np.float64]
    cpu_s: float
    once_cpu_s: float = 0.0


@dataclass(frozen=True)
class RankQuality:
    """How well a score ranks accuracies that it has no part in.

    Args:
        name: Of the score.
        cpu_s: Processor seconds per architecture.
        spearman: Spearman's rank correlation.
        kendall: Kendall's tau-b.
    """

    name: str
    cpu_s: float
    spearman: Estimate
    kendall: Estimate


@dataclass(frozen=True)
class RankingSample:
    """Architectures trained fully with several seeds each.

    Args:
        accuracy: Shape ``(n, k)``: of each architecture with each seed.
        rungs: The same at each rung of successive halving, the last one being ``accuracy``.
        n_judged: Samples of the split that accuracies were measured on.
    """

    accuracy: NDArray[np.float64]
    rungs: tuple[CandidateScores, ...]
    n_judged: int

    @property
    def full(self) -> CandidateScores:
        """Full training as a score: the ceiling."""
        return self.rungs[-1]

    @classmethod
    def of(cls, outcomes: Sequence[TrainingOutcome]) -> RankingSample:
        """Collect what reseeded trainings have shown.

        Args:
            outcomes: Of `ReseededTraining`. Those that lack a seed are left out.

        Raises:
            ValueError: If fewer than three are left, or they have one seed only.
        """
        most = max((len(o.curves) for o in outcomes), default=0)
        kept = [o for o in outcomes if len(o.curves) == most and o.validation is not None]
        if len(kept) < 3 or most < 2:
            raise ValueError(
                f"wanted at least 3 architectures with 2 seeds or more. "
                f"Got {len(kept)} with {most}."
            )
        # architectures x seeds x rungs
        accuracy = np.array([[c.accuracy for c in o.curves] for o in kept])
        cpu_s = np.array([[c.cpu_s for c in o.curves] for o in kept]).mean(axis=(0, 1))
        epochs = kept[0].curves[0].epochs
        rungs = tuple(
            CandidateScores(_rung_name(epoch, epochs[-1]), accuracy[:, :, i], float(cpu_s[i]))
            for i, epoch in enumerate(epochs)
        )
        n_judged = next(o.validation.n for o in kept if o.validation is not None)
        return cls(accuracy[:, :, -1], rungs, n_judged)


def rank_quality(
    scores: CandidateScores,
    accuracy: NDArray[np.float64],
    seed: int,
    confidence: float = 0.95,
) -> RankQuality:
    """Return rank correlations of a score with accuracies, with bootstrap intervals.

    Means over the pairs of a score's training and another seed's accuracy. Percentile
    intervals over architectures drawn with replacement; with 16 of them they cover somewhat
    less than they say. Draws in which everything ties are left out; where it does in all, the
    interval is NaN.

    Args:
        scores: Of n architectures.
        accuracy: Shape ``(n, k)``.
        seed: Of the bootstrap; one seed draws the same architectures for every score.
        confidence: Nominal coverage.

    References:
        Efron & Tibshirani (1993), An Introduction to the Bootstrap, Ch. 13.
    """
    n = len(accuracy)
    drawn = np.vstack([np.arange(n), resampled(n, _RESAMPLES, seed)])
    tails = [50 * (1 - confidence), 50 * (1 + confidence)]
    estimates = []
    for correlate in (spearman, kendall):
        all_of_them = cross_seed(correlate, scores.values, accuracy, drawn)
        found = all_of_them[1:][~np.isnan(all_of_them[1:])]
        low, high = np.percentile(found, tails) if len(found) else (np.nan, np.nan)
        estimates.append(Estimate(float(all_of_them[0]), float(low), float(high)))
    return RankQuality(scores.name, scores.cpu_s, *estimates)


def resampled(n: int, resamples: int, seed: int) -> NDArray[np.intp]:
    """Return rows drawn with replacement, shape ``(resamples, n)``."""
    return np.random.default_rng(seed).integers(n, size=(resamples, n), dtype=np.intp)


def cross_seed(
    correlate: _Correlation,
    values: NDArray[np.float64],
    accuracy: NDArray[np.float64],
    drawn: NDArray[np.intp],
) -> NDArray[np.float64]:
    """Return the mean correlation of a score with accuracies of other trainings.

    Args:
        correlate: `spearman` or `kendall`.
        values: Shape ``(n,)``, or ``(n, k)`` where trainings have their own.
        accuracy: Shape ``(n, k)``.
        drawn: Rows to correlate, shape ``(b, m)``.

    Returns:
        Shape ``(b,)``; NaN where all values tie.
    """
    k = accuracy.shape[1]
    if values.ndim == 1:
        pairs = [(values, accuracy[:, j]) for j in range(k)]
    else:
        pairs = [(values[:, i], accuracy[:, j]) for i, j in permutations(range(k), 2)]
    rows = [correlate(x[drawn], y[drawn]) for x, y in pairs]
    return np.asarray(np.mean(rows, axis=0), dtype=np.float64)


def spearman(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Spearman's rank correlation of the last axes; NaN where all values of one tie."""
    return pearson(stats.rankdata(x, axis=-1), stats.rankdata(y, axis=-1))


def kendall(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Kendall's tau-b of the last axes; NaN where all values of one tie.

    References:
        Kendall (1945), The treatment of ties in ranking problems. doi:10.1093/biomet/33.3.239
    """
    signs = [np.sign(v[..., :, None] - v[..., None, :]) for v in (x, y)]
    agreement = (signs[0] * signs[1]).sum(axis=(-1, -2))
    norms = [(s != 0).sum(axis=(-1, -2)) for s in signs]
    return _ratio(agreement, np.sqrt(norms[0] * norms[1]))


def pearson(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the linear correlation of the last axes; NaN where one does not vary."""
    x, y = (v - v.mean(axis=-1, keepdims=True) for v in (x, y))
    return _ratio((x * y).sum(axis=-1), np.sqrt((x**2).sum(axis=-1) * (y**2).sum(axis=-1)))


def resolvable_difference(
    accuracy: NDArray[np.float64], n_judged: int, seeds: int, confidence: float = 0.95
) -> float:
    """Return the least difference of accuracy that tells two architectures apart.

    ``t sqrt(2 (s^2 / seeds + p (1 - p) / n))``: s is the scatter between seeds, pooled over
    architectures, p the mean accuracy on n samples. That two networks are judged on the same
    samples is not made use of, so that it is rather too large.

    Args:
        accuracy: Shape ``(n, k)``, k at least 2.
        n_judged: Samples that accuracies were measured on.
        seeds: Over how many seeds the accuracies to be compared are means.
        confidence: Chance not to see such a difference where there is none.
    """
    n, k = accuracy.shape
    scatter = float(accuracy.var(axis=1, ddof=1).mean())
    p = float(accuracy.mean())
    t = float(stats.t.ppf(0.5 + confidence / 2, n * (k - 1)))
    return t * float(np.sqrt(2 * (scatter / seeds + p * (1 - p) / n_judged)))


def resolvable_share(sample: RankingSample, confidence: float = 0.95) -> float:
    """Return which share of pairs of architectures the trainings of a sample tell apart.

    About ``1 - confidence`` of them seem to be where no two architectures differ.
    """
    accuracy = sample.accuracy
    least = resolvable_difference(accuracy, sample.n_judged, accuracy.shape[1], confidence)
    mean = accuracy.mean(axis=1)
    first, second = np.triu_indices(len(mean), 1)
    return float(np.mean(np.abs(mean[first] - mean[second]) > least))


def _ratio(top: NDArray[np.float64], bottom: NDArray[np.float64]) -> NDArray[np.float64]:
    varies = np.asarray(bottom) > 0
    return np.where(varies, top / np.where(varies, bottom, 1.0), np.nan)


def _rung_name(epoch: int, last: int) -> str:
    return "full training" if epoch == last else f"{epoch} of {last} epochs"
