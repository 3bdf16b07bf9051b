"""Tables of SLAs, of variants beside the baseline, and of what a product's parts take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.markup import escape
from rich.table import Table

from hwnas.energy_text import energy_caption, energy_cell, energy_provenances
from hwnas.front import Metric
from hwnas.product_shares import PARTS
from hwnas.sla_check import ClauseResult, SlaReport, Verdict
from hwnas.sla_choice import SlaChoice
from hwnas.tables import exit_text
from hwnas.units import engineering, kibibytes, percent
from hwnas.variants import Variant, Variants

_COLORS: dict[Verdict, str] = {"pass": "green", "projected": "yellow", "fail": "red"}

SLA_HEADS = ("tier", "clause", "verdict", "value", "bound", "margin", "note")
"""Of `sla_rows`."""

COMPARISON_HEADS = (
    *("variant", "training", "precision", "exits", "accuracy", "drop"),
    *("latency", "", "energy", "", "flash", ""),
)
"""Of `comparison_rows`; the columns without a name are relative to the baseline."""


def sla_table(report: SlaReport, judged: str) -> Table:
    """Return one row per clause: verdict, value, the bound it is judged by, and the margin.

    Args:
        report: Of one variant.
        judged: What was judged, for the title.
    """
    outcome = "meets" if report.is_met else "does not meet"
    table = Table(
        title=escape(f"{judged} {outcome} the SLA on the {report.split} split"),
        caption="Judged by the bad end of each 95 % interval. Critical clauses must pass; high "
        "ones must not fail; medium ones are wanted. projected: kept, but not measured.",
    )
    for place, heading in enumerate(SLA_HEADS):
        is_number = heading in ("value", "bound", "margin")
        table.add_column(
            heading, justify="right" if is_number else "left", no_wrap=place < len(SLA_HEADS) - 1
        )
    for row, result in zip(sla_rows(report), report.results, strict=True):
        tier, clause, verdict, *rest = map(escape, row)
        table.add_row(tier, clause, f"[{_COLORS[result.verdict]}]{verdict}[/]", *rest)
    return table


def sla_rows(report: SlaReport) -> list[tuple[str, ...]]:
    """Return cells under `SLA_HEADS`, a row per clause."""
    return [
        (
            result.tier,
            str(result.clause),
            result.verdict,
            "-" if result.metric is None else result.clause.shown(result.metric.value),
            "-" if result.bound is None else result.clause.shown(result.bound),
            _margin(result),
            _note(result),
        )
        for result in report.results
    ]


def _margin(result: ClauseResult) -> str:
    clause, margin = result.clause, result.margin
    if margin is None:
        return "-"
    shown = f"{'+' if margin >= 0 else ''}{clause.shown(margin)}"
    # a fraction's margin is in points, of which a share says little
    if clause.metric.quantity == "fraction":
        return shown
    return f"{shown} ({margin / clause.limit:+.0%})"


def _note(result: ClauseResult) -> str:
    metric = result.metric
    split = f"{metric.split} split" if metric and metric.split else None
    origin = [metric.provenance, metric.boundary, split, metric.flags] if metric else []
    return ", ".join(str(part) for part in [*origin, *result.remarks] if part)


def outcome_note(choice: SlaChoice) -> str:
    """Return in a sentence what an SLA's choice came to."""
    if choice.judged is None:
        return (
            "No variant meets the SLA on the validation split: the one that misses least is "
            "shown. The test split was not looked at."
        )
    if choice.judged.is_met:
        return "Chosen by the validation split; the test split confirms it."
    return (
        "The test split does not confirm what the validation split chose. There is no second "
        "choice: by these figures it would be one that the test split favours. Search for more, "
        "or ask for less."
    )


def comparison_table(variants: Variants) -> Table:
    """Return the baseline and the front's variants, least energy first."""
    table = Table(
        title="Variants beside the baseline",
        caption=f"The baseline first. accuracy: test split, 95 % interval. "
        f"{escape(comparison_energies(variants))}",
    )
    for place, heading in enumerate(COMPARISON_HEADS):
        table.add_column(heading, justify="left" if place < 4 else "right", no_wrap=True)
    for row in comparison_rows(variants):
        table.add_row(*map(escape, row))
    return table


def comparison_energies(variants: Variants) -> str:
    """Return where the energies of `comparison_rows` come from, and what their marks say."""
    return energy_caption(_provenances(variants))


def comparison_rows(variants: Variants) -> list[tuple[str, ...]]:
    """Return cells under `COMPARISON_HEADS`: the baseline, then the front's variants.

    Energies of several kinds are marked, see `comparison_energies`; costs of another kind than
    the baseline's have no ratio.
    """
    baseline, *others = variants.shown
    others.sort(key=lambda v: v.metrics["energy_j"].value)
    provenances = _provenances(variants)
    return [_comparison(variant, baseline, provenances) for variant in (baseline, *others)]


def _provenances(variants: Variants) -> list[str]:
    return energy_provenances(v.to_dict() for v in variants.shown)


def _comparison(variant: Variant, baseline: Variant, provenances: Sequence[str]) -> tuple[str, ...]:
    metrics, base = variant.metrics, baseline.metrics
    accuracy = metrics.get("accuracy") or metrics["validation_accuracy"]
    drop = metrics.get("accuracy_drop")
    cells = [
        variant.variant_id,
        variant.form.training.replace("_", " "),
        variant.form.precision,
        exit_text(variant.exit_shares),
        percent(accuracy.value, accuracy.low, accuracy.high),
        "-" if drop is None else percent(drop.value, drop.low, drop.high),
    ]
    for key, shown in (
        ("latency_s", engineering(metrics["latency_s"].value, "s")),
        ("energy_j", energy_cell(variant.to_dict(), provenances)),
    ):
        cells += [shown, _ratio(metrics[key], base[key])]
    flash = metrics["flash_bytes"]
    return (*cells, kibibytes(flash.value), _ratio(flash, base["flash_bytes"]))


def _ratio(metric: Metric, base: Metric) -> str:
    if metric.provenance != base.provenance or base.value == 0:
        return "-"
    return f"x {metric.value / base.value:.2f}"


def shares_table(shares: Mapping[str, Mapping[str, float]]) -> Table:
    """Return what each part of a product takes of its energy, one column per network.

    Args:
        shares: By a network's name, as `hwnas.product_shares.product_shares` returns them.
    """
    table = Table(title="What the battery pays for", caption="modelled, from the product's file")
    table.add_column("part")
    for name in shares:
        table.add_column(escape(name), justify="right")
    for row in shares_rows(shares):
        table.add_row(*row)
    return table


def shares_rows(shares: Mapping[str, Mapping[str, float]]) -> list[Sequence[str]]:
    """Return cells: a part, then its share in each product; parts that take nothing are left out.

    Args:
        shares: As of `shares_table`.
    """
    return [
        (label, *(percent(parts.get(part, 0.0)) for parts in shares.values()))
        for part, label in PARTS.items()
        if any(parts.get(part, 0.0) > 0 for parts in shares.values())
    ]
