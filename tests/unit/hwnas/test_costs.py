"""Predicted costs and limits."""

from collections.abc import Sequence

import numpy as np
import pytest

import search_spaces
from hwnas.config import ConstraintsConfig
from hwnas.costs import ArchitectureCosts, CostModel
from hwnas.objectives import Constraint, constraints_of
from hwnas.product_config import ProductConfig
from latency_predictors import EnergyRange, Prediction, TargetPredictors
from latency_predictors.energy_predictor import EnergyPredictor
from latency_predictors.prior_residual import PriorResidualPredictor
from latency_predictors.target_predictors import METRICS
from targets import EnergyModel

LATENCY = Constraint("max_latency_ms", "worst_latency_s", 2e-3, "ms", 1e3)
ENERGY = Constraint("max_energy_mj", "worst_energy_j", 5e-3, "mJ", 1e3)
FLASH = Constraint("max_flash_kib", "flash_bytes", 64 * 1024.0, "KiB", 1 / 1024)
RAM = Constraint("max_peak_ram_kib", "peak_ram_bytes", 16 * 1024.0, "KiB", 1 / 1024)
ACCURACY = Constraint("min_accuracy", "validation_accuracy", 0.9, "", 1.0, is_minimum=True)


def prediction(mean: float) -> Prediction:
    """Upper end 10 % above the mean."""
    return Prediction(mean, 0.05 * mean, 0.9 * mean, 1.1 * mean, True)


# 1 s of 1 mW asleep between inferences, 10 J
PRODUCT = ProductConfig.model_validate(
    {
        "interval_s": 1.0,
        "sleep_power_mw": 1.0,
        "battery": {"capacity_mah": 1.0, "voltage_v": 3.0, "usable_share": 0.925926},
    }
)


def costs_of(
    stage_ms: Sequence[float] = (1.0,),
    flash_kib: float = 50.0,
    ram_kib: float = 10.0,
    product: ProductConfig | None = None,
) -> ArchitectureCosts:
    """2 W while it runs; energy up to 1.5 times as much."""
    energies = tuple(EnergyRange(2e-3 * t, 1e-3 * t, 3e-3 * t) for t in stage_ms)
    total_ms = sum(stage_ms)
    return ArchitectureCosts(
        stage_latency_s=tuple(prediction(1e-3 * t) for t in stage_ms),
        stage_energy_j=energies,
        latency_s=prediction(1e-3 * total_ms),
        energy_j=EnergyRange(2e-3 * total_ms, 1e-3 * total_ms, 3e-3 * total_ms),
        flash_bytes=prediction(1024 * flash_kib),
        peak_ram_bytes=prediction(1024 * ram_kib),
        product=product,
    )


def test_expected_costs_weigh_each_exit_by_its_share() -> None:
    costs = costs_of(stage_ms=(1.0, 3.0))
    # a quarter leaves after 1 ms, the others after 4 ms
    assert costs.expected("latency_s", [0.25, 0.75]) == pytest.approx(3.25e-3)
    assert costs.expected("energy_j", [0.25, 0.75]) == pytest.approx(6.5e-3)


def test_sizes_do_not_depend_on_where_samples_leave() -> None:
    costs = costs_of(stage_ms=(1.0, 3.0))
    for shares in ([1.0, 0.0], [0.0, 1.0]):
        assert costs.expected("flash_bytes", shares) == 50 * 1024
        assert costs.expected("peak_ram_bytes", shares) == 10 * 1024


def test_the_range_of_a_cost_is_that_of_the_first_and_last_exit() -> None:
    costs = costs_of(stage_ms=(1.0, 3.0, 2.0))
    assert costs.range_of("latency_s") == pytest.approx((1e-3, 6e-3))
    assert costs.range_of("flash_bytes") == (50 * 1024, 50 * 1024)


@pytest.mark.parametrize(
    ("constraint", "met", "exceeded"),
    [
        pytest.param(LATENCY, {"stage_ms": (1.0, 0.8)}, {"stage_ms": (1.0, 0.9)}, id="latency"),
        pytest.param(ENERGY, {"stage_ms": (1.0, 0.6)}, {"stage_ms": (1.0, 0.7)}, id="energy"),
        pytest.param(FLASH, {"flash_kib": 58.0}, {"flash_kib": 59.0}, id="flash"),
        pytest.param(RAM, {"ram_kib": 14.5}, {"ram_kib": 14.6}, id="ram"),
    ],
)
def test_each_limit_binds_the_upper_end_and_not_the_mean(
    constraint: Constraint, met: dict[str, float], exceeded: dict[str, float]
) -> None:
    inside, outside = costs_of(**met), costs_of(**exceeded)  # type: ignore[arg-type]
    assert inside.is_feasible([constraint])
    assert inside.violations([constraint])[constraint.name] <= 0
    assert not outside.is_feasible([constraint])
    assert 0 < outside.violations([constraint])[constraint.name] < 0.05


def test_a_violation_is_relative_to_the_limit() -> None:
    # 1.1 times 4 ms against 2 ms
    violations = costs_of(stage_ms=(1.0, 3.0)).violations([LATENCY, FLASH])
    assert violations["max_latency_ms"] == pytest.approx(1.2)
    assert violations["max_flash_kib"] == pytest.approx(55 / 64 - 1)


