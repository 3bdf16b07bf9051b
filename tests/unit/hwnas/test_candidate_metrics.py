"""Metrics of a trained and measured candidate, against closed forms for two exits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import search_spaces
from hwnas.accuracy import mean_accuracy_interval, wilson_interval
from hwnas.candidate_metrics import (
    accuracy_metrics,
    count_metrics,
    latency_metrics,
    measured_candidate,
    size_metrics,
)
from hwnas.candidate_training import SplitResult, TrainingOutcome
from hwnas.costs import ArchitectureCosts
from hwnas.exit_policy import ExitPolicy
from hwnas.front import Deployment
from hwnas.study import Evaluated
from latency_predictors import EnergyRange, Graph, MeasuredArchitecture, Prediction
from search_spaces import Architecture, Stage, Workload
from targets import EnergyModel, MeasureConfig, Measurement

# 160 MACs and 170 parameters; 20 MACs and 22 parameters
FIRST: Graph = (Workload("linear", (16,), (10,)),)
SECOND: Graph = (Workload("linear", (10,), (2,)),)
ENERGY = EnergyModel(
    static_power_w=2.0,
    energy_per_mac_j=1e-9,
    energy_per_byte_j=0.0,
    relative_uncertainty=0.5,
    source="made up",
)


def measurement(latency_s: Sequence[float], flash: int = 1000, ram: int = 100) -> Measurement:
    return Measurement(
        target="board",
        model_sha256="",
        artifact_sha256="",
        latency_s=tuple(latency_s),
        flash_bytes=flash,
        peak_ram_bytes=ram,
        config=MeasureConfig(),
        provenance="measured",
    )


def measured(*measurements: Measurement) -> MeasuredArchitecture:
    graphs = (FIRST, SECOND)[: len(measurements)]
    return MeasuredArchitecture(Architecture("toy", ()), graphs, measurements)


def prediction(mean: float) -> Prediction:
    return Prediction(mean, 0.0, mean, mean, True)


def costs(*stage_s: float) -> ArchitectureCosts:
    energies = tuple(EnergyRange(t, t, t) for t in stage_s)
    return ArchitectureCosts(
        tuple(prediction(t) for t in stage_s),
        energies,
        prediction(sum(stage_s)),
        EnergyRange(sum(stage_s), sum(stage_s), sum(stage_s)),
        prediction(5000.0),
        prediction(700.0),
    )


TWO_EXITS = measured(measurement([1e-3] * 200), measurement([3e-3] * 200, flash=500, ram=300))


def test_expected_latency_of_two_exits_is_the_closed_form() -> None:
    metrics = latency_metrics(TWO_EXITS, (0.7, 0.3))
    # everyone pays the first stage, three in ten also the second
    expected = metrics["latency_s"]
    assert expected.value == pytest.approx(1e-3 + 0.3 * 3e-3)
    assert (expected.low, expected.high) == pytest.approx((expected.value, expected.value))
    assert expected.provenance == "measured"


def test_worst_latency_is_the_path_through_every_exit() -> None:
    worst = latency_metrics(TWO_EXITS, (0.7, 0.3))["worst_latency_s"]
    assert worst.value == pytest.approx(4e-3)


def test_intervals_of_the_stages_join_as_their_medians_do() -> None:
    rng = np.random.default_rng(0)
    stages = [measurement(rng.lognormal(-7, 0.3, size=400).tolist()) for _ in range(2)]
    metrics = latency_metrics(measured(*stages), (0.7, 0.3))
    (low1, high1), (low2, high2) = (m.latency_interval_s() for m in stages)
    expected, worst = metrics["latency_s"], metrics["worst_latency_s"]
    assert expected.low == pytest.approx(low1 + 0.3 * low2)
    assert expected.high == pytest.approx(high1 + 0.3 * high2)
    assert (worst.low, worst.high) == pytest.approx((low1 + low2, high1 + high2))
    assert expected.low < expected.value < expected.high  # type: ignore[operator]


@pytest.mark.parametrize(
    ("last_share", "p99_s"),
    [
        pytest.param(0.5, 4e-3, id="half"),
        # a share of 2 % has a 99th percentile on it, one of 0.5 % has not: 20,000 draws
        # put the shares within 0.1 %, 10 and 5 standard errors away from 1 %
        pytest.param(0.02, 4e-3, id="one in fifty"),
        pytest.param(0.005, 1e-3, id="one in two hundred"),
    ],
)
def test_p99_of_constant_stages_is_that_of_the_exit_it_falls_on(
    last_share: float, p99_s: float
) -> None:
    metrics = latency_metrics(TWO_EXITS, (1 - last_share, last_share))
    assert metrics["latency_p99_s"].value == pytest.approx(p99_s)


@given(
    samples=st.lists(st.floats(1e-6, 1.0), min_size=5, max_size=50),
    more=st.lists(st.floats(1e-6, 1.0), min_size=5, max_size=50),
)
def test_p99_lies_between_the_median_and_the_worst_sample(
    samples: list[float], more: list[float]
) -> None:
    one, other = measurement(samples), measurement(more)
    single = latency_metrics(measured(one), (1.0,))
    # drawing can miss the middle by a little: the median of 20,000 draws is near, not equal
    assert np.quantile(samples, 0.4) <= single["latency_p99_s"].value * (1 + 1e-12)
    assert single["latency_p99_s"].value <= max(samples) * (1 + 1e-12)
    both = latency_metrics(measured(one, other), (0.0, 1.0))
    assert both["latency_p99_s"].value <= (max(samples) + max(more)) * (1 + 1e-12)
    assert both["latency_p99_s"].value >= (min(samples) + min(more)) * (1 - 1e-12)


def test_p99_of_one_stage_is_near_that_of_its_samples() -> None:
    samples = np.random.default_rng(1).lognormal(-7, 0.3, size=2000)
    metrics = latency_metrics(measured(measurement(samples.tolist())), (1.0,))
    # 200 of 20,000 draws lie above it: its rank is off by +- 14, its value by 2 %
    assert metrics["latency_p99_s"].value == pytest.approx(np.percentile(samples, 99), rel=0.1)


def test_flash_adds_over_stages_and_ram_is_that_of_the_largest() -> None:
    metrics = size_metrics(TWO_EXITS)
    assert (metrics["flash_bytes"].value, metrics["peak_ram_bytes"].value) == (1500, 300)


def test_counts_of_two_exits_are_the_closed_form() -> None:
    stages = (Stage((16, 1, 1), (10, 1, 1), FIRST), Stage((10, 1, 1), None, SECOND))
    metrics = count_metrics(stages, (0.25, 0.75))
    assert metrics["macs"].value == 160 + 0.75 * 20
    assert metrics["worst_macs"].value == 180
    assert metrics["parameters"].value == 192
    assert metrics["macs"].provenance is None


def split(accuracy: float, n: int = 200) -> SplitResult:
    return SplitResult(n, accuracy, (accuracy, accuracy), (0.7, 0.3))


def test_accuracy_of_one_training_has_the_interval_of_its_samples() -> None:
    outcome = TrainingOutcome(validation=split(0.9), test=split(0.85, n=400))
    metrics = accuracy_metrics(outcome, [])
    assert (metrics["accuracy"].low, metrics["accuracy"].high) == wilson_interval(340, 400)
    validation = metrics["validation_accuracy"]
    assert (validation.low, validation.high) == wilson_interval(180, 200)
    assert (validation.seeds, validation.split) == (1, "validation")
    assert (metrics["accuracy"].value, metrics["accuracy"].split) == (0.85, "test")
    # it was chosen by the one, and is judged by the other
    assert (validation.selected, metrics["accuracy"].selected) == (True, None)


def test_accuracy_of_several_trainings_is_their_mean_with_the_scatter_of_seeds() -> None:
    accuracies = [0.80, 0.90, 0.85]
    metrics = accuracy_metrics(
        TrainingOutcome(test=split(0.99)), [TrainingOutcome(test=split(a)) for a in accuracies]
    )
    accuracy = metrics["accuracy"]
    assert accuracy.value == pytest.approx(0.85)
    assert (accuracy.low, accuracy.high) == mean_accuracy_interval(accuracies, 200)
    assert accuracy.seeds == 3
    assert "validation_accuracy" not in metrics


def test_what_a_finalist_was_chosen_by_stands_beside_what_later_trainings_gave() -> None:
    chosen_by = TrainingOutcome(validation=split(0.95))
    later = [TrainingOutcome(validation=split(a), test=split(a)) for a in (0.80, 0.90)]
    metrics = accuracy_metrics(chosen_by, later)
    assert metrics["validation_accuracy"].value == pytest.approx(0.85)
    assert metrics["validation_accuracy"].selected is None
    searched = metrics["search_validation_accuracy"]
    assert (searched.value, searched.seeds, searched.selected) == (0.95, 1, True)
    assert (searched.low, searched.high) == wilson_interval(190, 200)


def test_luck_is_told_beside_the_accuracy_of_one_training_alone() -> None:
    lucky = TrainingOutcome(validation=split(0.95), test=split(0.9))
    validation = accuracy_metrics(lucky, [], 0.04)["validation_accuracy"]
    assert validation.value == 0.95
    assert validation.chosen_by == validation.expected == pytest.approx(0.91)
    later = [TrainingOutcome(validation=split(a)) for a in (0.80, 0.90)]
    confirmed = accuracy_metrics(lucky, later, 0.04)["validation_accuracy"]
    assert confirmed.expected is None
    assert confirmed.chosen_by == pytest.approx(0.85)


def test_a_candidate_joins_all_metrics_under_the_policy_deployed() -> None:
    space = search_spaces.create("early_exit", input_shape=(1, 8, 8), n_classes=4, n_stages=2)
    rng = np.random.default_rng(0)
    arch = next(a for a in (space.sample(rng) for _ in range(50)) if len(space.stages(a)) == 2)
    graphs = tuple(stage.workloads for stage in space.stages(arch))
    network = MeasuredArchitecture(arch, graphs, TWO_EXITS.measurements)
    deployment = Deployment("a.safetensors", 3, ExitPolicy((0.9,)), (0.6, 0.4), 0.005)
    candidate = measured_candidate(
        Evaluated(17, arch, (0.9, 1e-3), {}),
        TrainingOutcome(validation=split(0.9), test=split(0.85)),
        [],
        deployment,
        network,
        costs(1e-3, 1e-3),
        space,
        ENERGY,
    )
    assert (candidate.number, candidate.architecture, candidate.deployment) == (
        17,
        arch,
        deployment,
    )
    assert candidate.metrics["latency_s"].value == pytest.approx(1e-3 + 0.4 * 3e-3)
    # 1 J in each stage was predicted for each second
    assert candidate.metrics["energy_j"].predicted == pytest.approx(1e-3 + 0.4 * 1e-3)
    assert candidate.metrics["worst_energy_j"].predicted == pytest.approx(2e-3)
    assert candidate.metrics["latency_s"].predicted == pytest.approx(1e-3 + 0.4 * 1e-3)
    assert candidate.metrics["worst_latency_s"].predicted == pytest.approx(2e-3)
    assert candidate.metrics["flash_bytes"].predicted == 5000
    assert candidate.metrics["peak_ram_bytes"].predicted == 700
    assert candidate.metrics["accuracy"].predicted is None
    assert set(candidate.metrics) == {
        "accuracy",
        "validation_accuracy",
        "latency_s",
        "worst_latency_s",
        "latency_p99_s",
        "worst_latency_p99_s",
        "energy_j",
        "worst_energy_j",
        "inferences_per_joule",
        "flash_bytes",
        "peak_ram_bytes",
        "macs",
        "worst_macs",
        "parameters",
    }
