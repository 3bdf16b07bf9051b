"""When a compressed network is kept: intervals by hand, and every way to fail."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hwnas.candidate_training import SplitResult, TrainingOutcome
from hwnas.compression_config import MarginsConfig
from hwnas.compression_verdict import (
    CostErrors,
    SeedResult,
    accuracy_change,
    cost_errors,
    judge_compression,
    mean_change,
)
from hwnas.variants import Attempt
from latency_predictors import MeasuredArchitecture
from search_spaces import Architecture, Workload
from targets import (
    EnergyConfig,
    EnergyMeasurement,
    EnergyModel,
    Interval,
    MeasureConfig,
    Measurement,
)

MARGINS = MarginsConfig(accuracy=0.01, cost=0.02)
# so many that they add nothing to what seeds scatter
SAMPLES = 10**9
ACCURACY = (0.80, 0.82, 0.81)
# while it runs, and nothing for what it computes
FOUR_WATT = EnergyModel(
    static_power_w=4.0,
    energy_per_mac_j=0.0,
    energy_per_byte_j=0.0,
    relative_uncertainty=0.5,
    source="made up",
)


def results(
    accuracy: tuple[float, ...], latency_s: float = 1e-3, energy_j: float = 2e-3
) -> dict[int, SeedResult]:
    return {seed: SeedResult(a, latency_s, energy_j, SAMPLES) for seed, a in enumerate(accuracy)}


def gained(*points: float) -> tuple[float, ...]:
    return tuple(a + p / 100 for a, p in zip(ACCURACY, points, strict=True))


def judged(
    accuracy: tuple[float, ...],
    latency_s: float = 1e-3,
    energy_j: float = 2e-3,
    error: float = 0.0,
) -> Attempt:
    return judge_compression(
        "a1",
        "pruning",
        results(ACCURACY),
        results(accuracy, latency_s, energy_j),
        MARGINS,
        CostErrors(error, error),
    )


def test_the_interval_is_students_of_three_differences() -> None:
    change = mean_change([0.01, 0.02, 0.03])
    # mean 0.02, s 0.01, t(0.975, 2) 4.302653
    assert change.value == pytest.approx(0.02)
    assert change.high - change.value == pytest.approx(4.302653 * 0.01 / np.sqrt(3), rel=1e-6)
    assert change.value - change.low == pytest.approx(change.high - change.value)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=8).filter(lambda d: np.std(d) > 1e-3))
def test_the_interval_is_that_of_a_paired_t_test(differences: list[float]) -> None:
    change = mean_change(differences)
    wanted = stats.ttest_1samp(differences, 0.0).confidence_interval(0.95)
    assert (change.low, change.high) == pytest.approx((wanted.low, wanted.high), abs=1e-9)


def test_seeds_of_equal_gain_leave_the_doubt_of_the_samples() -> None:
    change = accuracy_change([0.01, 0.01], 400)
    # 4 more of 400 right at the least: 1.96 sqrt((0.01 - 0.0001) / 400)
    assert change.value == pytest.approx(0.01)
    assert change.low == pytest.approx(0.01 - 1.959964 * np.sqrt(0.0099 / 400), rel=1e-5)
    assert accuracy_change([0.0, 0.0], 400).low == 0
    both = accuracy_change([0.01, 0.02, 0.03], 400)
    wanted = np.hypot(4.302653 * 0.01 / np.sqrt(3), 1.959964 * np.sqrt((0.02 - 0.0004) / 400))
    assert both.high - both.value == pytest.approx(wanted, rel=1e-5)


def test_more_accuracy_at_equal_cost_is_kept_where_the_interval_excludes_0() -> None:
    attempt = judged(gained(1.9, 2.0, 2.1))
    assert attempt.kept
    # s 0.1 points: 2.0 +- 4.303 * 0.1 / sqrt(3)
    assert attempt.outcome == (
        "better: accuracy +2.0 (+1.8 to +2.2) points, latency +0.0 % (+0.0 to +0.0), "
        "energy +0.0 % (+0.0 to +0.0); 3 seeds"
    )


def test_a_gain_that_may_be_luck_is_not_kept() -> None:
    attempt = judged(gained(0.5, 1.5, 0.1))
    assert not attempt.kept
    assert attempt.outcome.startswith("not kept, accuracy may be worse by more than its margin: ")
    assert attempt.figures["accuracy_change"] == pytest.approx(0.007)


def test_no_change_at_all_is_not_kept() -> None:
    attempt = judged(ACCURACY)
    assert not attempt.kept
    assert attempt.outcome.startswith("not kept, nothing is shown to be better: ")


def test_less_cost_is_kept_where_the_accuracy_lost_is_within_its_margin() -> None:
    attempt = judged(gained(-0.5, -0.6, -0.7), latency_s=0.7e-3, energy_j=1.4e-3)
    assert attempt.kept
    assert attempt.figures["latency_change"] == pytest.approx(-0.3)
    assert attempt.figures["energy_change_high"] == pytest.approx(-0.3)


def test_less_cost_is_not_kept_where_more_accuracy_may_be_lost() -> None:
    attempt = judged(gained(-0.5, 0.6, -0.7), latency_s=0.7e-3)
    assert not attempt.kept
    assert "accuracy may be worse" in attempt.outcome


def test_accuracy_bought_with_energy_is_not_kept() -> None:
    attempt = judged(gained(1.9, 2.0, 2.1), energy_j=2.1e-3)
    assert not attempt.kept
    assert attempt.outcome.startswith("not kept, energy may be worse by more than its margin: ")


def test_a_saving_within_the_error_of_measurements_is_none() -> None:
    assert judged(ACCURACY, 0.95e-3, 1.9e-3, error=0.03).kept
    within = judged(ACCURACY, 0.95e-3, 1.9e-3, error=0.06)
    assert not within.kept
    # 0.95 * 1.06
    assert within.figures["latency_change_high"] == pytest.approx(0.95 * 1.06 - 1)


def test_costs_of_other_exits_differ_by_seed_and_so_have_intervals() -> None:
    latencies = (0.8e-3, 0.9e-3, 0.7e-3)
    compressed = {
        seed: SeedResult(a, t, 2e-3, SAMPLES)
        for seed, (a, t) in enumerate(zip(ACCURACY, latencies, strict=True))
    }
    attempt = judge_compression("a1", "distillation", results(ACCURACY), compressed, MARGINS)
    wanted = stats.ttest_1samp(np.log([0.8, 0.9, 0.7]), 0.0).confidence_interval(0.95)
    assert attempt.figures["latency_change_low"] == pytest.approx(np.exp(wanted.low) - 1)
    assert attempt.figures["latency_change_high"] == pytest.approx(np.exp(wanted.high) - 1)


def test_only_seeds_trained_before_and_after_are_compared() -> None:
    base = results(ACCURACY)
    one = judge_compression("a1", "pruning", base, {2: base[2], 7: base[1]}, MARGINS)
    assert not one.kept
    assert one.outcome == "not kept: 1 seeds trained before and after, wanted at least 2"
    two = judge_compression("a1", "pruning", base, {2: base[2], 1: base[1], 7: base[0]}, MARGINS)
    assert two.figures["seeds"] == 2


def measured(*stages: tuple[float, ...]) -> MeasuredArchitecture:
    """Return stages with these inferences, of a network of one multiplication per byte."""
    measurements = tuple(
        Measurement("", "", "", latencies, 1, 1, MeasureConfig(), "measured")
        for latencies in stages
    )
    graph = (Workload("linear", (1,), (1,)),)
    return MeasuredArchitecture(Architecture("toy", ()), (graph,) * len(stages), measurements)


def test_the_costs_of_a_seed_are_those_of_its_exits() -> None:
    outcome = TrainingOutcome(validation=SplitResult(10, 0.9, (0.5, 0.9), (0.25, 0.75)))
    result = SeedResult.of(outcome, measured((1e-3,), (2e-3,)), FOUR_WATT)
    # a quarter leaves after 1 ms, the others after 3 ms
    assert (result.accuracy, result.n) == (0.9, 10)
    assert result.latency_s == pytest.approx(2.5e-3)
    assert result.energy_j == pytest.approx(4 * 2.5e-3)


def test_a_failed_training_has_no_costs() -> None:
    with pytest.raises(ValueError, match="the training failed: diverged"):
        SeedResult.of(TrainingOutcome(failure="diverged"), measured((1e-3,)), FOUR_WATT)


def test_the_error_of_a_ratio_joins_those_of_both_measurements() -> None:
    # 400 inferences from 0.5 to 1.5 ms: the median's interval has ranks 180 and 219 of 0 to 399
    latencies = tuple(np.linspace(0.5e-3, 1.5e-3, 400))
    first, second = measured(latencies), measured(latencies)
    half = (219 - 180) / 399 / 2
    errors = cost_errors(first, second)
    assert errors.latency == pytest.approx(half * np.sqrt(2), rel=1e-6)
    # modelled from the latencies, as no meter was there
    assert errors.energy == errors.latency
    assert cost_errors(first, first) == CostErrors()
    # two stages, equally uncertain: their ends are added, as of the path through both
    twice = measured(latencies, latencies)
    assert cost_errors(twice, first).latency == pytest.approx(half * np.sqrt(2), rel=1e-6)


def test_no_two_measurements_are_taken_to_repeat_exactly() -> None:
    steady = (1e-3,) * 400
    assert cost_errors(measured(steady), measured(steady)) == CostErrors(0.02, 0.02)


def metered(half_j: float) -> MeasuredArchitecture:
    """Return two steady stages of 1 mJ, each to so many joules."""
    network = measured((1e-3,) * 400, (1e-3,) * 400)
    energy = EnergyMeasurement(
        target="",
        model_sha256="",
        artifact_sha256="",
        gross_j=Interval(1e-3, 1e-3 - half_j, 1e-3 + half_j),
        net_j=None,
        net_refused=None,
        active_power_w=Interval(1.0, 1.0, 1.0),
        idle_power_w=Interval(0.1, 0.1, 0.1),
        peak_power_w=1.0,
        peak_bandwidth_hz=5e4,
        trials=(),
        sustained=(),
        meters=(),
        config=EnergyConfig(),
        provenance="measured",
    )
    stages = tuple(replace(m, energy=energy) for m in network.measurements)
    return replace(network, measurements=stages)


def test_the_error_of_energies_is_that_of_their_meter() -> None:
    """Seldom that of the latency: here of 8 and 6 % beside steady timings."""
    errors = cost_errors(metered(8e-5), metered(6e-5))
    assert errors == CostErrors(0.02, pytest.approx(0.1))
    assert cost_errors(metered(1e-6), metered(1e-6)).energy == 0.02
    # of the latency where one of both is modelled
    assert cost_errors(metered(8e-5), measured((1e-3,) * 400)) == CostErrors(0.02, 0.02)
    attempt = judge_compression(
        "a1", "pruning", results(ACCURACY), results(ACCURACY, 1e-3, 1.85e-3), MARGINS, errors
    )
    # 7.5 % less energy, to 10 %
    assert not attempt.kept
    assert attempt.figures["energy_change_high"] == pytest.approx(0.925 * 1.1 - 1)
    assert attempt.figures["latency_change_high"] == pytest.approx(0.02)


def test_one_difference_has_no_interval() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        mean_change([0.1])
