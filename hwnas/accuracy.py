"""How far an accuracy can be trusted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats


def wilson_interval(right: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion.

    ``(p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)``.

    Args:
        right: Successes, 0 to n.
        n: Trials, at least 1.
        confidence: Coverage.

    Raises:
        ValueError: If ``right`` or ``n`` is out of range.

    References:
        Wilson (1927), Probable inference, the law of succession, and
        statistical inference. doi:10.1080/01621459.1927.10502953
    """
    if n < 1 or not 0 <= right <= n:
        raise ValueError(f"wanted 0 <= right <= n and n >= 1. Got right={right}, n={n}.")
    z = float(stats.norm.ppf(0.5 + confidence / 2))
    p = right / n
    center = p + z**2 / (2 * n)
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    # it holds p, which rounding would leave out at 0 and 1
    return (
        max(0.0, min(p, float((center - half) / (1 + z**2 / n)))),
        min(1.0, max(p, float((center + half) / (1 + z**2 / n)))),
    )


def mean_accuracy_interval(
    accuracies: Sequence[float], n: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Return an interval of the mean accuracy over seeds on one test set.

    Two errors add: which seeds were drawn (t-interval over the k seeds) and
    which samples the test set holds (Wilson, shared by all seeds, since they
    are judged on the same samples). Their half-widths add in squares on each
    side of the mean.

    Args:
        accuracies: One per seed, k >= 2.
        n: Samples of the test set.
        confidence: Coverage.

    Raises:
        ValueError: For fewer than two seeds.
    """
    k = len(accuracies)
    if k < 2:
        raise ValueError(f"an interval over seeds needs at least 2 of them. Got {k}.")
    mean = float(np.mean(accuracies))
    seeds = seed_half_width(accuracies, confidence)
    low, high = wilson_interval(round(mean * n), n, confidence)
    # the rounded count moves Wilson's center a little away from the mean
    below, above = max(0.0, mean - low), max(0.0, high - mean)
    return (
        max(0.0, mean - float(np.hypot(seeds, below))),
        min(1.0, mean + float(np.hypot(seeds, above))),
    )


def seed_half_width(values: Sequence[float], confidence: float = 0.95) -> float:
    """Return half the width of the t-interval of a mean over seeds.

    Args:
        values: One per seed, k >= 2.
        confidence: Coverage.
    """
    k = len(values)
    scatter = float(np.std(values, ddof=1) / np.sqrt(k))
    return float(stats.t.ppf(0.5 + confidence / 2, k - 1)) * scatter


def difference_interval(
    first: float, n_first: int, second: float, n_second: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Return an interval of the difference of two accuracies on different samples.

    The distances of each accuracy to the ends of its Wilson interval add in squares.
    Of means over several networks, whose errors differ in part, it is wider than need be.

    Args:
        first: An accuracy.
        n_first: Samples it was judged on.
        second: The accuracy that is taken off.
        n_second: Samples it was judged on, others than those.
        confidence: Coverage.

    References:
        Newcombe (1998), Interval estimation for the difference between independent
        proportions, method 10. Statistics in Medicine 17, 873-890.
    """
    low_1, high_1 = wilson_interval(round(first * n_first), n_first, confidence)
    low_2, high_2 = wilson_interval(round(second * n_second), n_second, confidence)
    below = np.hypot(first - low_1, high_2 - second)
    above = np.hypot(high_1 - first, second - low_2)
    return first - second - float(below), first - second + float(above)
