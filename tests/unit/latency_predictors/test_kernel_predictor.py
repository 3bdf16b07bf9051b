"""Latency from the sum of kernels: against a runtime whose costs are known."""

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from latency_predictors import UnknownWorkloadError
from latency_predictors.kernel_costs import KernelCosts
from latency_predictors.kernel_predictor import KernelSumPredictor
from search_spaces import Stage, Workload
from targets import KernelTime

PER_INFERENCE_S, PER_CALL_S, FACTOR = 2e-6, 2e-7, 1.05
KERNELS = [Workload("conv2d", (c, 8, 8), (c, 8, 8)) for c in range(4, 68, 4)]


def kernel_s(workload: Workload) -> float:
    return 1e-6 + 3e-8 * workload.input_shape[0] ** 1.5


def stage_of(*workloads: Workload) -> Stage:
    return Stage((1, 8, 8), None, workloads)


def latency_s(stage: Stage) -> float:
    # the input counts as a call
    calls = len(stage.workloads) + 1
    return PER_INFERENCE_S + PER_CALL_S * calls + FACTOR * sum(map(kernel_s, stage.workloads))


def timed(workloads: list[Workload]) -> KernelCosts:
    times = [[KernelTime("conv2d_0", (kernel_s(w),), "measured")] for w in workloads]
    return KernelCosts.fit([stage_of(w) for w in workloads], times)


def networks(n: int, seed: int) -> list[Stage]:
    rng = np.random.default_rng(seed)
    drawn = [rng.integers(0, len(KERNELS), rng.integers(1, 12)) for _ in range(n)]
    return [stage_of(*(KERNELS[i] for i in indices)) for indices in drawn]


def noisy(stages: list[Stage], noise: float, seed: int) -> NDArray[np.float64]:
    exact = np.array([latency_s(stage) for stage in stages])
    return exact * np.exp(noise * np.random.default_rng(seed).standard_normal(len(stages)))


def names(n: int) -> list[str]:
    return [str(i) for i in range(n)]


def test_the_costs_of_the_runtime_are_found_from_eight_networks() -> None:
    known = networks(8, 0)
    predictor = KernelSumPredictor(timed(KERNELS)).fit(known, noisy(known, 0, 0), names(8))
    wanted = (PER_INFERENCE_S, PER_CALL_S, FACTOR)
    # the ridge of a millionth bends exact data by less than this
    np.testing.assert_allclose(predictor.coefficients, wanted, rtol=0.02)
    unseen = networks(50, 1)
    predictions = predictor.predict(unseen)
    np.testing.assert_allclose(predictions.mean, noisy(unseen, 0, 0), rtol=1e-3)
    assert predictions.in_domain.all()


def test_intervals_hold_what_they_promise() -> None:
    covered = []
    for seed in range(20):
        known, unseen = networks(30, seed), networks(50, 100 + seed)
        predictor = KernelSumPredictor(timed(KERNELS))
        predictor.fit(known, noisy(known, 0.03, seed), names(30))
        found, measured = predictor.predict(unseen), noisy(unseen, 0.03, 200 + seed)
        covered.append((found.low <= measured) & (measured <= found.high))
    # 90 % promised, more with few samples: 1000 pairs in 20 fits spread by 2 %
    assert 0.86 < np.mean(covered) < 0.98


def test_kernels_never_measured_widen_the_interval_and_are_out_of_domain() -> None:
    known = [stage_of(*KERNELS[:k]) for k in range(1, 9)]
    predictor = KernelSumPredictor(timed(KERNELS[:8]))
    predictor.fit(known, noisy(known, 0.01, 0), names(8))
    measured, strange = stage_of(*KERNELS[:4]), stage_of(*KERNELS[:3], KERNELS[15])
    found = predictor.predict([measured, strange])
    np.testing.assert_array_equal(found.in_domain, [True, False])
    relative = found.std / found.mean
    assert relative[1] > 1.5 * relative[0]
    # one draw, twice as wide as anything measured: no surprise beyond three deviations
    assert abs(found.mean[1] - latency_s(strange)) < 3 * found.std[1]


def test_an_operator_never_timed_raises() -> None:
    predictor = KernelSumPredictor(timed(KERNELS))
    known = networks(8, 0)
    predictor.fit(known, noisy(known, 0, 0), names(8))
    with pytest.raises(UnknownWorkloadError, match="linear"):
        predictor.predict([stage_of(Workload("linear", (4,), (10,)))])


def test_too_few_networks_and_impossible_latencies_are_refused() -> None:
    known = networks(8, 0)
    predictor = KernelSumPredictor(timed(KERNELS))
    with pytest.raises(ValueError, match="wanted at least 5, got 4"):
        predictor.fit(known, noisy(known, 0, 0), ["a", "b", "c", "d"] * 2)
    with pytest.raises(ValueError, match="positive, finite"):
        predictor.fit(known, np.zeros(8), names(8))


def test_what_was_saved_predicts_exactly_the_same() -> None:
    known = networks(8, 0)
    predictor = KernelSumPredictor(timed(KERNELS[:12]))
    predictor.fit(known, noisy(known, 0.02, 0), names(8))
    again = KernelSumPredictor.from_dict(json.loads(json.dumps(predictor.to_dict())))
    unseen = networks(20, 3)
    assert again.predict(unseen).to_list() == predictor.predict(unseen).to_list()
