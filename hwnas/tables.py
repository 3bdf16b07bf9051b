"""Tables for the terminal; here, and only here and in the report, units become ms, mJ and KiB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from hwnas.accuracy_text import TIES_NOTE, tie_letters
from hwnas.diagnosis import Finding
from hwnas.doubts import ADVICE
from hwnas.energy_text import (
    ENERGY_METRICS,
    PRODUCT_METRICS,
    ShownMetric,
    energy_caption,
    energy_cell,
    energy_provenances,
    interval_text,
    notes,
    present,
    qualifiers,
)
from hwnas.target_checking import CheckStep
from hwnas.tuning import TunedModel
from hwnas.units import engineering, kibibytes, percent
from targets import EnergyMeasurement, Failure, Record, TargetSpec

Document = Mapping[str, Any]
_SHA_DIGITS = 12
_PRODUCT_COLUMNS = ("average_power_w", "battery_days")


def front_table(front: Document) -> Table:
    """Return the front members, cheapest first."""
    members = [c for c in front["candidates"] if c["on_front"]]
    provenances = energy_provenances(members)
    product = [s for s in present(PRODUCT_METRICS, members) if s.key in _PRODUCT_COLUMNS]
    table = Table(
        title=f"Pareto front of {front['run']!r} on {front['target']}",
        caption=f"accuracy: test split, 95 % interval. {TIES_NOTE} latency: measured, mean over "
        f"the exits' shares. {escape(energy_caption(provenances))}",
    )
    if any(_is_disturbed(member) for member in members):
        table.caption = f"* throttled or drifting while it was measured. {table.caption}"
    for heading in ("architecture", "exits"):
        table.add_column(heading, no_wrap=True)
    headings = ("accuracy", "seeds", "ties", "latency", "P99", "energy", "flash", "RAM")
    for heading in (*headings, *(s.label for s in product)):
        table.add_column(heading, justify="right", no_wrap=True)
    letters = tie_letters(front["candidates"])
    for member in sorted(members, key=lambda c: c["metrics"]["latency_s"]["value"]):
        metrics = member["metrics"]
        accuracy = metrics["accuracy"]
        table.add_row(
            member["arch_id"],
            exit_text(member["deployment"]["exit_shares"]),
            percent(accuracy["value"], accuracy["low"], accuracy["high"]),
            str(accuracy["seeds"]),
            letters.get(member["arch_id"], "-"),
            engineering(metrics["latency_s"]["value"], "s") + " *" * _is_disturbed(member),
            engineering(metrics["latency_p99_s"]["value"], "s"),
            energy_cell(member, provenances),
            kibibytes(metrics["flash_bytes"]["value"]),
            kibibytes(metrics["peak_ram_bytes"]["value"]),
            *(s.show(metrics[s.key]["value"]) if s.key in metrics else "-" for s in product),
        )
    return table


def _is_disturbed(member: Document) -> bool:
    flags = member["metrics"]["latency_s"].get("flags", "")
    return "throttled" in flags or "drifting" in flags


def exit_text(shares: Sequence[float]) -> str:
    """Return the share of samples that leaves at each exit, such as ``62/38 %``."""
    return "/".join(f"{100 * share:.0f}" for share in shares) + " %"


def correlation_text(value: float | None) -> str:
    """Return a rank correlation; constant values have none."""
    return "-" if value is None else f"{value:.3f}"


def calibration_table(report: Document) -> Table:
    """Return the held-out agreement of predictors beside the MACs baseline."""
    table = Table(
        title=f"Calibration on {report['n_fitted']} architectures, "
        f"judged on {report['n_held_out']} others"
    )
    table.add_column("")
    for heading in ("MAPE", "within 5 %", "within 10 %", "Spearman", "Kendall"):
        table.add_column(heading, justify="right")
    held_out = report.get("held_out")
    if held_out is None:
        return table
    rows = (
        ("latency", "latency_s"),
        ("latency by MACs alone", "macs_baseline"),
        (f"energy ({report['energies']})", "energy_j"),
    )
    for label, key in rows:
        table.add_row(label, *agreement_cells(held_out[key]))
    table.caption = (
        f"{held_out['interval_coverage']:.0%} of latencies inside the 90 % interval; "
        f"flash MAPE {held_out['flash_mape']:.1%}, peak RAM MAPE {held_out['peak_ram_mape']:.1%}"
    )
    return table


def agreement_cells(agreement: Document) -> tuple[str, ...]:
    """Return MAPE, shares within 5 and 10 %, Spearman and Kendall as text."""
    return (
        f"{agreement['mape']:.1%}",
        f"{agreement['within_5']:.0%}",
        f"{agreement['within_10']:.0%}",
        correlation_text(agreement["spearman"]),
        correlation_text(agreement["kendall"]),
    )


def prediction_table(prediction: Document) -> Table:
    """Return predicted costs with their intervals."""
    table = _cost_table(f"Predicted on {prediction['target']}")
    for label, key, show in _COSTS:
        cost = prediction[key]
        table.add_row(
            label,
            show(cost["mean"]),
            f"{show(cost['low'])} to {show(cost['high'])}",
            "predicted" if cost["in_domain"] else "predicted, outside the calibrated range",
        )
    energy = prediction["energy_j"]
    table.add_row(*_energy_row(energy))
    if energy["idle_j"] is not None:
        for label, key in (("  of it idle", "idle_j"), ("  above idle", "net_j")):
            table.add_row(label, engineering(energy[key], "J"), "", energy["provenance"])
    return table


def measurement_table(measurement: Document) -> Table:
    """Return measured costs of a model."""
    table = _cost_table(f"Measured on {measurement['target']}")
    latency = measurement["latency_s"]
    table.add_row(
        "latency, median",
        _seconds(latency["value"]),
        f"{_seconds(latency['low'])} to {_seconds(latency['high'])}",
        f"{latency['provenance']}, {latency['samples']} inferences",
    )
    table.add_row("latency, P99", _seconds(latency["p99"]), "", latency["provenance"])
    for label, key, show in _COSTS[1:]:
        cost = measurement[key]
        table.add_row(label, show(cost["value"]), "", cost["provenance"])
    shown, candidate = (*ENERGY_METRICS, *PRODUCT_METRICS), {"metrics": measurement}
    for metric in present(shown, [candidate]):
        table.add_row(*_metric_row(metric, measurement[metric.key]))
    beside = [ADVICE[flag] for flag in measurement["flags"]]
    beside += [escape(note) for note in notes(shown, [candidate])]
    if reason := measurement.get("energy_not_measured_because"):
        beside.append(f"energy not measured: {escape(reason)}")
    table.caption = "\n".join(beside)
    return table


def targets_table(specs: Sequence[TargetSpec]) -> Table:
    """Return one row per target."""
    table = Table("target", "backend", "latency is", "description")
    for spec in specs:
        table.add_row(spec.name, spec.backend, spec.provenance, spec.description)
    return table


def tuning_table(models: Sequence[TunedModel]) -> Table:
    """Return one row per tuned model."""
    table = Table("model", "kernels tuned", "improved", "before", "after", "after / before")
    for model in models:
        table.add_row(
            model.name,
            str(len(model.kernels)),
            str(model.n_improved),
            _seconds(model.before_s),
            _seconds(model.after_s),
            f"{model.after_s / model.before_s:.2f}",
        )
    return table


def check_table(steps: Sequence[CheckStep]) -> Table:
    """Return one row per step of a target check."""
    table = Table("step", "", "found", "what to do")
    for step in steps:
        table.add_row(step.name, _mark(step.ok), escape(step.detail), escape(step.fix))
    return table


def findings_table(findings: Sequence[Finding]) -> Table:
    """Return one row per finding, with the fix where something does not work."""
    table = Table("", "", "found", "fix")
    for finding in findings:
        fix = "" if finding.ok else finding.fix
        table.add_row(finding.name, _mark(finding.ok), finding.detail, fix)
    return table


def records_table(records: Sequence[Record]) -> Table:
    """Return one row per recorded measurement or failure."""
    table = Table(caption=None if records else "Nothing recorded matches.")
    for heading in ("time (UTC)", "target", "model"):
        table.add_column(heading, no_wrap=True)
    for heading in ("median", "P99", "n"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("flags, or what failed")
    table.add_column("provenance")
    for record in records:
        result = record.result
        time = record.recorded_at[:19].replace("T", " ")
        cells = (time, result.target, result.model_sha256[:_SHA_DIGITS])
        if isinstance(result, Failure):
            why = escape(f"{result.stage}: {result.message}")
            table.add_row(*cells, "-", "-", "-", f"[red]{why}[/]", "")
        elif isinstance(result, EnergyMeasurement):
            energy = f"{engineering(result.gross_j.value, 'J')} gross"
            table.add_row(*cells, "-", "-", str(len(result.trials)), energy, result.provenance)
        else:
            latencies = (_seconds(result.latency_median_s), _seconds(result.latency_p99_s))
            samples = str(len(result.latency_s))
            table.add_row(*cells, *latencies, samples, ", ".join(result.flags), result.provenance)
    return table


def _seconds(value: float) -> str:
    return engineering(value, "s")


_COSTS = (
    ("latency", "latency_s", _seconds),
    ("flash", "flash_bytes", kibibytes),
    ("peak RAM", "peak_ram_bytes", kibibytes),
)


def _cost_table(title: str) -> Table:
    table = Table(title=title)
    table.add_column("")
    table.add_column("value", justify="right")
    table.add_column("interval", justify="right")
    table.add_column("provenance")
    return table


def _metric_row(shown: ShownMetric, metric: Document) -> tuple[str, str, str, str]:
    value = shown.show(metric["value"])
    return shown.label, value, interval_text(shown, metric), escape(qualifiers(metric))


def _energy_row(energy: Document) -> tuple[str, str, str, str]:
    return (
        "energy",
        engineering(energy["energy_j"], "J"),
        f"{engineering(energy['low_j'], 'J')} to {engineering(energy['high_j'], 'J')}",
        f"{energy['provenance']}, {energy['boundary']}",
    )


def _mark(ok: bool) -> str:
    return "[green]ok[/]" if ok else "[red]fails[/]"
