"""One self-contained HTML page about a run; every value from the run is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hwnas import html_page as page
from hwnas.accuracy_text import TIES_NOTE, accuracy_notes, standings_text, tie_letters
from hwnas.energy_text import (
    ENERGY_METRICS,
    PRODUCT_METRICS,
    ShownMetric,
    energy_caption,
    energy_mark,
    energy_provenances,
    interval_text,
    notes,
    present,
    qualifiers,
)
from hwnas.product_config import ProductConfig
from hwnas.report_variants import variants_sections
from hwnas.run_folder import RunFolder
from hwnas.tables import agreement_cells, exit_text
from hwnas.units import engineering, kibibytes, percent
from hwnas.variants import Variants
from targets import write_atomically

Document = Mapping[str, Any]

_PRODUCT_NOTE = (
    "Computed from the energy of an inference and section product of the settings, with sleep, "
    "waking, sensor, processing and radio."
)

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1b2733; margin: 0; background: #f6f8fa; }
main { max-width: 1200px; margin: 0 auto; padding: 24px; }
section { background: white; border: 1px solid #e6ebf0; border-radius: 8px; padding: 16px 24px;
  margin: 16px 0; }
h1 { font-size: 26px; margin: 8px 0; } h2 { font-size: 18px; margin: 4px 0 12px; }
p.note { color: #5b6976; margin: 4px 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13px; }
th, td { padding: 6px 7px; text-align: right; border-bottom: 1px solid #e6ebf0;
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
td.id { font-family: ui-monospace, monospace; }
.tag { font-size: 11px; color: #5b6976; }
.columns { display: grid; grid-template-columns: 1fr 1fr; gap: 16px; }
@media (max-width: 800px) { .columns { grid-template-columns: 1fr; } }
pre { background: #f6f8fa; padding: 12px; overflow-x: auto; font-size: 13px; }
"""


def report(run: Path) -> Path:
    """Write ``report.html`` in a finished run's folder.

    Args:
        run: The run's folder.

    Returns:
        Path of the page. It needs no network and no other file.

    Raises:
        UserError: If the run is not finished, damaged, or of another schema version.
    """
    folder = RunFolder(run)
    manifest, front = folder.manifest(), folder.front()
    variants = Variants.load(folder.variants_json)
    write_atomically(folder.report_html, render(manifest, front, variants).encode())
    return folder.report_html


def render(manifest: Document, front: Document, variants: Variants) -> str:
    """Return the page.

    Args:
        manifest: Content of ``manifest.json``.
        front: Content of ``front.json``.
        variants: Of its members.
    """
    from plotly.offline import get_plotlyjs

    from hwnas.report_figures import hypervolume_figure, pareto_figure, prediction_figure

    title = f"{front['run']} on {front['target']}"
    sections = [
        page.section(
            "Accuracy against cost",
            page.figure(pareto_figure(front), "pareto"),
            "Gray: trained, cost predicted. Blue: measured on the target; where some energies "
            "were measured and others not, the symbol tells which. Hollow: not on the front, which "
            "was chosen on the validation split; the table gives test accuracy.",
        ),
        page.section("Pareto front", _front_table(front), _front_note(front)),
        _finalists_section(front),
        variants_sections(variants, _product(manifest)),
        _metrics_section("Energy of an inference", front, ENERGY_METRICS),
        _metrics_section("The whole product", front, PRODUCT_METRICS, _PRODUCT_NOTE),
        '<div class="columns">',
        page.section(
            "Predicted against measured", page.figure(prediction_figure(front), "prediction")
        ),
        page.section(
            "Progress of the search", page.figure(hypervolume_figure(front), "hypervolume")
        ),
        "</div>",
        page.section("Calibration of the predictors", _calibration(front)),
        page.section("Settings and versions", _settings(manifest)),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>hwnas: {page.text(title)}</title><style>{_STYLE}</style>"
        f"<script>{get_plotlyjs()}</script></head><body><main>"
        f"<h1>{page.text(title)}</h1>{_summary(front)}{''.join(sections)}</main></body></html>"
    )


def _product(manifest: Document) -> ProductConfig | None:
    described = manifest["config"].get("product")
    return None if described is None else ProductConfig.model_validate(described)


def _summary(front: Document) -> str:
    counts = front["counts"]
    members = sum(c["on_front"] for c in front["candidates"])
    limits = ", ".join(
        f"{c['name']} {c['bound'] * c['shown_per_si']:g}" for c in front["constraints"]
    )
    text = (
        f"{counts['evaluated']} architectures trained, {counts['stopped']} stopped early, "
        f"{counts['infeasible']} rejected by limits before training, "
        f"{counts['repeated']} repeats skipped, {counts['failed']} failed; "
        f"{members} on the front; hypervolume {front['hypervolume']['value']:.4f}. "
        f"Limits: {limits or 'none'}."
    )
    return page.notes([text])


def _front_note(front: Document) -> str:
    return (
        "Accuracy on the test split with its 95 % interval. Latency: measured, mean over the "
        "exits' shares; worst: through every exit. "
        f"{energy_caption(energy_provenances(_members(front))).capitalize()} "
        f"{TIES_NOTE.capitalize()}"
    )


def _members(front: Document) -> list[Document]:
    """Return the front's members, fastest first."""
    members = [c for c in front["candidates"] if c["on_front"]]
    return sorted(members, key=lambda c: float(c["metrics"]["latency_s"]["value"]))


