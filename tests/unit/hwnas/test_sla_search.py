"""An SLA as limits of an experiment."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.config import ExperimentConfig, parse_config
from hwnas.errors import UserError
from hwnas.objectives import constraints_of
from hwnas.product_config import ProductConfig
from hwnas.sla import Clause, Sla, load_sla
from hwnas.sla_metrics import SLA_METRICS
from hwnas.sla_search import with_sla

PRODUCT = {
    "interval_s": 60.0,
    "sleep_power_mw": 0.1,
    "battery": {"capacity_mah": 220.0, "voltage_v": 3.0},
    "country": "DEU",
    "price_per_kwh": 0.3,
}


def experiment(**sections: object) -> ExperimentConfig:
    document = {"name": "x", "dataset": {"kind": "digits"}, **sections}
    return parse_config(document, "experiment.yaml")


def sla(*high: str, product: ProductConfig | None = None, medium: tuple[str, ...] = ()) -> Sla:
    tiers = {
        "critical": (),
        "high": tuple(map(Clause.parse, high)),
        "medium": tuple(map(Clause.parse, medium)),
    }
    return Sla("sla.yaml", tiers, product)  # type: ignore[arg-type]


def test_clauses_become_the_limits_that_say_the_same() -> None:
    limits = sla(
        "accuracy >= 0.9",
        "worst_latency < 10 ms",
        "latency_p99 < 20 ms",
        "energy < 5 mJ",
        "worst_energy < 8 mJ",
        "flash <= 256 KiB",
        "peak_ram <= 64 KiB",
        "average_power < 2 mW",
        "battery_life >= 30 d",
        "co2e_per_million <= 2 kg",
        "cost_per_million <= 3",
    )
    constraints = with_sla(experiment(product=PRODUCT), limits).constraints
    by_hand = {
        "min_accuracy": 0.9,
        "max_latency_ms": 10.0,
        "max_latency_p99_ms": 20.0,
        "max_energy_mj": 8.0,
        "min_inferences_per_joule": 200.0,
        "max_flash_kib": 256.0,
        "max_peak_ram_kib": 64.0,
        "max_average_power_mw": 2.0,
        "min_battery_days": 30.0,
        "max_co2e_g_per_million": 2000.0,
        "max_cost_per_million": 3.0,
    }
    assert constraints.model_dump() == pytest.approx(by_hand)


@pytest.mark.parametrize(
    ("constraints", "clause", "expected"),
    [
        ({"max_latency_ms": 5.0}, "worst_latency < 10 ms", {"max_latency_ms": 5.0}),
        ({"max_latency_ms": 15.0}, "worst_latency < 10 ms", {"max_latency_ms": 10.0}),
        ({"min_accuracy": 0.95}, "accuracy >= 0.9", {"min_accuracy": 0.95}),
        ({"min_accuracy": 0.8}, "accuracy >= 0.9", {"min_accuracy": 0.9}),
        ({"min_inferences_per_joule": 300.0}, "energy < 5 mJ", {"min_inferences_per_joule": 300.0}),
    ],
)
def test_the_stricter_of_both_limits_counts(
    constraints: dict[str, float], clause: str, expected: dict[str, float]
) -> None:
    found = with_sla(experiment(constraints=constraints), sla(clause)).constraints
    assert found.model_dump(exclude_none=True) == pytest.approx(expected)


def test_what_is_judged_of_variants_only_limits_no_search() -> None:
    plain = experiment()
    limits = sla("recall >= 0.9", "recall(3) >= 0.9", "accuracy_drop <= 1 %", "latency < 1 ms")
    assert with_sla(plain, limits) == plain
    assert with_sla(plain, sla(medium=("flash < 1 KiB",))) == plain


def test_a_product_of_the_sla_is_that_of_the_experiment() -> None:
    product = ProductConfig.model_validate(PRODUCT)
    config = with_sla(experiment(), sla("battery_life >= 30 d", product=product))
    assert config.product == product
    assert with_sla(config, sla("recall >= 0.5", product=product)).product == product


def test_another_product_than_the_experiments_is_refused() -> None:
    other = ProductConfig(interval_s=1.0, sleep_power_mw=0.0)
    with pytest.raises(UserError, match=r"sla\.yaml: product: differs from section product"):
        with_sla(experiment(product=PRODUCT), sla("recall >= 0.5", product=other))


def test_a_clause_on_a_battery_needs_one() -> None:
    with pytest.raises(UserError, match=r"sla\.yaml: constraints\.min_battery_days: needs product"):
        with_sla(experiment(), sla("battery_life >= 30 d"))


@given(
    name=st.sampled_from([m.name for m in SLA_METRICS.values() if m.constraint]),
    value=st.floats(1e-4, 0.999),
)
def test_a_limit_of_the_search_rejects_just_what_the_clause_does(name: str, value: float) -> None:
    metric = SLA_METRICS[name]
    unit = next(unit for unit, factor in metric.units.items() if factor == 1)
    relation = ">=" if metric.is_minimum else "<="
    limits = sla(f"{name} {relation} {value!r} {unit}")
    config = with_sla(experiment(product=PRODUCT), limits)
    (constraint,) = constraints_of(config.constraints)
    # what divides, multiplies and inverts a limit rounds it a few times
    for share in (0.5, 1 - 1e-9, 1 + 1e-9, 2.0):
        found = value * share
        judged = 1 / found if metric.is_reciprocal else found
        assert (constraint.violation(judged) <= 0) == limits.binding[0].holds(found)


def test_the_file_of_the_documentation_is_valid(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "sla.md").read_text()
    blocks = [block.split("```")[0] for block in page.split("```yaml\n")[1:]]
    for block in blocks:
        first, text = block.split("\n", 1)
        (tmp_path / first.removeprefix("# ")).write_text(text)
    limits = load_sla(tmp_path / "sla.yaml")
    assert limits.product is not None
    assert with_sla(experiment(), limits).constraints.min_battery_days == 30
