"""The optimism of what candidates were chosen by, against a simulated choice."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from hwnas.accuracy import difference_interval
from hwnas.exit_policy import ExitPolicy
from hwnas.front import Candidate, Deployment, Metric
from hwnas.selection_bias import validation_optimism
from search_spaces import Architecture


def finalist(searched: float, retrained: float, test: float) -> Candidate:
    metrics = {
        "search_validation_accuracy": Metric(searched),
        "validation_accuracy": Metric(retrained),
        "accuracy": Metric(test),
    }
    return Candidate(
        0, Architecture("toy", ()), metrics, Deployment("", 0, ExitPolicy(()), (1.0,), 0.0)
    )


def test_of_finalists_each_step_is_a_mean_and_the_losses_are_differences() -> None:
    found = validation_optimism(
        [finalist(0.96, 0.93, 0.90), finalist(0.94, 0.93, 0.92), finalist(0.95, 0.93, 0.91)],
        n_validation=400,
        n_test=500,
    )
    assert found is not None
    assert found.finalists == 3
    means = (found.searched, found.retrained, found.test)
    assert means == pytest.approx((0.95, 0.93, 0.91))
    assert found.by_choice.value == pytest.approx(0.02)
    # three differences of 0.03, 0.01, 0.02: deviation 0.01
    half = stats.t.ppf(0.975, 2) * 0.01 / np.sqrt(3)
    assert found.by_choice.low == pytest.approx(0.02 - half)
    assert found.by_choice.high == pytest.approx(0.02 + half)
    assert (found.by_samples.low, found.by_samples.high) == difference_interval(
        found.retrained, 400, found.test, 500
    )


def test_a_single_finalist_has_no_scatter_to_tell_an_interval_by() -> None:
    found = validation_optimism([finalist(0.96, 0.93, 0.90)], 400, 500)
    assert found is not None
    assert found.by_choice.to_dict() == {"value": pytest.approx(0.03)}
    assert "low" in found.to_dict()["by_samples"]


def test_without_a_retrained_candidate_nothing_is_known() -> None:
    chosen = finalist(0.96, 0.93, 0.90)
    metrics = {k: v for k, v in chosen.metrics.items() if k != "search_validation_accuracy"}
    only_searched = Candidate(0, chosen.architecture, metrics, chosen.deployment)
    assert validation_optimism([only_searched], 400, 500) is None
    assert validation_optimism([], 400, 500) is None


def test_the_interval_holds_how_far_choosing_the_luckiest_flatters() -> None:
    """60 architectures of equal skill: all that the best of them stand out by is luck."""
    rng = np.random.default_rng(0)
    n_found, luck, seeds, held, flattery = 400, 0.01, 3, 0, []
    for _ in range(n_found):
        searched = np.sort(0.9 + luck * rng.normal(size=60))[-5:]
        retrained = 0.9 + luck * rng.normal(size=(5, seeds)).mean(axis=1)
        found = validation_optimism(
            [finalist(s, r, 0.9) for s, r in zip(searched, retrained, strict=True)], 10**6, 10**6
        )
        assert found is not None
        assert found.by_choice.low is not None
        assert found.by_choice.high is not None
        truth = float(searched.mean()) - 0.9
        held += found.by_choice.low <= truth <= found.by_choice.high
        flattery.append(found.by_choice.value)
    # the five largest of 60 normal numbers are 1.8 deviations up on average
    quantiles = stats.norm.ppf((np.arange(56, 61) - 0.375) / 60.25)
    assert np.mean(flattery) == pytest.approx(luck * quantiles.mean(), rel=0.05)
    # 400 repeats know 0.95 to 0.011; the chosen differ from each other, which widens it
    assert held / n_found >= 0.95 - 2.5 * 0.011
