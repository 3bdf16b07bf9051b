"""What a held-out sample proves of the share of good predictions, and how many it takes."""

from __future__ import annotations

from scipy import special


def share_lower_bound(n_within: int, n: int, error_probability: float) -> float:
    """Return the one-sided lower confidence bound of a share (exact).

    Args:
        n_within: How many of the sample are within.
        n: Size of the sample.
        error_probability: Of the share being below the bound.

    References:
        Clopper & Pearson (1934), The use of confidence or fiducial limits illustrated in the
        case of the binomial. doi:10.1093/biomet/26.4.404
    """
    if n_within == 0:
        return 0.0
    return float(special.betaincinv(n_within, n - n_within + 1, error_probability))


def error_probability_of_test(number: int, total: float) -> float:
    """Return the error probability left to one of many tests, the first being number 1.

    ``total / (number (number + 1))``: over any number of tests they add up to less than
    ``total``, so that testing until one passes errs no more often than that (Bonferroni).
    """
    return total / (number * (number + 1))


def sample_needed(
    expected_share: float, wanted: float, error_probability: float, most: int
) -> int | None:
    """Return the smallest sample whose lower bound is expected to reach the wanted share.

    Args:
        expected_share: Share of the sample expected to be within.
        wanted: What the bound shall be at least.
        error_probability: Of the bound.
        most: Larger samples are none.

    Returns:
        ``None`` where no sample of at most ``most`` would do.
    """
    for n_missed in range(most):
        n = _least_sample(n_missed, wanted, error_probability, most)
        if n is None:
            return None
        if n_missed >= (1 - expected_share) * n:
            return n
    return None


def _least_sample(n_missed: int, wanted: float, error_probability: float, most: int) -> int | None:
    def reaches(n: int) -> bool:
        return share_lower_bound(n - n_missed, n, error_probability) >= wanted

    if not reaches(most):
        return None
    low, high = n_missed + 1, most
    while low < high:  # the bound grows with the sample
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(middle) else (middle + 1, high)
    return low
