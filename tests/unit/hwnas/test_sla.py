"""The SLA file: what clauses mean, and what is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.errors import UserError
from hwnas.sla import Clause, load_sla
from hwnas.sla_metrics import SLA_METRICS, UNITS

PRODUCT = "product: {interval_s: 60, sleep_power_mw: 0.1}\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "sla.yaml"
    path.write_text(text)
    return path


def error_of(folder: Path, text: str) -> str:
    path = written(folder, text)
    with pytest.raises(UserError) as caught:
        load_sla(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("text", "key", "limit"),
    [
        ("recall >= 0.95", "recall", 0.95),
        ("recall(yes) >= 90 %", "recall(yes)", 0.9),
        ("recall( wake up )>=0.9", "recall(wake up)", 0.9),
        ("recall(cat (big)) >= 0.9", "recall(cat (big))", 0.9),
        ("energy < 5 mJ", "energy_j", 5e-3),
        ("energy<5mJ", "energy_j", 5e-3),
        ("energy < 800 µJ", "energy_j", 8e-4),
        ("energy < 1e-3 J", "energy_j", 1e-3),
        ("latency_p99 < 20 ms", "worst_latency_p99_s", 20e-3),
        ("battery_life >= 30 days", "battery_days", 30.0),
        ("battery_life >= 36 h", "battery_days", 1.5),
        ("accuracy_drop <= 1 %", "accuracy_drop", 0.01),
        ("flash <= 256 KiB", "flash_bytes", 262_144.0),
        ("co2e_per_million <= 2 kg", "co2e_g_per_million", 2000.0),
        ("cost_per_million <= 0.3", "cost_per_million", 0.3),
        ("peak_current < 15 mA", "peak_current_a", 15e-3),
    ],
)
def test_a_clause_limits_a_metric_in_its_own_unit(text: str, key: str, limit: float) -> None:
    clause = Clause.parse(text)
    assert clause.key == key
    assert clause.limit == pytest.approx(limit, rel=1e-12)
    assert Clause.parse(str(clause)) == clause


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        ("flash < 1 KiB", 1024.0, False),
        ("flash <= 1 KiB", 1024.0, True),
        ("flash <= 1 KiB", 1025.0, False),
        ("recall > 0.5", 0.5, False),
        ("recall >= 0.5", 0.5, True),
        ("recall >= 0.5", 0.49, False),
    ],
)
def test_the_limit_itself_is_kept_only_where_it_may_be_reached(
    text: str, value: float, holds: bool
) -> None:
    assert Clause.parse(text).holds(value) is holds


@pytest.mark.parametrize(
    ("clause", "message"),
    [
        ("recal >= 0.9", "recal >= 0.9: unknown metric 'recal'. Did you mean 'recall'? Known:"),
        (
            "latency_s < 2 ms",
            "latency_s < 2 ms: unknown metric 'latency_s'. Did you mean 'latency'?",
        ),
        ("energy < 5 ms", "energy < 5 ms: unit of energy: wanted J or mJ"),
        ("energy < 5 mj", "energy < 5 mj: unit of energy: wanted J or mJ"),
        ("energy < 5", "energy < 5: unit of energy: wanted J or mJ or uJ or µJ or nJ. Got none."),
        ("recall >= 0.9 J", "recall >= 0.9 J: unit of recall: wanted no unit or %"),
        ("recall >= 95", "recall >= 95: wanted a limit from 0 to 1, or from 0 to 100 %. Got 95."),
        ("energy > 5 mJ", "energy > 5 mJ: wanted < or <=, as less of energy is better. Got >."),
        ("recall <= 0.9", "recall <= 0.9: wanted > or >=, as more of recall is better. Got <=."),
        ("energy(yes) < 5 mJ", "energy(yes) < 5 mJ: energy is not known by class"),
        ("energy < 0 mJ", "energy < 0 mJ: wanted a limit of more than 0. Got 0."),
        ("energy < 1e999 mJ", "energy < 1e999 mJ: wanted a limit of more than 0. Got inf."),
        ("P99 latency < 2 ms", "P99 latency < 2 ms: unknown metric 'P99 latency'."),
        ("energy", "wanted a limit such as 'energy < 5 mJ'. Got 'energy'."),
        ("energy = 5 mJ", "wanted a limit such as 'energy < 5 mJ'. Got 'energy = 5 mJ'."),
        ("energy: 5", "wanted a limit such as 'energy < 5 mJ'. Got {'energy': 5}."),
        ("5", "wanted a limit such as 'energy < 5 mJ'. Got 5."),
    ],
)
def test_a_clause_that_cannot_be_is_refused_in_one_line(
    tmp_path: Path, clause: str, message: str
) -> None:
    text = f"critical: [recall >= 0.5]\nhigh:\n  - flash < 9 KiB\n  - {clause}\n"
    assert error_of(tmp_path, text).startswith(f"high.1: {message}")


def test_an_impossible_unit_is_called_by_what_it_is_of() -> None:
    with pytest.raises(ValueError, match="Got 'ms', a unit of time"):
        Clause.parse("energy < 5 ms")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "wanted a clause under critical, high, medium. Got none."),
        ("high: []", "wanted a clause under critical, high, medium. Got none."),
        ("critcal: [recall >= 0.9]", "critcal: unknown key. Did you mean 'critical'?"),
        ("high: recall >= 0.9", "high: wanted a list. Got"),
        ("- recall >= 0.9", "wanted keys and values such as"),
        ("high: [recall >= 0.9", "not valid YAML"),
        (
            "critical: [recall >= 0.9, battery_life >= 30 d]",
            "critical.1: battery_life is computed from a description of the product and never "
            "measured. Put it under high.",
        ),
    ],
)
def test_a_file_that_is_no_sla_is_refused_in_one_line(
    tmp_path: Path, text: str, message: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UserError) as caught:
        load_sla(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_tiers_and_product_are_read_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "product.yaml").write_text(PRODUCT)
    sla = load_sla(
        written(
            tmp_path,
            "critical: [recall >= 0.95, latency_p99 < 20 ms]\nhigh: [battery_life >= 30 d]\n"
            "medium: [energy < 1 mJ]\nproduct: product.yaml\n",
        )
    )
    assert sla.product is not None
    assert sla.product.interval_s == 60
    assert {tier: [str(c) for c in clauses] for tier, clauses in sla.tiers.items()} == {
        "critical": ["recall >= 0.95", "latency_p99 < 20 ms"],
        "high": ["battery_life >= 30 d"],
        "medium": ["energy < 1 mJ"],
    }
    assert [c.key for c in sla.binding] == ["recall", "worst_latency_p99_s", "battery_days"]


def test_a_missing_product_file_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, "high: [recall >= 0.5]\nproduct: none.yaml\n")
    with pytest.raises(UserError, match=r"none\.yaml: cannot be read"):
        load_sla(path)


_CLAUSES = st.sampled_from(sorted(SLA_METRICS)).flatmap(
    lambda name: st.tuples(
        st.just(name),
        st.sampled_from(sorted(UNITS[SLA_METRICS[name].quantity])),
        st.integers(1, 100),
        st.booleans(),
    )
)


@given(_CLAUSES)
def test_every_clause_that_is_printed_reads_as_itself(
    parts: tuple[str, str, int, bool],
) -> None:
    name, unit, number, is_strict = parts
    metric = SLA_METRICS[name]
    shown = number / 100 if (metric.quantity, unit) == ("fraction", "") else number
    relation = (">" if metric.is_minimum else "<") + ("" if is_strict else "=")
    text = f"{name} {relation} {shown:g} {unit}".rstrip()
    clause = Clause.parse(text)
    assert str(clause) == text
    # a hair on the good side of the limit it holds, and on the bad side not
    nearer, beyond = (1.001, 0.999) if metric.is_minimum else (0.999, 1.001)
    assert clause.holds(clause.limit * nearer)
    assert not clause.holds(clause.limit * beyond)
