"""Verdicts of SLAs by hand-made metrics."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.errors import UserError
from hwnas.front import Metric
from hwnas.product_config import ProductConfig
from hwnas.sla import TIERS, Clause, Sla, Tier
from hwnas.sla_check import SlaReport, Split, check_sla

METRICS = {
    "recall": Metric(0.96, "measured", 0.951, 0.968),
    "recall(yes)": Metric(0.97, "measured", 0.90, 0.99),
    "recall(no)": Metric(0.95, "measured", 0.88, 0.98),
    "latency_s": Metric(1e-3, "measured", 0.9e-3, 1.1e-3),
    "worst_latency_p99_s": Metric(4e-3, "measured", high=5e-3),
    "energy_j": Metric(4e-3, "modelled", 3e-3, 5e-3),
    "flash_bytes": Metric(2048.0, "measured"),
    "peak_power_w": Metric(0.1, "measured"),
}


def sla(critical: str = "", high: str = "", medium: str = "") -> Sla:
    texts: dict[Tier, str] = {"critical": critical, "high": high, "medium": medium}
    return Sla(
        "sla.yaml",
        {t: tuple(Clause.parse(c) for c in texts[t].split(",") if c) for t in TIERS},
    )


def verdict(clause: str) -> tuple[str, float | None]:
    (result,) = check_sla(sla(high=clause), METRICS).results
    return result.verdict, result.margin


@pytest.mark.parametrize(
    ("clause", "expected", "margin"),
    [
        # the lower end is judged, not the value
        ("recall >= 0.95", "pass", 0.001),
        ("recall >= 0.955", "fail", -0.004),
        ("recall(yes) >= 0.9", "pass", 0.0),
        ("recall(yes) > 0.9", "fail", 0.0),
        # the upper end
        ("latency_p99 < 20 ms", "pass", 15e-3),
        ("latency_p99 < 4.5 ms", "fail", -0.5e-3),
        # not measured: never a pass
        ("energy < 6 mJ", "projected", 1e-3),
        ("energy < 4.5 mJ", "fail", -0.5e-3),
        # exact where it is a size, without a bound where it is a power
        ("flash <= 2 KiB", "pass", 0.0),
        ("peak_power < 0.2 W", "projected", 0.1),
        # unknown
        ("battery_life >= 1 d", "fail", None),
        ("accuracy_drop <= 1 %", "fail", None),
    ],
)
def test_a_clause_is_judged_by_the_pessimistic_end(
    clause: str, expected: str, margin: float | None
) -> None:
    assert verdict(clause) == (expected, None if margin is None else pytest.approx(margin))


@given(
    provenance=st.sampled_from(
        ["measured", "emulated", "vendor_estimate", "predicted", "modelled"]
    ),
    value=st.floats(1e-6, 1.0),
    width=st.floats(0, 1.0),
    limit=st.integers(1, 1000),
)
def test_only_what_was_measured_passes_and_only_inside_its_limit(
    provenance: str, value: float, width: float, limit: int
) -> None:
    high = value + width
    metrics = {"energy_j": Metric(value, provenance, value, high)}  # type: ignore[arg-type]
    (result,) = check_sla(sla(high=f"energy <= {limit} mJ"), metrics).results
    if high <= limit * 1e-3:
        assert result.verdict == ("pass" if provenance == "measured" else "projected")
    else:
        assert result.verdict == "fail"


@pytest.mark.parametrize(
    ("limits", "is_met"),
    [
        (sla(critical="recall >= 0.9"), True),
        (sla(critical="recall >= 0.99"), False),
        (sla(critical="energy < 6 mJ"), False),  # projected is not enough
        (sla(high="energy < 6 mJ"), True),
        (sla(high="energy < 1 mJ"), False),
        (sla(medium="energy < 1 mJ"), True),
        (sla(critical="recall >= 0.9", high="energy < 6 mJ", medium="recall >= 0.99"), True),
    ],
)
def test_critical_must_pass_high_must_not_fail_medium_is_wanted(limits: Sla, is_met: bool) -> None:
    assert check_sla(limits, METRICS).is_met is is_met


def test_a_figure_of_less_than_its_name_says_is_projected_and_tells_why() -> None:
    partial = Metric(0.96, "measured", 0.95, 0.97, note="without b", partial=True)
    (result,) = check_sla(sla(critical="recall >= 0.9"), {"recall": partial}).results
    assert (result.verdict, result.to_dict()["note"]) == ("projected", "without b")
    (result,) = check_sla(sla(critical="recall >= 0.96"), {"recall": partial}).results
    assert result.verdict == "fail"
    note = "the value keeps it, its interval does not; without b"
    assert (
        check_sla(sla(high="recall > 0.955"), {"recall": partial}).results[0].to_dict()["note"]
        == note
    )


def test_flags_of_a_timing_stand_beside_its_verdict() -> None:
    metrics = {"latency_s": Metric(1e-3, "measured", 0.9e-3, 1.1e-3, flags="drifting, throttled")}
    (result,) = check_sla(sla(high="latency < 2 ms"), metrics).results
    assert (result.verdict, result.to_dict()["flags"]) == ("pass", "drifting, throttled")


def test_a_class_that_does_not_exist_is_the_users_mistake() -> None:
    with pytest.raises(UserError) as caught:
        check_sla(sla(high="recall(yess) >= 0.9"), METRICS)
    assert str(caught.value) == (
        "sla.yaml: high: recall(yess) >= 0.9: no sample of a class of this name. "
        "Did you mean 'yes'? Classes: yes, no."
    )


@pytest.mark.parametrize(
    ("split", "key"), [("validation", "recall(glass)"), ("test", "validation_recall(glass)")]
)
def test_a_class_that_a_split_has_no_sample_of_is_a_failed_clause(split: Split, key: str) -> None:
    """As glass of few samples may be, split by its recordings."""
    metrics = {
        "recall(yes)": Metric(0.95, "measured", 0.94, 0.96, split="test"),
        "validation_recall(yes)": Metric(0.95, "measured", 0.94, 0.96, split="validation"),
        key: Metric(1.0, "measured", 0.95, 1.0, split="validation" if "_" in key else "test"),
    }
    limits = sla(high="recall(glass) >= 0.9,recall(yes) >= 0.9")
    glass, yes = check_sla(limits, metrics, split).results
    assert (glass.verdict, glass.metric, yes.verdict) == ("fail", None, "pass")
    assert glass.note == f"no sample of it in the {split} split"
    with pytest.raises(UserError, match=r"Did you mean 'glass'\? Classes: yes, glass\."):
        check_sla(sla(high="recall(glas) >= 0.9"), metrics, split)


def test_a_product_of_the_sla_gives_battery_days_that_are_projected() -> None:
    # 4 mJ and 1 mJ of sleep per 10 s: 0.5 mW; 432 J last 10 days of it, 5.5 mJ at the worst 7.9
    product = ProductConfig.model_validate(
        {
            "interval_s": 10.0,
            "sleep_power_mw": 0.1,
            "battery": {"capacity_mah": 40.0, "voltage_v": 3.0},
        }
    )
    limits = replace(sla(high="battery_life >= 8 d,battery_life >= 9 d"), product=product)
    eight, nine = check_sla(limits, METRICS).results
    assert eight.metric is not None
    assert eight.metric.value == pytest.approx(10, rel=1e-3)
    # 5 mJ and the sleep
    assert eight.bound == pytest.approx(432 / 0.6e-3 / 86_400, rel=1e-3)
    assert (eight.verdict, nine.verdict) == ("projected", "fail")


def test_a_product_of_the_sla_leaves_no_figure_of_the_experiments_product() -> None:
    """Else an SLA without a battery would be judged by the battery of another product."""
    of_another = {
        "battery_days": Metric(900.0, "modelled", 800.0, 999.0, boundary="system"),
        "co2e_g_per_million": Metric(1.0, "modelled", boundary="system"),
        "cost_per_million": Metric(1.0, "modelled"),
    }
    product = ProductConfig(interval_s=10.0, sleep_power_mw=0.1)
    clauses = "battery_life >= 8 d,co2e_per_million < 9 g,cost_per_million < 9"
    limits = sla(high=clauses)
    assert [r.verdict for r in check_sla(limits, METRICS | of_another).results] == ["projected"] * 3
    results = check_sla(replace(limits, product=product), METRICS | of_another).results
    assert [(r.verdict, r.metric) for r in results] == [("fail", None)] * 3
    assert [r.note for r in results] == [
        "not known: needs product.battery",
        "not known: needs product.country",
        "not known: needs product.price_per_kwh",
    ]


@pytest.mark.parametrize("slow", ["worst_latency_s", "sustained_latency_s"])
def test_a_device_slower_than_its_product_keeps_none_of_the_products_clauses(slow: str) -> None:
    product = ProductConfig(interval_s=0.5, sleep_power_mw=0.1)
    limits = replace(sla(high="average_power < 1 W,recall >= 0.95"), product=product)
    late = METRICS | {slow: Metric(0.4, "measured", 0.3, 0.6)}
    power, recall = check_sla(limits, late).results
    assert power.metric is not None
    assert (power.verdict, recall.verdict) == ("fail", "pass")
    assert power.note == "an inference takes up to 0.6 s, its interval is 0.5 s"
    in_time = METRICS | {slow: Metric(0.4, "measured", 0.3, 0.5)}
    assert check_sla(limits, in_time).results[0].verdict == "projected"


def test_each_split_has_its_own_figures() -> None:
    """Recall is 0.94 on the validation split and 0.99 on the test split; latency is of neither."""
    metrics = {
        "recall": Metric(0.99, "measured", 0.98, 1.0, split="test"),
        "validation_recall": Metric(0.94, "measured", 0.93, 0.95, split="validation"),
        "accuracy_drop": Metric(0.0, "measured", 0.0, 0.0, split="test"),
        "latency_s": Metric(1e-3, "measured", 1e-3, 1e-3),
    }
    limits = sla(high="recall >= 0.96,latency < 2 ms,accuracy_drop <= 1 %")

    def verdicts(report: SlaReport) -> list[str]:
        return [result.verdict for result in report.results]

    on_test, on_validation = check_sla(limits, metrics), check_sla(limits, metrics, "validation")
    assert verdicts(on_test) == ["pass", "pass", "pass"]
    # the drop is known of the test split alone, and that is not looked at
    assert verdicts(on_validation) == ["fail", "pass", "fail"]
    assert (on_test.split, on_validation.split) == ("test", "validation")
    assert [r.to_dict()["split"] for r in on_validation.results] == ["validation", None, None]
