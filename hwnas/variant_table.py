"""The terminal's table of variants: the baseline, then what can be deployed instead of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hwnas.energy_text import energy_caption, energy_cell, energy_provenances
from hwnas.tables import exit_text
from hwnas.units import engineering, kibibytes, percent

if TYPE_CHECKING:
    from rich.table import Table

    from hwnas.variants import Variant, Variants

_CAPTION = (
    "accuracy: test split, 95 % interval. latency: measured, mean over the exits' shares. What was "
    "tried, and what came of it, is in the report."
)


def variant_table(variants: Variants) -> Table:
    """Return the baseline and the variants on the front, slowest first.

    Energies of several kinds are marked, as they do not compare.
    """
    from rich.markup import escape
    from rich.table import Table

    baseline, *others = variants.shown
    others.sort(key=lambda v: -v.metrics["latency_s"].value)
    provenances = energy_provenances(v.to_dict() for v in variants.shown)
    first = f"The baseline first: {variants.baseline_text}."
    caption = escape(f"{first} {_CAPTION} {energy_caption(provenances)}")
    table = Table(title="Variants to deploy", caption=caption)
    table.add_column("architecture", no_wrap=True)
    table.add_column("form")
    for heading in ("exits", "accuracy", "latency", "energy", "flash"):
        table.add_column(heading, justify="right", no_wrap=True)
    for variant in (baseline, *others):
        table.add_row(*map(escape, _cells(variant, provenances)))
    return table


def _cells(variant: Variant, provenances: Sequence[str]) -> tuple[str, ...]:
    metrics, form = variant.metrics, variant.form
    accuracy = metrics["accuracy"]
    parts: list[str] = [form.precision]
    if form.training != "plain":
        parts.append(form.training.replace("_", " "))
    if variant.device_point is not None:
        parts.append(variant.device_point)
    return (
        form.arch_id,
        ", ".join(parts),
        exit_text(variant.exit_shares),
        percent(accuracy.value, accuracy.low, accuracy.high),
        engineering(metrics["latency_s"].value, "s"),
        energy_cell(variant.to_dict(), provenances),
        kibibytes(metrics["flash_bytes"].value),
    )
