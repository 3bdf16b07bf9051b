"""Bounds of shares against the binomial law, and sample sizes against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from latency_predictors.held_out import (
    error_probability_of_test,
    sample_needed,
    share_lower_bound,
)


@given(st.integers(1, 300), st.floats(0, 1), st.floats(0.001, 0.2))
def test_at_the_bound_so_many_within_are_as_rare_as_the_error_probability(
    n: int, fraction: float, probability: float
) -> None:
    n_within = max(1, round(fraction * n))
    bound = share_lower_bound(n_within, n, probability)
    # the definition of Clopper and Pearson; to the precision of the quantile's inversion
    assert stats.binom.sf(n_within - 1, n, bound) == pytest.approx(probability, rel=1e-6)


def test_without_a_single_hit_nothing_is_sure() -> None:
    assert share_lower_bound(0, 40, 0.05) == 0.0


def test_fifty_nine_of_fifty_nine_prove_95_per_cent_and_one_less_does_not() -> None:
    assert 0.95**59 < 0.05 < 0.95**58
    assert sample_needed(1.0, 0.95, 0.05, 1000) == 59


@pytest.mark.parametrize("expected", [0.999, 0.98, 0.97])
@pytest.mark.parametrize("wanted", [0.8, 0.9, 0.95])
def test_the_sample_needed_is_the_smallest_by_brute_force(expected: float, wanted: float) -> None:
    smallest = next(
        n
        for n in range(1, 2000)
        if share_lower_bound(n - int(np.ceil((1 - expected) * n - 1e-9)), n, 0.05) >= wanted
    )
    assert sample_needed(expected, wanted, 0.05, 2000) == smallest


def test_a_share_that_is_not_expected_cannot_be_proved() -> None:
    assert sample_needed(0.94, 0.95, 0.05, 1000) is None
    assert sample_needed(1.0, 0.95, 0.05, 58) is None


def test_all_tests_together_err_no_more_than_the_total() -> None:
    assert sum(error_probability_of_test(i, 0.05) for i in range(1, 10_000)) < 0.05


def test_testing_until_one_passes_seldom_passes_a_share_that_is_too_small() -> None:
    """Batches of 20 are judged until a test passes; the true share is just below the wish."""
    rng = np.random.default_rng(0)
    n_passed, n_trials = 0, 1000
    for _ in range(n_trials):
        within = np.cumsum(rng.random(300) < 0.9)
        for test, n in enumerate(range(40, 301, 20), start=1):
            probability = error_probability_of_test(test, 0.05)
            if share_lower_bound(int(within[n - 1]), n, probability) >= 0.9:
                n_passed += 1
                break
    # 5 % at most; 0.07 is three standard deviations of so many trials above
    assert n_passed / n_trials < 0.07
