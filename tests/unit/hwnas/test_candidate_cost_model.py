"""Arrays of candidates are judged as each of their architectures is."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.candidate_cost_model import CandidateCostModel
from hwnas.config import ConstraintsConfig, ObjectiveName
from hwnas.cost_table import CostTable
from hwnas.costs import CostModel
from hwnas.errors import UserError
from hwnas.objectives import OBJECTIVES, Constraint, constraints_of, objectives_of
from hwnas.product_config import ProductConfig
from latency_predictors import Predictions
from latency_predictors.tail import TailRatio
from search_spaces import Architecture, SearchSpace
from search_spaces.encoding import decode, sample_encodings
from tests.unit.hwnas.law_costs import law_costs, law_space

N = 200
PRODUCT = ProductConfig.model_validate(
    {
        "interval_s": 1.0,
        "sleep_power_mw": 0.1,
        "battery": {"capacity_mah": 100.0, "voltage_v": 3.0},
        "country": "DEU",
        "price_per_kwh": 0.3,
    }
)
TAIL = TailRatio(typical=1.5, low=1.2, high=2.5, log_std=0.2)
LIMITS = (
    "max_latency_ms", "max_latency_p99_ms", "max_energy_mj", "max_flash_kib", "max_peak_ram_kib",
    "min_inferences_per_joule", "max_average_power_mw", "min_battery_days",
    "max_co2e_g_per_million", "max_cost_per_million",
)  # fmt: skip


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return law_space()


@pytest.fixture(scope="module")
def costs(space: SearchSpace) -> CostModel:
    return law_costs(space, PRODUCT, TAIL)


@pytest.fixture(scope="module")
def encodings(space: SearchSpace) -> np.ndarray:
    return sample_encodings(space, N, np.random.default_rng(1))


@pytest.fixture(scope="module")
def architectures(space: SearchSpace, encodings: np.ndarray) -> list[Architecture]:
    return decode(space, encodings)


def median_limits(
    costs: CostModel, architectures: list[Architecture], *names: str
) -> tuple[Constraint, ...]:
    """Limits that about half of the architectures meet."""
    lax = constraints_of(ConstraintsConfig.model_validate(dict.fromkeys(names, 1.0)), PRODUCT)
    out = []
    for limit in lax[: len(names)]:
        reached = [c.pessimistic(limit) for c in costs.predict(architectures)]
        value = float(np.median(reached)) * limit.shown_per_si
        config = ConstraintsConfig.model_validate({limit.name: value})
        out.append(constraints_of(config)[0])
    return tuple(out)


@pytest.mark.parametrize("name", LIMITS)
def test_each_limit_is_judged_as_for_one_architecture(
    name: str, costs: CostModel, encodings: np.ndarray, architectures: list[Architecture]
) -> None:
    limits = median_limits(costs, architectures, name)
    candidates = CandidateCostModel(costs, objectives_of(["accuracy", "flash"]), limits)(encodings)
    one_by_one = costs.predict(architectures)
    assert candidates.is_feasible.tolist() == [c.is_feasible(limits) for c in one_by_one]
    assert 0.3 * N < candidates.is_feasible.sum() < 0.7 * N
    # predictions of canonical and other encodings round differently
    expected = [c.violations(limits)[name] for c in one_by_one]
    assert candidates.violation == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_the_worst_of_all_violations_counts(
    costs: CostModel, encodings: np.ndarray, architectures: list[Architecture]
) -> None:
    limits = (
        *median_limits(costs, architectures, "max_latency_ms", "min_battery_days"),
        *constraints_of(ConstraintsConfig(min_accuracy=0.9, max_flash_kib=64), PRODUCT),
    )
    candidates = CandidateCostModel(costs, objectives_of(["accuracy", "latency"]), limits)(
        encodings
    )
    worst = [max(c.violations(limits).values()) for c in costs.predict(architectures)]
    assert candidates.violation == pytest.approx(worst, rel=1e-9, abs=1e-12)
    binding = {
        max(v, key=lambda name: v[name])
        for v in (c.violations(limits) for c in costs.predict(architectures))
    }
    assert len(binding) > 1


def test_without_limits_every_candidate_is_feasible(
    costs: CostModel, encodings: np.ndarray
) -> None:
    accuracy_only = constraints_of(ConstraintsConfig(min_accuracy=0.9))
    candidates = CandidateCostModel(costs, objectives_of(["accuracy", "energy"]), accuracy_only)
    assert candidates(encodings).is_feasible.all()


@pytest.mark.parametrize("exit_taken", ["first", "last"])
def test_values_are_those_of_leaving_at_one_exit(
    exit_taken: str, costs: CostModel, encodings: np.ndarray, architectures: list[Architecture]
) -> None:
    table = costs.predict_encodings(encodings)
    for objective in OBJECTIVES.values():
        if objective.name == "accuracy":
            continue
        values = table.value(objective.metric, exit_taken)  # type: ignore[arg-type]
        ends = [c.range_of(objective.metric) for c in costs.predict(architectures)]
        expected = [first if exit_taken == "first" else last for first, last in ends]
        assert values == pytest.approx(expected, rel=1e-9), objective.name


def test_a_limit_on_the_p99_judges_the_upper_ends_of_median_and_ratio(
    costs: CostModel, architectures: list[Architecture]
) -> None:
    (limit,) = constraints_of(ConstraintsConfig(max_latency_p99_ms=2.0))
    for c in costs.predict(architectures[:20]):
        assert c.pessimistic(limit) == pytest.approx(2.5 * c.latency_s.high)
        assert c.violations([limit])[limit.name] == pytest.approx(2.5 * c.latency_s.high / 2e-3 - 1)


def test_a_limit_on_a_p99_that_was_never_learned_is_refused(space: SearchSpace) -> None:
    limits = constraints_of(ConstraintsConfig(max_latency_p99_ms=2.0))
    with pytest.raises(UserError, match=r"max_latency_p99_ms: the predictors of law know no P99"):
        CandidateCostModel(law_costs(space), objectives_of(["accuracy", "latency"]), limits)


def test_accuracy_is_not_known_and_all_else_is(costs: CostModel, encodings: np.ndarray) -> None:
    objectives = tuple(OBJECTIVES.values())
    candidates = CandidateCostModel(costs, objectives, ())(encodings)
    accuracy = [o.name == "accuracy" for o in objectives]
    for columns in (candidates.values, candidates.log_stds):
        assert np.isnan(columns).all(axis=0).tolist() == accuracy
        known = columns[:, ~np.array(accuracy)]
        assert np.all((known > 0) & (known < np.inf))


@pytest.mark.parametrize(
    "limits", [{}, {"max_latency_p99_ms": 1.0, "min_battery_days": 1.0}], ids=str
)
def test_no_candidates_have_no_costs(
    limits: dict[str, float], space: SearchSpace, costs: CostModel
) -> None:
    constraints = constraints_of(ConstraintsConfig.model_validate(limits))
    model = CandidateCostModel(costs, tuple(OBJECTIVES.values()), constraints)
    none = np.empty((0, len(space.dimensions)), dtype=np.intp)
    assert model(none).values.shape == (0, len(OBJECTIVES))
    assert model(none).is_feasible.shape == (0,)
    assert model.violations(none).shape == (0, len(limits))


def one_stage_each(product: ProductConfig | None = None) -> CostTable:
    """1 ms and 2 ms, 1 mJ and 4 mJ, known to 10 % and 20 %."""
    columns = {"latency_s": ([1e-3, 2e-3], 0.1), "energy_j": ([1e-3, 4e-3], 0.2)}
    stages = {
        name: Predictions(
            np.array(mean),
            share * np.array(mean),
            (1 - share) * np.array(mean),
            (1 + share) * np.array(mean),
            np.ones(2, dtype=np.bool_),
        )
        for name, (mean, share) in columns.items()
    }
    return CostTable(stages, np.arange(2), product)


def test_inferences_per_joule_are_as_sure_as_the_energy() -> None:
    table = one_stage_each()
    assert table.log_std("latency_s", "last") == pytest.approx([0.1, 0.1])
    assert table.log_std("inferences_per_joule", "last") == pytest.approx([0.2, 0.2])


def test_a_battery_life_is_less_uncertain_the_less_of_it_the_network_takes() -> None:
    # asleep 1 mW for all but a few thousandths of a second
    product = ProductConfig.model_validate(
        {
            "interval_s": 1.0,
            "sleep_power_mw": 1.0,
            "battery": {"capacity_mah": 100.0, "voltage_v": 3.0},
        }
    )
    log_stds = one_stage_each(product).log_std("battery_days", "last")
    # E / (E + sleep) of 20 %, to second order in it
    sleep_j = np.array([0.999e-3, 0.998e-3])
    energy_j = np.array([1e-3, 4e-3])
    assert log_stds == pytest.approx(0.2 * energy_j / (energy_j + sleep_j), rel=0.2**2)


@pytest.mark.parametrize("objective", [o for o in OBJECTIVES if o != "accuracy"])
@pytest.mark.parametrize("limit", [{}, {"max_energy_mj": 1.0}, {"min_battery_days": 1.0}], ids=str)
def test_what_is_predicted_does_not_depend_on_what_else_is_asked_for(
    objective: ObjectiveName, limit: dict[str, float], costs: CostModel, encodings: np.ndarray
) -> None:
    limits = constraints_of(ConstraintsConfig.model_validate(limit))
    everything = CandidateCostModel(costs, tuple(OBJECTIVES.values()), limits)(encodings)
    column = list(OBJECTIVES).index(objective)
    alone = CandidateCostModel(costs, objectives_of([objective]), limits)(encodings)
    assert np.array_equal(alone.values[:, 0], everything.values[:, column])
    assert np.array_equal(alone.violation, everything.violation)
