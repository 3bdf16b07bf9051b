"""Rank correlations against scipy's and hand counts; intervals and thresholds by simulation."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hwnas.candidate_training import LearningCurve, SplitResult, TrainingOutcome
from hwnas.ranking_quality import (
    CandidateScores,
    RankingSample,
    cross_seed,
    kendall,
    rank_quality,
    resolvable_difference,
    resolvable_share,
    spearman,
)

VALUES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=12)


@given(VALUES)
def test_correlations_are_those_of_scipy_ties_included(pairs: list[tuple[int, int]]) -> None:
    x, y = np.array(pairs, dtype=np.float64).T
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        wanted = stats.spearmanr(x, y).statistic, stats.kendalltau(x, y).statistic
    np.testing.assert_allclose([spearman(x, y), kendall(x, y)], wanted, atol=1e-12)


def test_rows_are_correlated_one_by_one() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 3, 4, 8))
    for correlate in (spearman, kendall):
        together = correlate(x, y)
        assert together.shape == (3, 4)
        assert together[1, 2] == pytest.approx(correlate(x[1, 2], y[1, 2]), abs=1e-12)


def test_a_training_is_never_compared_with_its_own_accuracy() -> None:
    accuracy = np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]])
    everything = np.arange(3)[None]
    # each seed orders them the other way round
    assert cross_seed(spearman, accuracy, accuracy, everything) == pytest.approx(-1)
    # a score without seed is compared with both: they cancel
    assert cross_seed(spearman, accuracy[:, 0], accuracy, everything) == pytest.approx(0)


def test_a_score_that_orders_as_all_trainings_do_has_correlation_one() -> None:
    accuracy = np.linspace(0.5, 0.9, 16)[:, None] + np.zeros(2)
    found = rank_quality(CandidateScores("x", np.exp(np.arange(16.0)), 1.0), accuracy, 0)
    for estimate in (found.spearman, found.kendall):
        assert (estimate.value, estimate.low, estimate.high) == pytest.approx((1, 1, 1))


def test_intervals_cover_the_truth_nearly_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    true, n, repeats = 0.6, 16, 200
    covered = 0
    for repeat in range(repeats):
        truth = rng.normal(size=n)
        score = true * truth + np.sqrt(1 - true**2) * rng.normal(size=n)
        found = rank_quality(CandidateScores("x", score, 1.0), truth[:, None], repeat).spearman
        # of two Gaussians: Pearson (1907); 6 / pi * asin(r / 2)
        covered += found.low <= 6 / np.pi * np.arcsin(true / 2) <= found.high
    # nominal 0.95; percentile intervals of 16 points are known to be too short
    assert covered / repeats > 0.87


def curve(seed: int, *accuracy: float) -> LearningCurve:
    return LearningCurve(seed, (1, 3, 9), accuracy, (1.0, 3.0, 9.0 + seed))


def outcome(*curves: LearningCurve) -> TrainingOutcome:
    return TrainingOutcome(validation=SplitResult(50, 0.5, (0.5,), (1.0,)), curves=curves)


def test_a_sample_holds_accuracies_by_seed_and_rung() -> None:
    sample = RankingSample.of(
        [
            outcome(curve(0, 0.1, 0.2, 0.3), curve(1, 0.4, 0.5, 0.6)),
            outcome(curve(0, 0.2, 0.3, 0.4), curve(1, 0.5, 0.6, 0.7)),
            outcome(curve(0, 0.2, 0.2, 0.2)),  # its second training diverged
            TrainingOutcome(failure="diverged"),
            outcome(curve(0, 0.3, 0.4, 0.5), curve(1, 0.6, 0.7, 0.8)),
        ]
    )
    assert sample.accuracy.tolist() == [[0.3, 0.6], [0.4, 0.7], [0.5, 0.8]]
    assert [r.name for r in sample.rungs] == ["1 of 9 epochs", "3 of 9 epochs", "full training"]
    assert sample.rungs[1].values.tolist() == [[0.2, 0.5], [0.3, 0.6], [0.4, 0.7]]
    assert [r.cpu_s for r in sample.rungs] == pytest.approx([1, 3, 9.5])
    assert sample.n_judged == 50


def test_too_few_trainings_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 3 architectures with 2 seeds"):
        RankingSample.of([outcome(curve(0, 0.1, 0.2, 0.3))] * 5)


def test_the_resolvable_difference_is_the_closed_form() -> None:
    # scatter between seeds: variance 0.0002 of every architecture; p = 0.5
    accuracy = np.array([[0.49, 0.51]] * 10)
    t = stats.t.ppf(0.975, 10)
    wanted = t * np.sqrt(2 * (0.0002 / 3 + 0.25 / 1000))
    assert resolvable_difference(accuracy, 1000, 3) == pytest.approx(wanted)


def test_architectures_that_do_not_differ_are_told_apart_no_oftener_than_stated() -> None:
    rng = np.random.default_rng(2)
    seen = []
    for _ in range(200):
        # judged on samples of their own, with scatter between seeds beside
        p = 0.8 + 0.02 * rng.normal(size=(16, 2))
        accuracy = rng.binomial(200, p) / 200
        seen.append(resolvable_share(RankingSample(accuracy, (), 200)))
    # the scatter between seeds holds the sampling error already: both are counted
    assert np.mean(seen) < 0.05


def test_architectures_far_apart_are_told_apart() -> None:
    accuracy = np.linspace(0.1, 0.9, 5)[:, None] + np.array([0.0, 0.01])
    assert resolvable_share(RankingSample(accuracy, (), 1000)) == 1
