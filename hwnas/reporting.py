"""One self-contained HTML page about a run; every value from the run is escaped."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
from hwnas.run_folder import RunFolder
from hwnas.tables import agreement_cells, exit_text
from hwnas.units import engineering, kibibytes, percent
from targets import write_atomically

Document = Mapping[str, Any]

_PLOT = {"responsive": True, "displaylogo": False, "displayModeBar": False}

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
    write_atomically(folder.report_html, render(manifest, front).encode())
    return folder.report_html


def render(manifest: Document, front: Document) -> str:
    """Return the page.

    Args:
        manifest: Content of ``manifest.json``.
        front: Content of ``front.json``.
    """
    from plotly.offline import get_plotlyjs

    from hwnas.report_figures import hypervolume_figure, pareto_figure, prediction_figure

    title = f"{front['run']} on {front['target']}"
    sections = [
        _section(
            "Accuracy against cost",
            _figure(pareto_figure(front), "pareto"),
            "Gray: trained, cost predicted. Blue: measured on the target; where some energies "
            "were measured and others not, the symbol tells which. The front was chosen on the "
            "validation split; the table gives test accuracy.",
        ),
        _section("Pareto front", _front_table(front), _front_note(front)),
        _metrics_section("Energy of an inference", front, ENERGY_METRICS),
        _metrics_section("The whole product", front, PRODUCT_METRICS, _PRODUCT_NOTE),
        '<div class="columns">',
        _section("Predicted against measured", _figure(prediction_figure(front), "prediction")),
        _section("Progress of the search", _figure(hypervolume_figure(front), "hypervolume")),
        "</div>",
        _section("Calibration of the predictors", _calibration(front)),
        _section("Settings and versions", _settings(manifest)),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>hwnas: {_text(title)}</title><style>{_STYLE}</style>"
        f"<script>{get_plotlyjs()}</script></head><body><main>"
        f"<h1>{_text(title)}</h1>{_summary(front)}{''.join(sections)}</main></body></html>"
    )


def _summary(front: Document) -> str:
    counts = front["counts"]
    members = sum(c["on_front"] for c in front["candidates"])
    limits = ", ".join(
        f"{c['name']} {c['bound'] * c['shown_per_si']:g}" for c in front["constraints"]
    )
    text = (
        f"{counts['evaluated']} architectures trained, {counts['infeasible']} rejected by limits "
        f"before training, {counts['repeated']} repeats skipped, {counts['failed']} failed; "
        f"{members} on the front; hypervolume {front['hypervolume']['value']:.4f}. "
        f"Limits: {limits or 'none'}."
    )
    return f'<p class="note">{_text(text)}</p>'


def _front_note(front: Document) -> str:
    return (
        "Accuracy on the test split with its 95 % interval. Latency: measured, mean over the "
        "exits' shares; worst: through every exit. "
        f"{energy_caption(energy_provenances(_members(front))).capitalize()} "
        "Differences smaller than the intervals are ties."
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
    rows: list[tuple[_Html, ...]] = []
    for shown in present(known, members):
        metrics = [m["metrics"].get(shown.key) for m in members]
        origins = {qualifiers(metric) for metric in metrics if metric is not None}
        # said once where all agree
        common = origins.pop() if len(origins) == 1 else None
        cells = [_metric_cell(shown, metric, common is None) for metric in metrics]
        rows.append((_tagged(shown.label, common or ""), *cells))
    if not rows:
        return ""
    heads = ("", *(str(m["arch_id"]) for m in members))
    beside = "".join(f'<p class="note">{_text(text)}</p>' for text in notes(known, members))
    return _section(title, _table(heads, rows) + beside, note)


def _metric_cell(shown: ShownMetric, metric: Document | None, qualified: bool) -> _Html:
    if metric is None:
        return _Html("-")
    beside = [interval_text(shown, metric), qualifiers(metric) if qualified else ""]
    return _tagged(shown.show(metric["value"]), ", ".join(part for part in beside if part))


def _front_table(front: Document) -> str:
    heads = (
        "architecture",
        "exits",
        "test accuracy",
        "seeds",
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
    for member in members:
        m = member["metrics"]
        accuracy, energy = m["accuracy"], m["energy_j"]
        rows.append(
            (
                member["arch_id"],
                exit_text(member["deployment"]["exit_shares"]),
                percent(accuracy["value"], accuracy["low"], accuracy["high"]),
                str(accuracy["seeds"]),
                _tagged(engineering(m["latency_s"]["value"], "s"), m["latency_s"]["provenance"]),
                engineering(m["worst_latency_s"]["value"], "s"),
                engineering(m["latency_p99_s"]["value"], "s"),
                _tagged(
                    engineering(energy["value"], "J"),
                    f"{energy['provenance']} {energy_mark(member, provenances)}".rstrip(),
                ),
                f"{m['inferences_per_joule']['value']:,.0f}",
                kibibytes(m["flash_bytes"]["value"]),
                kibibytes(m["peak_ram_bytes"]["value"]),
                f"{m['macs']['value']:,.0f}",
            )
        )
    return _table(heads, rows)


def _calibration(front: Document) -> str:
    report = front["calibration"]
    held_out = report.get("held_out")
    if held_out is None:
        return '<p class="note">No held-out architectures were measured.</p>'
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
    return f'{_table(heads, rows)}<p class="note">{_text(note)}</p>'


def _settings(manifest: Document) -> str:
    import yaml

    shown = {"config": manifest["config"], "environment": manifest["environment"]}
    return f"<pre>{_text(yaml.safe_dump(shown, sort_keys=False))}</pre>"


def _section(title: str, body: str, note: str = "") -> str:
    noted = f'<p class="note">{_text(note)}</p>' if note else ""
    return f"<section><h2>{_text(title)}</h2>{noted}{body}</section>"


def _figure(figure: Any, identifier: str) -> str:
    # plotly escapes "<" in the data it writes into the script; with an identifier
    # of its own it would be random, and no two pages about a run the same
    text: str = figure.to_html(
        full_html=False, include_plotlyjs=False, div_id=identifier, config=_PLOT
    )
    return text


def _table(heads: Sequence[str], rows: Sequence[Sequence[str | _Html]]) -> str:
    head = "".join(f"<th>{_text(h)}</th>" for h in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{_cell(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


class _Html(str):
    """Text that is HTML already."""


def _tagged(text: str, tag: str) -> _Html:
    return _Html(f'{_text(text)} <span class="tag">{_text(tag)}</span>' if tag else _text(text))


def _cell(cell: str | _Html) -> str:
    return cell if isinstance(cell, _Html) else _text(cell)


def _text(text: str) -> str:
    return html.escape(text)
