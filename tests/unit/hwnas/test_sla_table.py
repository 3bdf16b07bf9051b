"""What the tables of SLAs, variants and products show, by hand-made figures."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console
from rich.table import Table

from hwnas.exit_policy import ExitPolicy
from hwnas.front import Metric
from hwnas.sla import Clause, Sla
from hwnas.sla_check import check_sla
from hwnas.sla_table import (
    COMPARISON_HEADS,
    comparison_energies,
    comparison_rows,
    comparison_table,
    shares_rows,
    shares_table,
    sla_table,
)
from hwnas.variants import NetworkForm, Variant, Variants

METRICS = {
    "accuracy": Metric(0.951, "measured", 0.94, 0.96, split="test"),
    "accuracy_drop": Metric(0.004, "measured", -0.001, 0.009),
    "latency_s": Metric(1e-3, "measured", 0.9e-3, 1.1e-3),
    "energy_j": Metric(4e-3, "modelled", 3e-3, 5e-3, boundary="inference_gross"),
    "flash_bytes": Metric(20 * 1024.0, "measured"),
    "worst_latency_s": Metric(2e-3, "measured", 1e-3, 3e-3, flags="drifting, throttled"),
    "sustained_latency_s": Metric(2e-3, "measured", high=3e-3, note="of short loops", partial=True),
}


def shown(table: Table) -> str:
    text = io.StringIO()
    Console(file=text, width=200).print(table)
    return text.getvalue()


def lines_of(*clauses: str) -> list[str]:
    sla = Sla("sla.yaml", {"critical": (), "high": tuple(map(Clause.parse, clauses)), "medium": ()})
    text = shown(sla_table(check_sla(sla, METRICS), "net [red]"))
    assert "net [red] " in text
    assert "on the test split" in text
    return [line for line in text.splitlines() if line.startswith("│ high")]


@pytest.mark.parametrize(
    ("clause", "cells"),
    [
        ("energy < 8 mJ", ["projected", "4 mJ", "5 mJ", "+3 mJ (+38%)", "modelled"]),
        ("latency < 1 ms", ["fail", "1 ms", "1.1 ms", "-0.1 ms (-10%)", "measured"]),
        ("accuracy >= 90 %", ["pass", "95.1 %", "94 %", "+4 %", "measured, test split"]),
        ("flash <= 20 KiB", ["pass", "20 KiB", "+0 KiB (+0%)", "measured"]),
        ("worst_latency < 4 ms", ["pass", "measured, drifting, throttled"]),
        ("sustained_latency < 4 ms", ["projected", "measured, of short loops"]),
        ("battery_life >= 1 d", ["fail", "-", "not known: needs product.battery"]),
    ],
)
def test_a_row_shows_verdict_bound_and_margin_in_the_clauses_unit(
    clause: str, cells: list[str]
) -> None:
    (line,) = lines_of(clause)
    for cell in [clause, *cells]:
        assert cell in line


def variant(name: str, metrics: dict[str, Metric], on_front: bool = True) -> Variant:
    form = NetworkForm(name, "quantization_aware", "int8", name, (name,))
    return Variant(form, ExitPolicy((0.5,)), (0.75, 0.25), "host", metrics, on_front=on_front)


def test_variants_stand_beside_the_baseline_least_energy_first() -> None:
    half = METRICS | {
        "energy_j": Metric(2e-3, "modelled"),
        "latency_s": Metric(0.25e-3, "measured"),
    }
    third = METRICS | {"energy_j": Metric(3e-3, "measured"), "flash_bytes": Metric(5120.0)}
    base, cheap, other = variant("base", METRICS), variant("cheap", half), variant("other", third)
    beaten = variant("beaten", METRICS, on_front=False)
    variants = Variants((other, cheap, base, beaten), base.variant_id)
    rows = comparison_rows(variants)
    assert [row[0].split("-")[0] for row in rows] == ["base", "cheap", "other"]
    assert all(len(row) == len(COMPARISON_HEADS) for row in rows)
    assert rows[0][1:] == (
        *("quantization aware", "int8", "75/25 %", "95.1 % (94.0-96.0)", "0.4 % (-0.1-0.9)"),
        *("1.00 ms", "x 1.00", "4.00 mJ †", "x 1.00", "20 KiB", "x 1.00"),
    )
    assert rows[1][6:] == ("250 µs", "x 0.25", "2.00 mJ †", "x 0.50", "20 KiB", "x 1.00")
    # an energy that was measured does not compare with one that was modelled
    assert rows[2][8:10] == ("3.00 mJ", "-")
    told = "of several kinds that do not compare: measured by power meters; † modelled"
    assert told in comparison_energies(variants)
    assert all(word in shown(comparison_table(variants)) for word in ("cheap", "†", "several"))


def test_a_baseline_that_is_not_on_the_front_comes_first_all_the_same() -> None:
    base = replace(variant("base", METRICS), on_front=False)
    rows = comparison_rows(Variants((variant("cheap", METRICS), base), base.variant_id))
    assert [row[0].split("-")[0] for row in rows] == ["base", "cheap"]
    # of one kind, energies need no mark
    assert [row[8] for row in rows] == ["4.00 mJ", "4.00 mJ"]


def test_parts_that_take_nothing_have_no_row() -> None:
    shares = {
        "high": {"network": 0.5, "sensor": 0.0, "sleep": 0.5},
        "low": {"network": 0.25, "sensor": 0.0, "sleep": 0.75},
    }
    assert shares_rows(shares) == [
        ("network", "50.0 %", "25.0 %"),
        ("sleep", "50.0 %", "75.0 %"),
    ]
    assert "50.0 %" in shown(shares_table(shares))