def test_a_limit_on_accuracy_is_not_judged_before_training() -> None:
    assert costs_of().violations([ACCURACY]) == {}
    assert costs_of().is_feasible([ACCURACY])


def test_inferences_per_joule_are_those_of_the_mean_energy() -> None:
    # 2 mJ through one exit, 8 mJ through both
    assert costs_of((1.0, 3.0)).expected("inferences_per_joule", [0.5, 0.5]) == pytest.approx(200)
    assert costs_of((1.0, 3.0)).range_of("inferences_per_joule") == pytest.approx((500, 125))


def test_battery_days_are_those_of_the_mean_energy_of_the_exits() -> None:
    costs = costs_of((1.0, 3.0), product=PRODUCT)
    # 2 mJ in 1 ms or 8 mJ in 4 ms, and 1 mW for the rest of the second
    powers = [2e-3 + 0.999e-3, 8e-3 + 0.996e-3]
    days = [10 / power / 86_400 for power in powers]
    assert costs.range_of("battery_days") == pytest.approx(days, rel=1e-6)
    mean = 10 / (sum(powers) / 2) / 86_400
    assert costs.expected("battery_days", [0.5, 0.5]) == pytest.approx(mean, rel=1e-6)
    assert costs.expected("average_power_w", [0.5, 0.5]) == pytest.approx(sum(powers) / 2)


def test_a_limit_on_the_mean_assumes_the_best_until_the_exits_are_known() -> None:
    (limit, _) = constraints_of(ConstraintsConfig(max_average_power_mw=5.0), PRODUCT)
    costs = costs_of((1.0, 3.0), product=PRODUCT)
    # all at the first exit: 3 mJ at most and 1 mW asleep; all at the last: 12 mJ at most
    assert costs.pessimistic(limit) == pytest.approx(3e-3 + 0.9991e-3)
    assert costs.is_feasible([limit])
    assert costs.violations([limit], [0.0, 1.0])[limit.name] == pytest.approx(
        (12e-3 + 0.9964e-3) / 5e-3 - 1
    )


def test_a_least_battery_life_binds_the_lower_end() -> None:
    costs = costs_of((1.0,), product=PRODUCT)
    # 3 mJ at most, asleep the rest
    worst_days = 10 / (3e-3 + 0.9991e-3) / 86_400
    for share, met in ((0.999, True), (1.001, False)):
        config = ConstraintsConfig(min_battery_days=share * worst_days)
        assert costs.is_feasible(constraints_of(config, PRODUCT)) == met
    assert costs.expected("battery_days", [1.0]) > 1.001 * worst_days


def test_a_product_refuses_inferences_that_do_not_end_before_the_next() -> None:
    (deadline,) = constraints_of(ConstraintsConfig(), PRODUCT)
    # upper ends are 10 % above the mean
    assert costs_of((900.0,), product=PRODUCT).is_feasible([deadline])
    late = costs_of((920.0,), product=PRODUCT)
    assert late.pessimistic(deadline) == pytest.approx(1.012)
    assert not late.is_feasible([deadline])


def test_the_cost_model_joins_predictions_and_widens_energies_learned_from_a_model() -> None:
    space = search_spaces.create("early_exit", input_shape=(1, 8, 8), n_classes=4, n_stages=2)
    rng = np.random.default_rng(0)
    architectures = [space.sample(rng) for _ in range(12)]
    graphs = [stage.workloads for a in architectures for stage in space.stages(a)]
    values = np.array([float(1 + len(graph)) for graph in graphs])
    groups = [str(i) for i in range(len(graphs))]
    fitted = {
        m: PriorResidualPredictor(m).fit(graphs, values, groups) for m in METRICS if m != "energy_j"
    }
    energy = EnergyPredictor(fitted["latency_s"]).fit(graphs, values, values, groups)
    energy_model = EnergyModel(
        static_power_w=2.0,
        energy_per_mac_j=1e-9,
        energy_per_byte_j=1e-10,
        relative_uncertainty=0.5,
        source="made up",
    )
    predictors = TargetPredictors("board", fitted, energy, "modelled", {})
    costs = CostModel(space, predictors, energy_model).predict(architectures)
    assert {len(c.stage_latency_s) for c in costs} == {1, 2}
    for arch, c in zip(architectures, costs, strict=True):
        stages = [stage.workloads for stage in space.stages(arch)]
        (learned,) = predictors.predict([stages])
        # every architecture alone rounds differently from all in one matrix
        expected = [pytest.approx(p.mean) for p in learned.stage_energy_j]
        assert [e.energy_j for e in c.stage_energy_j] == expected
        assert c.energy_j.energy_j == pytest.approx(learned.energy_j.mean)
        # modelled energies are known to half of themselves, whatever was learned of them
        assert c.energy_j.low_j == pytest.approx(0.5 * learned.energy_j.low)
        assert c.energy_j.high_j == pytest.approx(1.5 * learned.energy_j.high)
        assert c.latency_s.mean == pytest.approx(sum(p.mean for p in c.stage_latency_s))
