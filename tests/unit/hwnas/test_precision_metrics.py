"""Modelled energies of integers say how they are counted; sizes say what they are made of."""

from __future__ import annotations

import pytest

from hwnas.front import Metric
from hwnas.precision_metrics import COUNTED_AS_FLOAT, with_precision
from targets import MeasureConfig, Measurement
from tests.unit.hwnas.quantized_networks import exported, two_stages

METRICS = {
    "latency_s": Metric(1e-4, "measured"),
    "energy_j": Metric(1e-6, "modelled", note="meters measured 1 of 2 stages"),
    "worst_energy_j": Metric(2e-6, "modelled"),
    "energy_net_j": Metric(1e-6, "measured"),
}
MEASUREMENTS = [
    Measurement("board", "", "", (1e-4,), flash, 0, MeasureConfig(), "measured")
    for flash in (9000, 20000)
]


@pytest.mark.parametrize("precision", ["int8", "mixed"])
def test_modelled_energies_of_integers_say_how_they_are_counted(precision: str) -> None:
    found = with_precision(METRICS, precision, exported(two_stages()), MEASUREMENTS)  # type: ignore[arg-type]
    assert found["worst_energy_j"].note == COUNTED_AS_FLOAT
    assert found["energy_j"].note == f"meters measured 1 of 2 stages; {COUNTED_AS_FLOAT}"
    assert found["latency_s"] == METRICS["latency_s"]
    assert found["energy_net_j"] == METRICS["energy_net_j"]


def test_metrics_of_float32_stay_but_for_the_parts_of_the_flash() -> None:
    found = with_precision(METRICS, "float32", exported(two_stages()), MEASUREMENTS)
    assert found.items() > METRICS.items()
    weights, overhead = found["weight_bytes"], found["overhead_bytes"]
    assert weights.value + overhead.value == 29000
    # a count is exact, what was measured is not
    assert (weights.provenance, overhead.provenance) == (None, "measured")
