"""Costs of kernels: measured ones by hand, others against a law that is known."""

import json
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latency_predictors import UnknownWorkloadError
from latency_predictors.kernel_costs import KernelCosts
from latency_predictors.kernel_segments import segments
from search_spaces import Stage, Workload, bytes_moved, macs
from targets import KernelTime

POOL = Workload("global_avg_pool", (16, 8, 8), (16, 1, 1))


def conv(n_in: int, n_out: int, size: int = 8) -> Workload:
    return Workload("conv2d", (n_in, size, size), (n_out, size, size))


def stage_of(*workloads: Workload) -> Stage:
    return Stage((1, 8, 8), None, workloads)


def time(kernel: str, *samples_s: float) -> KernelTime:
    return KernelTime(kernel, samples_s, "measured")


def law_s(workload: Workload) -> float:
    """A roofline without corners: 1 us per call, 1 GMAC/s, 4 GB/s."""
    return 1e-6 + macs(workload) / 1e9 + bytes_moved(workload) / 4e9


def learned(workloads: Sequence[Workload], noise: float = 0.0) -> KernelCosts:
    rng = np.random.default_rng(0)
    times = [
        [time("conv2d_0", law_s(w) * float(np.exp(noise * rng.standard_normal())))]
        for w in workloads
    ]
    return KernelCosts.fit([stage_of(w) for w in workloads], times)


GRID = [conv(a, b) for a in (4, 8, 16, 32, 64) for b in (4, 8, 16, 32, 64)]


def test_measured_kernels_cost_what_was_measured() -> None:
    stage = stage_of(conv(1, 16), POOL)
    times = [time("transpose_0", 1.0), time("conv2d_1", 3.0, 2.0, 9.0), time("mean_2", 0.5)]
    costs = KernelCosts.fit([stage], [times])
    (total,), _ = costs.network_s([stage])
    assert total == 1.0 + 3.0 + 0.5
    assert costs.n_measured == costs.n_measured_of(stage) == 3


def test_a_kernel_that_is_called_twice_costs_twice() -> None:
    once, twice = stage_of(conv(8, 8)), stage_of(conv(8, 8), conv(8, 8))
    costs = KernelCosts.fit([once], [[time("conv2d_0", 2.0)]])
    totals, _ = costs.network_s([once, twice])
    np.testing.assert_array_equal(totals, [2.0, 4.0])


def test_kernels_never_measured_follow_the_law_of_those_that_were() -> None:
    costs = learned(GRID)
    for workload in (conv(12, 24), conv(24, 12), conv(48, 48)):
        (mean,), (std,) = costs.network_s([stage_of(workload)])
        # the law is in the family that is fitted: only its ridge and rounding are left
        assert mean == pytest.approx(law_s(workload), rel=0.02)
        assert 0 < std < 0.2 * mean


def test_the_deviation_widens_with_the_distance_from_what_was_measured() -> None:
    costs = learned(GRID, noise=0.1)
    (near, far), (near_std, far_std) = costs.network_s(
        [stage_of(conv(16, 24)), stage_of(conv(4096, 2048, size=64))]
    )
    assert far_std / far > 1.5 * near_std / near
    _, (measured_std,) = costs.network_s([stage_of(GRID[0])])
    assert measured_std == 0  # one sample: no spread was seen


def test_errors_of_equal_kernels_add_up_and_those_of_others_partly_cancel() -> None:
    costs = learned(GRID, noise=0.1)
    a, b = conv(16, 24), conv(24, 40)
    _, (one, other, twice, both) = costs.network_s(
        [stage_of(a), stage_of(b), stage_of(a, a), stage_of(a, b)]
    )
    assert twice == pytest.approx(2 * one)
    assert both == pytest.approx(float(np.hypot(one, other)))


def test_noise_of_the_deviation_is_what_the_residuals_are() -> None:
    rng = np.random.default_rng(1)
    known = [conv(int(a), int(b)) for a, b in rng.integers(2, 200, (60, 2))]
    costs = learned(known, noise=0.1)
    unknown = [conv(int(a), int(b)) for a, b in rng.integers(2, 200, (200, 2))]
    means, stds = costs.network_s([stage_of(w) for w in unknown if w not in known])
    errors = np.log(means / [law_s(w) for w in unknown if w not in known])
    # the deviation is of a measurement: its own noise of 0.1 and the error of the mean
    assert np.sqrt(np.mean(errors**2)) < 0.1
    assert 0.08 < np.median(stds / means) < 0.16


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 512), st.integers(1, 512), st.integers(1, 64))
def test_no_prediction_is_negative_or_free(n_in: int, n_out: int, size: int) -> None:
    mean, std = learned(GRID[::6], noise=0.3).segment_s(
        segments(stage_of(conv(n_in, n_out, size)))[1]
    )
    assert 0 < mean < np.inf
    assert 0 <= std < np.inf


def test_an_operator_never_timed_raises() -> None:
    costs = learned(GRID)
    with pytest.raises(UnknownWorkloadError, match=r"global_avg_pool.*timed are conv2d"):
        costs.network_s([stage_of(conv(4, 4), POOL)])
    with pytest.raises(UnknownWorkloadError, match="max_pool"):
        costs.network_s([stage_of(Workload("max_pool", (4, 8, 8), (4, 4, 4)))])


def test_an_input_that_needs_no_kernel_costs_nothing_and_one_never_seen_raises() -> None:
    costs = learned(GRID)
    assert costs.segment_s(segments(stage_of(GRID[0]))[0]) == (0.0, 0.0)
    with pytest.raises(UnknownWorkloadError, match=r"'copy' \(input\)"):
        costs.network_s([Stage((3, 8, 8), None, (GRID[0],))])


def test_emulated_times_are_refused() -> None:
    emulated = KernelTime("conv2d_0", (1.0,), "emulated")
    with pytest.raises(ValueError, match="emulated timings never calibrate"):
        KernelCosts.fit([stage_of(GRID[0])], [[emulated]])


def test_what_was_saved_predicts_exactly_the_same() -> None:
    costs = learned(GRID, noise=0.1)
    again = KernelCosts.from_dict(json.loads(json.dumps(costs.to_dict())))
    stages = [stage_of(conv(16, 24)), stage_of(GRID[3], conv(5, 7))]
    for mine, theirs in zip(costs.network_s(stages), again.network_s(stages), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("damage", [{"mean_s": -1.0}, {"role": "strange"}, {"std_s": float("inf")}])
def test_damaged_costs_are_refused(damage: dict[str, object]) -> None:
    (entry, *_) = learned(GRID).to_dict()
    with pytest.raises(ValueError, match=r"mean_s|role"):
        KernelCosts.from_dict([entry | damage])
