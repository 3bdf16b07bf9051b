"""Intervals of accuracies: closed forms, and coverage by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hwnas.accuracy import difference_interval, mean_accuracy_interval, wilson_interval


@given(n=st.integers(1, 10_000), share=st.floats(0, 1), confidence=st.floats(0.5, 0.999))
@settings(max_examples=200, deadline=None)
def test_wilson_is_scipys(n: int, share: float, confidence: float) -> None:
    right = round(share * n)
    test = stats.binomtest(right, n)
    wanted = test.proportion_ci(confidence_level=confidence, method="wilson")
    assert wilson_interval(right, n, confidence) == pytest.approx(tuple(wanted), abs=1e-9)


def test_wilson_has_its_closed_forms_at_the_ends_and_in_the_middle() -> None:
    z2 = stats.norm.ppf(0.975) ** 2
    assert wilson_interval(0, 10) == pytest.approx((0, z2 / (10 + z2)))
    assert wilson_interval(10, 10) == pytest.approx((10 / (10 + z2), 1))
    half = 0.5 * np.sqrt(z2 / (100 + z2))
    assert wilson_interval(50, 100) == pytest.approx((0.5 - half, 0.5 + half))


@pytest.mark.parametrize(("right", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_impossible_counts(right: int, n: int) -> None:
    with pytest.raises(ValueError, match=f"Got right={right}, n={n}"):
        wilson_interval(right, n)


@pytest.mark.parametrize("p", [0.6, 0.9, 0.97])
@pytest.mark.parametrize("n", [200, 1000])
def test_wilson_covers_the_truth_as_often_as_it_says(p: float, n: int) -> None:
    # exact, not simulated: the probabilities of all counts whose interval holds p
    intervals = [wilson_interval(count, n) for count in range(n + 1)]
    inside = np.array([low <= p <= high for low, high in intervals])
    coverage = float(stats.binom.pmf(np.arange(n + 1), n, p)[inside].sum())
    # counts are whole, so that the coverage oscillates around the nominal one
    assert coverage == pytest.approx(0.95, abs=0.015)


def test_over_seeds_the_two_errors_add_in_squares() -> None:
    accuracies, n = [0.90, 0.92, 0.94], 500
    low, high = mean_accuracy_interval(accuracies, n)
    seeds = stats.t.ppf(0.975, 2) * 0.02 / np.sqrt(3)
    of_test_set = stats.binomtest(460, 500).proportion_ci(0.95, method="wilson")
    assert low == pytest.approx(0.92 - np.hypot(seeds, 0.92 - of_test_set.low))
    assert high == pytest.approx(min(1, 0.92 + np.hypot(seeds, of_test_set.high - 0.92)))


def test_equal_seeds_leave_the_error_of_the_test_set() -> None:
    assert mean_accuracy_interval([0.8, 0.8, 0.8], 100) == pytest.approx(wilson_interval(80, 100))


@given(
    right=st.lists(st.integers(0, 300), min_size=2, max_size=6),
    n=st.integers(300, 400),
    confidence=st.floats(0.5, 0.99),
)
@settings(deadline=None)
def test_an_interval_over_seeds_holds_the_mean_and_stays_a_share(
    right: list[int], n: int, confidence: float
) -> None:
    accuracies = [r / n for r in right]
    low, high = mean_accuracy_interval(accuracies, n, confidence)
    assert 0 <= low <= np.mean(accuracies) <= high <= 1
    wider = mean_accuracy_interval(accuracies, n, 0.999)
    assert wider[0] <= low + 1e-12
    assert wider[1] >= high - 1e-12


@pytest.mark.parametrize("accuracies", [[], [0.9]])
def test_an_interval_over_fewer_than_two_seeds_is_refused(accuracies: list[float]) -> None:
    with pytest.raises(ValueError, match=f"needs at least 2 of them. Got {len(accuracies)}"):
        mean_accuracy_interval(accuracies, 100)


@pytest.mark.parametrize("seed_deviation", [0.0, 0.01, 0.03])
@pytest.mark.parametrize("k", [3, 5])
def test_an_interval_over_seeds_covers_the_mean_of_all_seeds_and_test_sets(
    seed_deviation: float, k: int
) -> None:
    """Nets agree on most samples: a sample has a difficulty that all seeds share."""
    rng = np.random.default_rng(0)
    n, skill, repeats = 400, 0.9, 600
    covered = 0
    for _ in range(repeats):
        difficulty = rng.uniform(size=n)
        skills = skill + seed_deviation * rng.normal(size=k)
        accuracies = [float(np.mean(difficulty < s)) for s in skills]
        low, high = mean_accuracy_interval(accuracies, n)
        covered += low <= skill <= high
    # 600 repeats know a coverage of 0.95 to 0.009 (one deviation); more than it says is allowed
    assert covered / repeats >= 0.95 - 2.5 * 0.009


@pytest.mark.parametrize(
    ("right", "n", "interval"),
    [
        ((56, 48), (70, 80), (0.0524, 0.3339)),
        ((9, 3), (10, 10), (0.1705, 0.8090)),
        ((10, 0), (10, 10), (0.6075, 1.0)),
    ],
)
def test_the_interval_of_a_difference_is_the_published_one(
    right: tuple[int, int], n: tuple[int, int], interval: tuple[float, float]
) -> None:
    """Newcombe (1998), Table II, method 10; four digits are printed there."""
    found = difference_interval(right[0] / n[0], n[0], right[1] / n[1], n[1])
    assert found == pytest.approx(interval, abs=5e-5)
