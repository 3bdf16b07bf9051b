"""Paired comparison of accuracies: closed forms, coverage by simulation, ties."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from hwnas.accuracy_comparison import (
    Correct,
    SeedScatter,
    Standing,
    compare_accuracy,
    compare_all,
)


def table(both: int, only_first: int, only_second: int, neither: int) -> tuple[Correct, Correct]:
    """Return one network each that agree and differ so often."""
    first = np.repeat([True, True, False, False], [both, only_first, only_second, neither])
    second = np.repeat([True, False, True, False], [both, only_first, only_second, neither])
    return first[None], second[None]


def networks(
    rng: np.random.Generator,
    n: int,
    k: int,
    accuracy: float,
    scatter: float,
    shared: NDArray[np.float64],
) -> Correct:
    """Return k networks: samples have a difficulty that all share, and flip with the seed.

    The accuracy of one is a normal quantile of the sum of difficulty, taste of the
    architecture, luck of the seed and flips, whose variances add to ``total``.
    """
    taste, luck, flips = 0.4, scatter, 0.5
    total = np.sqrt(1 + taste**2 + luck**2 + flips**2)
    hardness = (
        shared
        + taste * rng.normal(size=n)
        + luck * rng.normal(size=(k, 1))
        + flips * rng.normal(size=(k, n))
    )
    return np.asarray(hardness < stats.norm.ppf(accuracy) * total)


@given(only_first=st.integers(0, 40), only_second=st.integers(0, 40), agreed=st.integers(50, 400))
@settings(deadline=None)
def test_one_seed_each_is_the_wald_interval_of_agresti_and_min(
    only_first: int, only_second: int, agreed: int
) -> None:
    """Their formula, from the four cells of the table with a half added to each."""
    n = agreed + only_first + only_second
    found = compare_accuracy("x", *table(agreed, only_first, only_second, 0), confidence=0.9)
    b, c = (only_first + 0.5) / (n + 2), (only_second + 0.5) / (n + 2)
    deviation = np.sqrt((b + c - (b - c) ** 2) / (n + 2))
    z = stats.t.ppf(0.95, n - 1)
    assert found.difference == pytest.approx((only_first - only_second) / n)
    assert found.low == pytest.approx(b - c - z * deviation)
    assert found.high == pytest.approx(b - c + z * deviation)
    assert found.probability == pytest.approx(stats.t.cdf((b - c) / deviation, n - 1))


def test_the_interval_is_that_of_another_programme() -> None:
    """`diffpropci.mp(b = 40, c = 20, n = 160)` of the R package PropCIs, a normal interval."""
    found = compare_accuracy("x", *table(100, 20, 40, 0))
    low, high = -0.21601726, -0.03089632
    wider = stats.t.ppf(0.975, 159) / stats.norm.ppf(0.975)
    center, half = (low + high) / 2, (high - low) / 2
    assert (found.low, found.high) == pytest.approx((center - wider * half, center + wider * half))


@pytest.mark.parametrize(("only_first", "only_second"), [(40, 20), (33, 30), (5, 0), (9, 1)])
def test_one_seed_each_is_as_sure_as_mcnemars_exact_test(only_first: int, only_second: int) -> None:
    found = compare_accuracy("x", *table(900, only_first, only_second, 50))
    flips = stats.binom(only_first + only_second, 0.5)
    # the mid-p value, which is the best approximation of a level that is met on average
    exact = flips.cdf(only_first - 1) + 0.5 * flips.pmf(only_first)
    # a normal tail beside a binomial one of 5 to 63 discordant samples
    assert found.probability == pytest.approx(exact, abs=0.012)


def test_seeds_that_scatter_add_their_variance_by_hand() -> None:
    """Four samples, two seeds: every mean is a simple fraction."""
    first = np.array([[1, 1, 1, 1], [1, 1, 0, 0]], dtype=np.bool_)
    second = np.array([[1, 0, 0, 0], [1, 0, 0, 0]], dtype=np.bool_)
    # d = 0, 1, 1/2, 1/2; two half samples more: sum 2, squares 1.5 + 1, n + 2 = 6
    sampling = (2.5 - 4 / 6) / 36
    # accuracies 1 and 1/2: variance 1/8, and none of the other; on average 1/16
    # the first's residuals are 1/4 everywhere: squares 8/16 over (2-1)(4-1) degrees, a fourth
    # of it in the mean of four samples; none of the other; on average half
    excess = 1 / 16 - (0.5 / 3) / 4 / 2
    variance = sampling + excess * (1 / 2 + 1 / 2)
    freedom = variance**2 / (sampling**2 / 3 + (1 / 16) ** 2 / 2)
    found = compare_accuracy("x", first, second, confidence=0.6)
    half = stats.t.ppf(0.8, freedom) * np.sqrt(variance)
    assert found.difference == pytest.approx(1 / 2)
    assert found.high == pytest.approx(1 / 3 + half)
    assert found.low == pytest.approx(1 / 3 - half)
    assert found.probability == pytest.approx(stats.t.cdf(1 / 3 / np.sqrt(variance), freedom))


def test_scatter_of_seeds_is_pooled_over_all_that_are_compared() -> None:
    rng = np.random.default_rng(3)
    shared = rng.normal(size=2000)
    tables = [networks(rng, 2000, k, 0.9, 0.15, shared) for k in (2, 3, 5, 1)]
    found = SeedScatter.of(tables)
    assert found.freedom == 1 + 2 + 4
    squares = sum(float(np.var(t.mean(axis=1))) * len(t) for t in tables)
    assert found.variance == pytest.approx(squares / 7)
    assert SeedScatter.of(tables[3:]) == SeedScatter(0.0, 0.0, 0)


def test_of_the_scatter_only_what_no_flips_explain_is_counted_beside_them() -> None:
    """True values by the model: a normal quantile moves by its density times the seed's luck."""
    rng = np.random.default_rng(4)
    n, luck = 500, 0.15
    tables = [networks(rng, n, 4, 0.9, luck, rng.normal(size=n)) for _ in range(300)]
    total = np.sqrt(1 + 0.4**2 + luck**2 + 0.5**2)
    moved = float(stats.norm.pdf(stats.norm.ppf(0.9))) * luck / total
    # 900 degrees of freedom know a variance to 5 %; the density is taken in the middle alone
    assert SeedScatter.of(tables).excess == pytest.approx(moved**2, rel=0.2)
    steady = [networks(rng, n, 4, 0.9, 0.0, rng.normal(size=n)) for _ in range(300)]
    assert SeedScatter.of(steady).excess < 0.1 * SeedScatter.of(steady).variance


