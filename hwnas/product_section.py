"""The report's section on what the parts of a product take of its energy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from hwnas import html_page as page
from hwnas.front import Metric
from hwnas.product_config import ProductConfig
from hwnas.product_shares import PARTS, product_shares
from hwnas.sla_table import shares_rows

if TYPE_CHECKING:
    import plotly.graph_objects as go

# the network in the report's own blue, what surrounds it in tones that do not compete
_COLORS = dict(
    zip(
        PARTS,
        ("#0b6e99", "#d98e4a", "#e8c07d", "#7ba05b", "#b5a0c9", "#9aa7b4", "#cfd6dd"),
        strict=True,
    )
)
_BAR_HEIGHT_PX, _FRAME_HEIGHT_PX = 42, 110


def product_section(product: ProductConfig, networks: Mapping[str, Mapping[str, Metric]]) -> str:
    """Return the section as HTML: a sentence, a figure and a table.

    Args:
        product: What surrounds the network.
        networks: Metrics of each by its name, such as of an operating point; at least one.
    """
    shares = {
        name: product_shares(product, metrics["energy_j"].value, metrics["latency_s"].value)
        for name, metrics in networks.items()
    }
    table = page.table(["part", *shares], shares_rows(shares))
    figure = page.figure(shares_figure(shares), "shares")
    return page.section("What the product spends its energy on", figure + table, _summary(shares))


def _summary(shares: Mapping[str, Mapping[str, float]]) -> str:
    of_network = [parts["network"] for parts in shares.values()]
    low, high = (f"{100 * end:.2g} %" for end in (min(of_network), max(of_network)))
    found = low if low == high else f"{low} to {high}"
    payer = "battery" if "self_discharge" in next(iter(shares.values())) else "product's energy"
    return f"The network takes {found} of the {payer}. Modelled, from the product's description."


def shares_figure(shares: Mapping[str, Mapping[str, float]]) -> go.Figure:
    """Plot one bar per network, stacked of the parts' shares in percent.

    Args:
        shares: By a network's name, as `product_shares` returns them.
    """
    import plotly.graph_objects as go

    names = list(shares)
    figure = go.Figure(
        [
            go.Bar(
                name=label,
                y=names,
                x=[100 * parts.get(part, 0.0) for parts in shares.values()],
                orientation="h",
                marker={"color": _COLORS[part]},
                hovertemplate="%{y}<br>%{x:.3g} %<extra>" + label + "</extra>",
            )
            for part, label in PARTS.items()
            if any(parts.get(part, 0.0) > 0 for parts in shares.values())
        ]
    )
    figure.update_layout(
        barmode="stack",
        height=_FRAME_HEIGHT_PX + _BAR_HEIGHT_PX * len(names),
        margin={"l": 60, "r": 20, "t": 10, "b": 45},
        plot_bgcolor="white",
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "traceorder": "normal"},
    )
    figure.update_xaxes(title_text="share of the energy, %", range=[0, 100])
    # networks are named in their order, from the top
    figure.update_yaxes(autorange="reversed", type="category", automargin=True)
    return figure
