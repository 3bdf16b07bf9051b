"""The terminal's table of variants: the baseline, then what can be deployed instead of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwnas.tables import exit_text
from hwnas.units import engineering, kibibytes, percent

if TYPE_CHECKING:
    from rich.table import Table

    from hwnas.variants import Variant, Variants

_CAPTION = (
    "The baseline first: the most accurate float32 network without early exits. accuracy: test "
    "split, 95 % interval. latency: measured, mean over the exits' shares. What was tried, and "
    "what came of it, is in the report."
)


def variant_table(variants: Variants) -> Table:
    """Return the baseline and the variants on the front, slowest first."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="Variants to deploy", caption=_CAPTION)
    table.add_column("architecture", no_wrap=True)
    table.add_column("form")
    for heading in ("exits", "accuracy", "latency", "energy", "flash"):
        table.add_column(heading, justify="right", no_wrap=True)
    baseline = variants.named(variants.baseline)
    others = [v for v in variants.front if v.variant_id != variants.baseline]
    others.sort(key=lambda v: -v.metrics["latency_s"].value)
    for variant in (baseline, *others):
        table.add_row(*map(escape, _cells(variant)))
    return table


def _cells(variant: Variant) -> tuple[str, ...]:
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
        engineering(metrics["energy_j"].value, "J"),
        kibibytes(metrics["flash_bytes"].value),
    )
