"""The report's section on variants: what can be deployed, and what was tried."""

from __future__ import annotations

from hwnas import html_page as page
from hwnas.product_config import ProductConfig
from hwnas.product_section import product_section
from hwnas.sla_table import COMPARISON_HEADS, comparison_energies, comparison_rows
from hwnas.variants import Variants

_NOTE = "The drop is of test accuracy, paired by sample. Each was measured on the target it names."


def variants_sections(variants: Variants, product: ProductConfig | None) -> str:
    """Return what can be deployed beside the baseline, what was tried, and the product's shares.

    Args:
        variants: Of the run.
        product: What surrounds the network, where the experiment says so.
    """
    tried = [
        (attempt.arch_id, attempt.what, "yes" if attempt.kept else "no", attempt.outcome)
        for attempt in variants.attempts
    ]
    table = page.table(COMPARISON_HEADS, comparison_rows(variants))
    note = (
        "Forms of front members and exit policies that no other one beats, below the baseline: "
        f"{variants.baseline_text}. {_NOTE} {comparison_energies(variants).capitalize()}"
    )
    sections = [
        page.section("Variants", table, note),
        page.section(
            "What was tried",
            page.table(("member", "what", "kept", "what came of it"), tried),
            "Kept: a variant that came of it is on the front.",
        ),
    ]
    if product is not None:
        shown = variants.front or (variants.named(variants.baseline),)
        metrics = {v.variant_id: v.metrics for v in shown}
        sections.append(product_section(product, metrics))
    return "".join(sections)
