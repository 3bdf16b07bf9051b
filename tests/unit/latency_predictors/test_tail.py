"""P99 of paths, with bounds that hold as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import lognorm

from latency_predictors import MeasuredArchitecture, Predictions
from latency_predictors.tail import TailRatio, path_p99_s, worst_p99_bound_s
from search_spaces import Architecture
from targets import MeasureConfig, Measurement

SIGMA = 0.3
"""Of the logarithm of latencies: P99 is about twice the median."""


def measured(*stages: np.ndarray) -> MeasuredArchitecture:
    measurements = tuple(
        Measurement("board", "m", "a", tuple(samples.tolist()), 1, 1, MeasureConfig(), "measured")
        for samples in stages
    )
    return MeasuredArchitecture(Architecture("toy", ()), ((),) * len(stages), measurements)


def latencies(rng: np.random.Generator, n: int, sigma: float = SIGMA) -> np.ndarray:
    return 1e-3 * np.exp(sigma * rng.standard_normal(n))


def test_the_p99_of_one_stage_is_that_of_its_samples() -> None:
    samples = latencies(np.random.default_rng(0), 1000)
    # 20,000 draws from them: a relative error of a few percent
    assert path_p99_s(measured(samples)) == pytest.approx(np.percentile(samples, 99), rel=0.05)


def test_the_p99_of_a_path_is_less_than_the_sum_of_those_of_its_stages() -> None:
    rng = np.random.default_rng(0)
    one, two = latencies(rng, 2000), latencies(rng, 2000)
    exact = np.percentile(latencies(rng, 10**6) + latencies(rng, 10**6), 99)
    # both come from samples, of 2,000 and of a million
    assert path_p99_s(measured(one, two)) == pytest.approx(exact, rel=0.06)
    assert exact < 0.93 * (np.percentile(one, 99) + np.percentile(two, 99))


def test_samples_that_leave_early_take_no_later_stage() -> None:
    one, two = np.full(200, 1e-3), np.full(200, 3e-3)
    assert path_p99_s(measured(one, two)) == pytest.approx(4e-3)
    assert path_p99_s(measured(one, two), [1.0, 0.0]) == pytest.approx(1e-3)


@pytest.mark.parametrize("n_stages", [1, 2])
def test_the_bound_of_the_p99_holds_as_often_as_it_says(n_stages: int) -> None:
    rng = np.random.default_rng(1)
    true_p99 = float(
        np.percentile(latencies(rng, 10**6 * n_stages).reshape(n_stages, -1).sum(0), 99)
    )
    trials = 400
    held = 0
    for _ in range(trials):
        bound = worst_p99_bound_s(measured(*(latencies(rng, 1200) for _ in range(n_stages))))
        assert bound is not None
        held += bound >= true_p99
    # three standard deviations of a binomial count below 95 %
    assert held >= trials * 0.95 - 3 * np.sqrt(trials * 0.95 * 0.05)


def test_too_few_samples_bound_no_p99() -> None:
    # 0.99^299 is the first power below 5 %: then the slowest of them is a bound
    samples = np.arange(1, 300) * 1e-6
    assert 0.99**299 < 0.05 < 0.99**298
    assert worst_p99_bound_s(measured(samples[:298])) is None
    assert worst_p99_bound_s(measured(samples)) == samples[-1]


def test_the_ratio_of_lognormal_latencies_is_the_closed_form() -> None:
    rng = np.random.default_rng(0)
    found = TailRatio.fit([measured(latencies(rng, 2000)) for _ in range(20)])
    assert found is not None
    exact = float(lognorm.ppf(0.99, SIGMA))
    # a P99 of 2,000 samples errs by 3 %, that of 20 such by less
    assert found.typical == pytest.approx(exact, rel=0.03)
    assert found.low < found.typical < found.high


def test_the_ratio_of_a_new_architecture_stays_below_the_upper_end_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    trials, held = 200, 0
    for _ in range(trials):
        # tails differ between architectures
        items = [measured(latencies(rng, 100, sigma)) for sigma in rng.uniform(0.1, 0.5, size=25)]
        found = TailRatio.fit(items[:-1])
        assert found is not None
        held += path_p99_s(items[-1]) / items[-1].latency_s <= found.high
    assert held >= trials * 0.95 - 3 * np.sqrt(trials * 0.95 * 0.05)


def test_few_inferences_or_few_architectures_tell_no_ratio() -> None:
    rng = np.random.default_rng(0)
    assert TailRatio.fit([measured(latencies(rng, 99)) for _ in range(20)]) is None
    assert TailRatio.fit([measured(latencies(rng, 100)) for _ in range(7)]) is None
    assert TailRatio.fit([measured(latencies(rng, 100)) for _ in range(8)]) is not None


def test_predictions_of_the_p99_join_the_ends_of_median_and_ratio() -> None:
    ones = np.ones(1)
    latency = Predictions(2e-3 * ones, 0.2e-3 * ones, 1e-3 * ones, 4e-3 * ones, ones > 0)
    p99 = TailRatio(typical=1.5, low=1.25, high=2.0, log_std=0.0).p99(latency).to_list()[0]
    assert (p99.mean, p99.low, p99.high) == pytest.approx((3e-3, 1.25e-3, 8e-3))
    assert p99.std == pytest.approx(0.3e-3)


def test_a_ratio_survives_its_json_form() -> None:
    ratio = TailRatio(1.5, 1.25, 2.0, 0.1)
    assert TailRatio.from_dict(ratio.to_dict()) == ratio
