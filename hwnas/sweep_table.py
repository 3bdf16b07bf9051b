"""The table of a sweep: one row per operating point, and what it comes to below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from hwnas.energy_text import ENERGY_METRICS, ShownMetric, present
from hwnas.units import engineering

Document = Mapping[str, Any]

_SWEPT_ENERGIES = [
    shown
    for shown in ENERGY_METRICS
    if shown.key in ("energy_j", "energy_net_j", "inferences_per_joule")
]
_PICKS = (
    ("least energy per inference", "least_energy"),
    ("fastest clock that was kept", "fastest"),
)


def sweep_table(sweep: Document) -> Table:
    """Return one row per operating point of a target, those that were refused too."""
    rows = [{**sweep["as_configured"], "point": "as configured"}, *sweep["points"]]
    energies = present(_SWEPT_ENERGIES, [{"metrics": row} for row in rows])
    table = Table(title=f"Operating points of {sweep['target']}")
    table.add_column("point")
    for heading in ("wanted", "reached", "latency", "95 % interval", "P99"):
        table.add_column(heading, justify="right", no_wrap=True)
    for shown in energies:
        table.add_column(shown.label, justify="right")
    table.add_column("remarks", overflow="fold")
    for row in rows:
        clocks = (_clock(row["requested_khz"]), _clock(row.get("reached_khz")))
        figures = ["-"] * (len(energies) + 3) if row["refused"] else _swept(row, energies)
        table.add_row(escape(row["point"]), *clocks, *figures, _remarks(row))
    refusals = [f"{row['point']}: {row['refused']}" for row in rows if row["refused"]]
    reasons = dict.fromkeys(row.get("energy_not_measured_because") for row in rows)
    beside = [*refusals, *(f"no energy: {reason}" for reason in reasons if reason)]
    beside += [_pick_text(label, sweep[key]) for label, key in _PICKS if sweep[key]]
    table.caption = escape("\n".join(beside))
    return table


def _swept(row: Document, energies: Sequence[ShownMetric]) -> list[str]:
    latency = row["latency_s"]
    return [
        _seconds(latency["value"]),
        f"{_seconds(latency['low'])} to {_seconds(latency['high'])}",
        _seconds(latency["p99"]),
        *(s.show(row[s.key]["value"]) if s.key in row else "-" for s in energies),
    ]


def _clock(khz: int | None) -> str:
    return "-" if khz is None else engineering(1e3 * khz, "Hz")


def _remarks(row: Document) -> str:
    """Return the row's flags, and where its energy comes from."""
    if row["refused"]:
        return "[red]refused[/]"
    origins = [f"energy {row['energy_j']['provenance']}"] if "energy_j" in row else []
    return ", ".join([*row["flags"], *origins])


def _pick_text(label: str, pick: Document) -> str:
    others = ", ".join(pick["not_told_apart"])
    return f"{label}: {pick['point']}" + (f" (not told apart from {others})" if others else "")


def _seconds(value: float) -> str:
    return engineering(value, "s")
