"""The figures of the report, as plotly figures of plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

Document = Mapping[str, Any]

_INK, _MUTED, _ACCENT, _GRID = "#1b2733", "#9aa7b4", "#0b6e99", "#e6ebf0"
_COSTS = {
    "latency_s": ("latency, ms", 1e3),
    "energy_j": ("energy, mJ (modelled)", 1e3),
    "flash_bytes": ("flash, KiB", 1 / 1024),
    "peak_ram_bytes": ("peak RAM, KiB", 1 / 1024),
}


def pareto_figure(front: Document) -> go.Figure:
    """Plot accuracy against each cost; a menu picks the cost.

    Gray: trained architectures by predicted cost. Blue: measured candidates,
    those on the front filled, with 95 % intervals.
    """
    figure = go.Figure()
    costs = list(_COSTS)
    for index, cost in enumerate(costs):
        for trace in _pareto_traces(front, cost):
            trace.visible = index == 0
            figure.add_trace(trace)
    per_cost = len(figure.data) // len(costs)
    buttons = [
        {
            "label": _COSTS[cost][0],
            "method": "update",
            "args": [
                {"visible": [i // per_cost == index for i in range(len(figure.data))]},
                {"xaxis.title.text": _COSTS[cost][0]},
            ],
        }
        for index, cost in enumerate(costs)
    ]
    menu = {"buttons": buttons, "x": 1, "xanchor": "right", "y": 1.15, "direction": "down"}
    figure.update_layout(updatemenus=[menu])
    return _styled(figure, _COSTS[costs[0]][0], "validation accuracy, %", height=480, log_x=True)


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
    pairs = [(1e3 * m["value"], 1e3 * m["predicted"]) for m in latencies]
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
            hovertemplate="%{text}<br>measured %{x:.4f} ms<br>predicted %{y:.4f} ms<extra></extra>",
            showlegend=False,
        )
    )
    return _styled(figure, "measured latency of the full path, ms", "predicted, ms")


def _pareto_traces(front: Document, cost: str) -> Sequence[go.Scatter]:
    _, scale = _COSTS[cost]
    trained = [e for e in front["evaluations"] if cost in e["values"]]
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
            hovertemplate="%{text}<br>%{y:.1f} %, %{x:.4f}<extra>predicted</extra>",
        ),
        _candidates(others, cost, scale, "measured, dominated or over a limit", filled=False),
        _candidates(members, cost, scale, "Pareto front (measured)", filled=True),
    ]


def _candidates(
    candidates: Sequence[Document], cost: str, scale: float, name: str, *, filled: bool
) -> go.Scatter:
    metrics = [c["metrics"] for c in candidates]
    accuracy = [m["validation_accuracy"] for m in metrics]
    return go.Scatter(
        x=[scale * m[cost]["value"] for m in metrics],
        y=[100 * a["value"] for a in accuracy],
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [100 * (a["high"] - a["value"]) for a in accuracy],
            "arrayminus": [100 * (a["value"] - a["low"]) for a in accuracy],
            "thickness": 1,
            "width": 3,
        },
        mode="markers",
        name=name,
        marker={
            "color": _ACCENT,
            "size": 10,
            "symbol": "circle" if filled else "circle-open",
        },
        text=[_hover(c) for c in candidates],
        hovertemplate="%{text}<extra></extra>",
    )


def _hover(candidate: Document) -> str:
    metrics = candidate["metrics"]
    test = metrics.get("accuracy")
    lines = [
        candidate["arch_id"],
        f"validation {100 * metrics['validation_accuracy']['value']:.1f} %",
        f"latency {1e3 * metrics['latency_s']['value']:.4f} ms "
        f"({metrics['latency_s']['provenance']})",
        f"energy {1e3 * metrics['energy_j']['value']:.3f} mJ ({metrics['energy_j']['provenance']})",
        f"flash {metrics['flash_bytes']['value'] / 1024:.0f} KiB",
    ]
    if test is not None:
        lines.insert(1, f"test {100 * test['value']:.1f} % ({test['seeds']} seeds)")
    return "<br>".join(lines)


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
        xaxis={**axis, "title": {"text": x}, "type": "log" if log_x else "linear"},
        yaxis={**axis, "title": {"text": y}},
    )
    return figure
