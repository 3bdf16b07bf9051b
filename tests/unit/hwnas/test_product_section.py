"""The report's section on a product's parts."""

from __future__ import annotations

import pytest

from hwnas.front import Metric
from hwnas.product_config import ProductConfig
from hwnas.product_section import product_section, shares_figure

# 4 mJ of sleep per interval
PRODUCT = ProductConfig(interval_s=41.0, sleep_power_mw=0.1)


def metrics(energy_mj: float) -> dict[str, Metric]:
    return {"energy_j": Metric(energy_mj / 1e3), "latency_s": Metric(1.0)}


def test_the_section_says_what_the_network_takes() -> None:
    html = product_section(PRODUCT, {"high": metrics(4), "low <b>": metrics(1)})
    assert "The network takes 20 % to 50 % of the product&#x27;s energy." in html
    assert "<td>network</td><td>50.0 %</td><td>20.0 %</td>" in html
    assert "<td>sleep</td><td>50.0 %</td><td>80.0 %</td>" in html
    assert "<th>low &lt;b&gt;</th>" in html
    assert "radio" not in html


def test_bars_are_stacked_to_a_hundred_percent() -> None:
    shares = {"a": {"network": 0.25, "sleep": 0.75}, "b": {"network": 0.5, "radio": 0.5}}
    figure = shares_figure(shares)
    assert [bar.name for bar in figure.data] == ["network", "radio", "sleep"]
    assert [list(bar.x) for bar in figure.data] == [[25, 50], [0, 50], [75, 0]]
    assert {bar.y for bar in figure.data} == {("a", "b")}
    for network in range(2):
        assert sum(bar.x[network] for bar in figure.data) == pytest.approx(100)
