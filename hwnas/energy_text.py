"""Energy metrics for people: which there are, how they print, and where they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hwnas.units import engineering, percent

Document = Mapping[str, Any]

_ORIGIN = {
    "measured": "measured by power meters",
    "emulated": "emulated, not measured",
    "vendor_estimate": "a vendor's estimate, not measured",
    "predicted": "predicted, not measured",
    "modelled": "modelled, no power meter",
}
_MARKS = {"measured": "", "modelled": "†", "emulated": "‡", "predicted": "§"}


@dataclass(frozen=True)
class ShownMetric:
    """How one metric of a candidate prints.

    Args:
        key: In the candidate's metrics.
        label: For people.
        show: Prints a value in SI units.
    """

    key: str
    label: str
    show: Callable[[float], str]


def _unit(unit: str) -> Callable[[float], str]:
    return lambda value: engineering(value, unit)


def _plain(suffix: str = "") -> Callable[[float], str]:
    return lambda value: f"{value:,.4g}{suffix}" if abs(value) < 1e4 else f"{value:,.0f}{suffix}"


ENERGY_METRICS = (
    ShownMetric("energy_j", "energy", _unit("J")),
    ShownMetric("energy_net_j", "energy above idle", _unit("J")),
    ShownMetric("inferences_per_joule", "inferences/J", _plain()),
    ShownMetric("active_power_w", "power while inferring", _unit("W")),
    ShownMetric("idle_power_w", "idle power", _unit("W")),
    ShownMetric("peak_power_w", "peak power", _unit("W")),
    ShownMetric("average_current_a", "current while inferring", _unit("A")),
    ShownMetric("peak_current_a", "peak current", _unit("A")),
    ShownMetric("accuracy_per_milliamp", "accuracy per mA", _plain(" %/mA")),
)
"""Of the inference alone."""

PRODUCT_METRICS = (
    ShownMetric("system_energy_j", "energy per inference", _unit("J")),
    ShownMetric("system_inferences_per_joule", "inferences/J", _plain()),
    ShownMetric("average_power_w", "average power", _unit("W")),
    ShownMetric("network_share", "network's share", percent),
    ShownMetric("battery_days", "battery", _plain(" d")),
    ShownMetric("inferences_per_charge", "inferences per charge", _plain()),
    ShownMetric("co2e_g_per_million", "CO2e per million", _plain(" g")),
    ShownMetric("cost_per_million", "cost per million", _plain()),
    ShownMetric("offload_ratio", "sending / inferring", _plain()),
    ShownMetric("break_even_bytes", "break-even payload", _unit("B")),
    ShownMetric("sustained_latency_s", "sustained latency", _unit("s")),
    ShownMetric("thermal_headroom_k", "thermal headroom", _plain(" K")),
)
"""Of the whole product."""


def present(shown: Iterable[ShownMetric], candidates: Sequence[Document]) -> list[ShownMetric]:
    """Return those metrics that some candidate has."""
    return [s for s in shown if any(s.key in c["metrics"] for c in candidates)]


def energy_provenances(candidates: Iterable[Document]) -> list[str]:
    """Return where the candidates' energies come from, each once, measured ones first."""
    found = {str(c["metrics"]["energy_j"]["provenance"]) for c in candidates}
    return sorted(found, key=lambda p: (p != "measured", p))


def energy_mark(candidate: Document, provenances: Sequence[str]) -> str:
    """Return the mark of an energy that was not measured, where a front holds several kinds.

    Args:
        candidate: One of the front.
        provenances: Of the front, from `energy_provenances`.
    """
    provenance = str(candidate["metrics"]["energy_j"]["provenance"])
    return _MARKS.get(provenance, "¶") if len(provenances) > 1 else ""


def energy_cell(candidate: Document, provenances: Sequence[str]) -> str:
    """Return an energy with its mark, see `energy_mark`."""
    energy = engineering(candidate["metrics"]["energy_j"]["value"], "J")
    return f"{energy} {energy_mark(candidate, provenances)}".rstrip()


def energy_caption(provenances: Sequence[str]) -> str:
    """Return what a table says of its energies.

    Args:
        provenances: Of the front, from `energy_provenances`.
    """
    if not provenances:
        return "energy: none."
    if len(provenances) == 1:
        return f"energy: {_origin(provenances[0])}, gross."
    kinds = "; ".join(f"{_MARKS.get(p, '¶')} {_origin(p)}".strip() for p in provenances)
    return f"energy, gross, of several kinds that do not compare: {kinds}."


def _origin(provenance: str) -> str:
    return _ORIGIN.get(provenance, f"{provenance}, not measured")


def interval_text(shown: ShownMetric, metric: Document) -> str:
    """Return the ends of a metric's interval, or nothing."""
    low, high = metric.get("low"), metric.get("high")
    if low is not None and high is not None:
        return f"{shown.show(low)} to {shown.show(high)}"
    if high is not None:
        return f"up to {shown.show(high)}"
    return f"at least {shown.show(low)}" if low is not None else ""


def qualifiers(metric: Document) -> str:
    """Return provenance, and what else a figure means nothing without."""
    parts = [str(metric["provenance"])]
    if boundary := metric.get("boundary"):
        parts.append(str(boundary))
    if (voltage_v := metric.get("voltage_v")) is not None:
        parts.append(f"at {voltage_v:g} V")
    if (bandwidth_hz := metric.get("bandwidth_hz")) is not None:
        parts.append(f"seen up to {engineering(bandwidth_hz, 'Hz')}")
    return ", ".join(parts)


def notes(shown: Iterable[ShownMetric], candidates: Sequence[Document]) -> list[str]:
    """Return the notes beside the metrics, each once, under the metric's label."""
    found = {
        f"{s.label}: {note}": None
        for s in shown
        for c in candidates
        if (note := c["metrics"].get(s.key, {}).get("note"))
    }
    return list(found)