def _metrics_section(
    title: str, front: Document, known: Sequence[ShownMetric], note: str = ""
) -> str:
    """Return a column per member and a row per metric, with intervals and what qualifies them."""
    members = _members(front)
    rows: list[tuple[page.Html, ...]] = []
    for shown in present(known, members):
        metrics = [m["metrics"].get(shown.key) for m in members]
        origins = {qualifiers(metric) for metric in metrics if metric is not None}
        # said once where all agree
        common = origins.pop() if len(origins) == 1 else None
        cells = [_metric_cell(shown, metric, common is None) for metric in metrics]
        rows.append((page.tagged(shown.label, common or ""), *cells))
    if not rows:
        return ""
    heads = ("", *(str(m["arch_id"]) for m in members))
    beside = page.notes(notes(known, members))
    return page.section(title, page.table(heads, rows) + beside, note)


def _metric_cell(shown: ShownMetric, metric: Document | None, qualified: bool) -> page.Html:
    if metric is None:
        return page.Html("-")
    beside = [interval_text(shown, metric), qualifiers(metric) if qualified else ""]
    return page.tagged(shown.show(metric["value"]), ", ".join(part for part in beside if part))


def _front_table(front: Document) -> str:
    heads = (
        "architecture",
        "exits",
        "test accuracy",
        "seeds",
        "ties",
        "latency",
        "worst",
        "P99",
        "energy",
        "inferences/J",
        "flash",
        "RAM",
        "MACs",
    )
    rows = []
    members = _members(front)
    provenances = energy_provenances(members)
    letters = tie_letters(front["candidates"])
    for member in members:
        m = member["metrics"]
        accuracy, energy = m["accuracy"], m["energy_j"]
        rows.append(
            (
                member["arch_id"],
                exit_text(member["deployment"]["exit_shares"]),
                _accuracy_text(accuracy),
                str(accuracy["seeds"]),
                letters.get(member["arch_id"], "-"),
                page.tagged(
                    engineering(m["latency_s"]["value"], "s"), m["latency_s"]["provenance"]
                ),
                engineering(m["worst_latency_s"]["value"], "s"),
                engineering(m["latency_p99_s"]["value"], "s"),
                page.tagged(
                    engineering(energy["value"], "J"),
                    f"{energy['provenance']} {energy_mark(member, provenances)}".rstrip(),
                ),
                f"{m['inferences_per_joule']['value']:,.0f}",
                kibibytes(m["flash_bytes"]["value"]),
                kibibytes(m["peak_ram_bytes"]["value"]),
                f"{m['macs']['value']:,.0f}",
            )
        )
    return page.table(heads, rows)


def _finalists_section(front: Document) -> str:
    """Return what several seeds and the test split say of those that were retrained."""
    finalists = [c for c in front["candidates"] if "search_validation_accuracy" in c["metrics"]]
    if not finalists:
        return ""
    finalists.sort(key=lambda c: -float(c["metrics"]["accuracy"]["value"]))
    letters = tie_letters(front["candidates"])
    numbers = {c["arch_id"]: str(i) for i, c in enumerate(finalists, start=1)}
    heads = (
        "finalist",
        "no.",
        "on the front",
        "validation, in the search",
        "validation, other seeds",
        "test accuracy",
        "ties",
        "more accurate than no.",
        "tied with no.",
    )
    rows = [
        (
            c["arch_id"],
            numbers[c["arch_id"]],
            "yes" if c["on_front"] else "no",
            *(
                _accuracy_text(c["metrics"][name])
                for name in ("search_validation_accuracy", "validation_accuracy", "accuracy")
            ),
            letters.get(c["arch_id"], "-"),
            standings_text(c["better_than"], numbers) or "-",
            standings_text(c["ties_with"], numbers) or "-",
        )
        for c in finalists
    ]
    return page.section(
        "How sure the accuracies are",
        page.table(heads, rows) + page.notes(accuracy_notes(front)),
        "Finalists were trained again with several seeds and compared on the same test samples, "
        "which no choice has seen. In parentheses the probability to be the more accurate one of "
        "each pair alone; who is called more accurate is so at 95 % for all pairs together.",
    )


def _accuracy_text(accuracy: Document) -> str:
    return percent(accuracy["value"], accuracy["low"], accuracy["high"])


def _calibration(front: Document) -> str:
    report = front["calibration"]
    held_out = report.get("held_out")
    if held_out is None:
        return page.notes(["No held-out architectures were measured."])
    heads = ("", "MAPE", "within 5 %", "within 10 %", "Spearman", "Kendall")
    rows = [
        ("predictor, held-out architectures", *agreement_cells(held_out["latency_s"])),
        ("MACs alone, the same ones", *agreement_cells(held_out["macs_baseline"])),
        (f"predictor of {report['energies']} energies", *agreement_cells(held_out["energy_j"])),
    ]
    if front["front_prediction"] is not None:
        rows.append(("predictor, measured front", *agreement_cells(front["front_prediction"])))
    note = (
        f"Fitted to {report['n_fitted']} architectures, judged on {report['n_held_out']} random "
        f"others; {held_out['interval_coverage']:.0%} of them inside the 90 % interval."
    )
    return page.table(heads, rows) + page.notes([note])


def _settings(manifest: Document) -> str:
    import yaml

    shown = {"config": manifest["config"], "environment": manifest["environment"]}
    return f"<pre>{page.text(yaml.safe_dump(shown, sort_keys=False))}</pre>"