def test_networks_that_agree_on_every_sample_are_tied_and_equally_likely_better() -> None:
    same = np.random.default_rng(0).uniform(size=(3, 200)) < 0.9
    found = compare_accuracy("x", same, same)
    assert found.difference == 0
    assert found.probability == pytest.approx(0.5)
    assert found.is_tie
    assert found.low < 0 < found.high


def test_pairing_narrows_the_interval_of_networks_that_err_alike() -> None:
    alike = compare_accuracy("x", *table(880, 20, 10, 90))
    unlike = compare_accuracy("x", *table(800, 100, 90, 10))
    assert alike.difference == unlike.difference
    assert not alike.low < unlike.low
    assert alike.high - alike.low < 0.5 * (unlike.high - unlike.low)


@given(seed=st.integers(0, 1000), k=st.integers(1, 4), other=st.integers(1, 4))
@settings(deadline=None, max_examples=40)
def test_what_one_gains_the_other_loses(seed: int, k: int, other: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.uniform(size=(k, 60)) < 0.8, rng.uniform(size=(other, 60)) < 0.7
    there = compare_accuracy("second", first, second)
    back = compare_accuracy("first", second, first).of_the_other("second")
    for name in ("difference", "low", "high", "probability"):
        assert getattr(there, name) == pytest.approx(getattr(back, name), abs=1e-12)
    assert there.arch_id == back.arch_id


@pytest.mark.parametrize(("k", "scatter"), [(1, 0.0), (3, 0.0), (3, 0.15), (5, 0.15)])
def test_intervals_cover_the_difference_over_all_seeds_and_test_sets(
    k: int, scatter: float
) -> None:
    rng = np.random.default_rng(1)
    n, repeats, gap, covered = 400, 800, 0.02, 0
    for _ in range(repeats):
        shared = rng.normal(size=n)
        first = networks(rng, n, k, 0.90 + gap, scatter, shared)
        second = networks(rng, n, k, 0.90, scatter, shared)
        found = compare_accuracy("x", first, second)
        covered += found.low <= gap <= found.high
    # 800 repeats know 0.95 to 0.008 (one deviation); seed variances of 2 degrees of freedom
    # are approximated, and erring on the wide side is allowed
    assert 0.95 - 0.02 <= covered / repeats <= 0.995


def test_an_excess_near_nothing_is_known_as_well_as_the_scatter_it_is_part_of() -> None:
    """Three seeds that scatter by hardly more than flips explain: no interval of everything."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        shared = rng.normal(size=1000)
        first, second = (networks(rng, 1000, 3, 0.9, 0.02, shared) for _ in range(2))
        found = compare_accuracy("x", first, second)
        # a few points of 2.8 deviations, those of four degrees of freedom
        assert found.high - found.low < 0.1


def test_by_seed_luck_that_networks_share_is_none_of_their_difference() -> None:
    rng = np.random.default_rng(5)
    first = networks(rng, 1000, 3, 0.8, 0.4, rng.normal(size=1000))
    second = first.copy()
    # each seed's second network gets 8 to 12 samples wrong that the first gets right
    for row, lost in zip(second, (8, 10, 12), strict=True):
        row[rng.choice(np.flatnonzero(row), lost, replace=False)] = False
    apart, together = (
        compare_accuracy("x", first, second, by_seed=by_seed) for by_seed in (False, True)
    )
    assert together.difference == apart.difference == pytest.approx(0.01)
    # three differences of 8, 10 and 12: by themselves 0.01 +- 4.3 * 0.002 / sqrt(3)
    assert 0.004 < together.low < together.high < 0.018
    assert apart.low < -0.1
    with pytest.raises(ValueError, match="by_seed: wanted as many networks"):
        compare_accuracy("x", first, second[:2], by_seed=True)


@pytest.mark.parametrize("scatter", [0.0, 0.15])
def test_intervals_by_seed_cover_the_difference(scatter: float) -> None:
    rng = np.random.default_rng(6)
    n, repeats, gap, covered = 400, 800, 0.02, 0
    for _ in range(repeats):
        shared = rng.normal(size=n)
        first = networks(rng, n, 4, 0.90 + gap, scatter, shared)
        second = networks(rng, n, 4, 0.90, scatter, shared)
        found = compare_accuracy("x", first, second, by_seed=True)
        covered += found.low <= gap <= found.high
    # as above; with four seeds a difference's scatter has three degrees of freedom
    assert 0.95 - 0.025 <= covered / repeats <= 0.995


@pytest.mark.parametrize("scatters", [(0.15,) * 6, (0.08, 0.15) * 3, (0.02,) * 6])
def test_of_equal_architectures_hardly_ever_one_is_called_better(
    scatters: tuple[float, ...],
) -> None:
    """Six of them, 15 pairs, three seeds each: also where some scatter twice as much."""
    rng = np.random.default_rng(2)
    n, repeats, wrong = 300, 400, 0
    for _ in range(repeats):
        shared = rng.normal(size=n)
        correct = {
            str(i): networks(rng, n, 3, 0.9, scatter, shared) for i, scatter in enumerate(scatters)
        }
        wrong += any(standing.better_than for standing in compare_all(correct).values())
    # 5 % for all pairs together; 400 repeats know it to 1.1 % (one deviation)
    assert wrong / repeats <= 0.05 + 2 * 0.011


def test_every_pair_is_told_once_from_each_side() -> None:
    good, _ = table(991, 0, 0, 9)
    same, bad = table(800, 190, 0, 10)
    standings = compare_all({"good": good, "same": same, "bad": bad})
    assert [c.arch_id for c in standings["good"].better_than] == ["bad"]
    assert [c.arch_id for c in standings["good"].ties_with] == ["same"]
    assert [c.arch_id for c in standings["same"].better_than] == ["bad"]
    assert [c.arch_id for c in standings["same"].ties_with] == ["good"]
    assert standings["bad"] == Standing()
    assert standings["good"].better_than[0].probability > 0.999


def test_the_more_pairs_the_wider_the_intervals() -> None:
    first, second = table(900, 24, 10, 66)
    alone = compare_all({"first": first, "second": second})
    among = compare_all({"first": first, "second": second, "third": second})
    assert [c.arch_id for c in alone["first"].better_than] == ["second"]
    # 24 against 10 is sure to 99.1 %: enough for one pair (97.5 %), not for three (99.2 %)
    assert among["first"].better_than == ()
    assert among["first"].ties_with[0].probability == alone["first"].better_than[0].probability


@pytest.mark.parametrize("count", [0, 1])
def test_who_stands_alone_is_compared_with_nobody(count: int) -> None:
    assert compare_all({"a": table(9, 0, 0, 1)[0]} if count else {}) == (
        {"a": Standing()} if count else {}
    )


def test_a_standing_survives_json() -> None:
    (good, bad), (tied, _) = table(800, 190, 0, 10), table(801, 189, 0, 10)
    for standing in compare_all({"good": good, "bad": bad, "tied": tied}).values():
        assert Standing.from_dict(json.loads(json.dumps(standing.to_dict()))) == standing


@pytest.mark.parametrize(
    ("first", "second"), [((1, 5), (1, 6)), ((0, 5), (1, 5)), ((1, 1), (1, 1)), ((5,), (5,))]
)
def test_tables_that_do_not_fit_are_refused(
    first: tuple[int, ...], second: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=r"wanted shapes \(k, n\) and \(l, n\)"):
        compare_accuracy("x", np.ones(first, np.bool_), np.ones(second, np.bool_))
