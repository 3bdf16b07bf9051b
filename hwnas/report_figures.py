"""The figures of the report, as plotly figures of plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from hwnas.energy_text import energy_provenances
from hwnas.units import engineering, kibibytes, percent

Document = Mapping[str, Any]

_INK, _MUTED, _ACCENT, _GRID = "#1b2733", "#9aa7b4", "#0b6e99", "#e6ebf0"
# 1, 2, 5 in every decade: plotly's own labels on a short log axis are bare digits
_TICKS = [m * 10.0**e for e in range(-4, 8) for m in (1, 2, 5)]
_LOG_AXIS = {"type": "log", "tickvals": _TICKS, "ticktext": [f"{t:,g}" for t in _TICKS]}
_LABELS = {
    "latency_s": "latency",
    "energy_j": "energy",
    "average_power_w": "average power",
    "battery_days": "battery",
    "flash_bytes": "flash",
    "peak_ram_bytes": "peak RAM",
}
_UNITS = {"latency_s": "s", "energy_j": "J", "average_power_w": "W"}
# of the provenance of the energy behind a point, where a front holds several
_SYMBOLS = {"measured": "circle", "modelled": "diamond", "emulated": "square"}


def pareto_figure(front: Document) -> go.Figure:
    """Plot accuracy against each cost; a menu picks the cost.

    Gray: trained architectures by predicted cost. Blue: measured candidates,
    those on the front filled, with 95 % intervals. Where some energies were measured
    and others not, each kind has a symbol of its own.
    """
    figure = go.Figure()
    costs = [c for c in _LABELS if all(c in m["metrics"] for m in front["candidates"])]
    scales = {cost: _scale(front, cost) for cost in costs}
    titles = {cost: f"{_label(front, cost)}, {scales[cost][0]}" for cost in costs}
    cost_of_trace = []
    for index, cost in enumerate(costs):
        for trace in _pareto_traces(front, cost, scales[cost][1]):
            trace.visible = index == 0
            figure.add_trace(trace)
            cost_of_trace.append(index)
    buttons = [
        {
            "label": titles[cost],
            "method": "update",
            "args": [
                {"visible": [of == index for of in cost_of_trace]},
                {"xaxis.title.text": titles[cost]},
            ],
        }
        for index, cost in enumerate(costs)
    ]
    menu = {"buttons": buttons, "x": 1, "xanchor": "right", "y": 1.2, "direction": "down"}
    figure.update_layout(updatemenus=[menu])
    return _styled(figure, titles[costs[0]], "validation accuracy, %", height=500, log_x=True)


def hypervolume_figure(front: Document) -> go.Figure:
    """Plot how much of the objective box is dominated after each evaluation."""
    history = front["hypervolume_history"]
    figure = go.Figure(
        go.Scatter(
            x=list(range(1, len(history) + 1)),
            y=history,
            mode="lines",
            line={"color": _ACCENT, "shape": "hv"},
            hovertemplate="after %{x} evaluations: %{y:.4f}<extra></extra>",
        )
    )
    return _styled(figure, "accuracy evaluations", "hypervolume (share of the box)")


def prediction_figure(front: Document) -> go.Figure:
    """Plot predicted against measured latency of every measured candidate."""
    latencies = [c["metrics"]["worst_latency_s"] for c in front["candidates"]]
    unit, scale = _time_scale([m["value"] for m in latencies])
    pairs = [(scale * m["value"], scale * m["predicted"]) for m in latencies]
    figure = go.Figure()
    if pairs:
        ends = [min(min(p) for p in pairs) * 0.9, max(max(p) for p in pairs) * 1.1]
        figure.add_trace(_line(ends, ends, "equal", "solid"))
        figure.add_trace(_line(ends, [1.1 * e for e in ends], "10 % off", "dot"))
        figure.add_trace(_line(ends, [0.9 * e for e in ends], "10 % off", "dot"))
    figure.add_trace(
        go.Scatter(
            x=[p[0] for p in pairs],
            y=[p[1] for p in pairs],
            mode="markers",
            marker={"color": _ACCENT, "size": 9},
            text=[c["arch_id"] for c in front["candidates"]],
            hovertemplate="%{text}<br>measured %{x:.4g}<br>predicted %{y:.4g}<extra></extra>",
            showlegend=False,
        )
    )
    return _styled(figure, f"measured latency of the full path, {unit}", f"predicted, {unit}")


def _scale(front: Document, cost: str) -> tuple[str, float]:
    """Return the unit to print a cost in, and printing units per SI unit."""
    if cost.endswith("_bytes"):
        return "KiB", 1 / 1024
    if cost not in _UNITS:
        return "days", 1.0
    unit, scale = _time_scale([c["metrics"][cost]["value"] for c in front["candidates"]])
    return unit.removesuffix("s") + _UNITS[cost], scale


def _label(front: Document, cost: str) -> str:
    if cost != "energy_j":
        return _LABELS[cost]
    return f"{_LABELS[cost]} ({' and '.join(energy_provenances(front['candidates']))})"


def _time_scale(seconds: Sequence[float]) -> tuple[str, float]:
    middle = sorted(seconds)[len(seconds) // 2] if seconds else 1.0
    return ("µs", 1e6) if middle < 1e-3 else ("ms", 1e3) if middle < 1 else ("s", 1.0)


def _pareto_traces(front: Document, cost: str, scale: float) -> Sequence[go.Scatter]:
    # only objectives are known of what was trained and not measured
    shown = {"validation_accuracy", cost}
    trained = [e for e in front["evaluations"] if shown <= e["values"].keys()]
    measured = front["candidates"]
    members = sorted(
        (c for c in measured if c["on_front"]), key=lambda c: c["metrics"][cost]["value"]
    )
    others = [c for c in measured if not c["on_front"]]
    return [
        go.Scatter(
            x=[scale * e["values"][cost] for e in trained],
            y=[100 * e["values"]["validation_accuracy"] for e in trained],
            mode="markers",
            name="trained (predicted cost)",
            marker={"color": _MUTED, "size": 6, "opacity": 0.6},
            text=[e["arch_id"] for e in trained],
            hovertemplate="%{text}<br>%{y:.1f} %, %{x:.4g}<extra>predicted</extra>",
        ),
        *_by_provenance(
            front, others, cost, scale, "measured, dominated or over a limit", filled=False
        ),
        *_by_provenance(front, members, cost, scale, "Pareto front (measured)", filled=True),
    ]


def _by_provenance(
    front: Document,
    candidates: Sequence[Document],
    cost: str,
    scale: float,
    name: str,
    *,
    filled: bool,
) -> list[go.Scatter]:
    """Return one trace; one per provenance of the energy where that differs and is plotted."""
    provenances = energy_provenances(front["candidates"])
    if len(provenances) < 2 or cost not in ("energy_j", "average_power_w", "battery_days"):
        return [_candidates(candidates, cost, scale, name, "circle", filled=filled)]
    return [
        _candidates(
            [c for c in candidates if c["metrics"]["energy_j"]["provenance"] == provenance],
            cost,
            scale,
            f"{name.replace(' (measured)', '')}, energy {provenance}",
            _SYMBOLS.get(provenance, "x"),
            filled=filled,
        )
        for provenance in provenances
    ]


def _candidates(
    candidates: Sequence[Document], cost: str, scale: float, name: str, symbol: str, *, filled: bool
) -> go.Scatter:
    metrics = [c["metrics"] for c in candidates]
    accuracy = [m["validation_accuracy"] for m in metrics]
    # what they are compared by; see `Metric.chosen_by`
    compared = [a.get("expected", a["value"]) for a in accuracy]
    return go.Scatter(
        x=[scale * m[cost]["value"] for m in metrics],
        y=[100 * y for y in compared],
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [100 * max(a["high"] - y, 0) for a, y in zip(accuracy, compared, strict=True)],
            "arrayminus": [
                100 * max(y - a["low"], 0) for a, y in zip(accuracy, compared, strict=True)
            ],
            "thickness": 1,
            "width": 3,
        },
        mode="markers",
        name=name,
        marker={
            "color": _ACCENT,
            "size": 10,
            "symbol": symbol if filled else f"{symbol}-open",
        },
        text=[_hover(c) for c in candidates],
        hovertemplate="%{text}<extra></extra>",
    )


def _hover(candidate: Document) -> str:
    metrics = candidate["metrics"]
    validation, latency, energy = (
        metrics[key] for key in ("validation_accuracy", "latency_s", "energy_j")
    )
    lines = [
        candidate["arch_id"],
        f"validation {percent(validation['value'])}{_chosen_by(validation)}",
        f"latency {engineering(latency['value'], 's')} ({latency['provenance']})",
        f"energy {engineering(energy['value'], 'J')} ({energy['provenance']}, "
        f"{engineering(energy['low'], 'J')} to {engineering(energy['high'], 'J')})",
        f"flash {kibibytes(metrics['flash_bytes']['value'])}",
    ]
    if (test := metrics.get("accuracy")) is not None:
        lines.insert(1, f"test {percent(test['value'])} ({test['seeds']} seeds)")
    return "<br>".join(lines)


def _chosen_by(validation: Document) -> str:
    if not validation.get("selected"):
        return ""
    if "expected" not in validation:
        return ", chosen by it"
    return f", chosen by the {percent(validation['expected'])} expected of other seeds"


def _line(x: Sequence[float], y: Sequence[float], name: str, dash: str) -> go.Scatter:
    return go.Scatter(
        x=x,
        y=y,
        mode="lines",
        line={"color": _MUTED, "dash": dash, "width": 1},
        name=name,
        hoverinfo="skip",
        showlegend=False,
    )


def _styled(
    figure: go.Figure, x: str, y: str, *, height: int = 360, log_x: bool = False
) -> go.Figure:
    axis = {"gridcolor": _GRID, "zeroline": False, "linecolor": _MUTED}
    figure.update_layout(
        height=height,
        margin={"l": 60, "r": 20, "t": 30, "b": 50},
        paper_bgcolor="white",
        plot_bgcolor="white",
        font={"family": "system-ui, sans-serif", "size": 13, "color": _INK},
        legend={"orientation": "h", "y": 1.12, "x": 0},
        xaxis={**axis, "title": {"text": x}, **(_LOG_AXIS if log_x else {})},
        yaxis={**axis, "title": {"text": y}},
    )
    return figure
