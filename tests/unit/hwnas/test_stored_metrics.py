"""Metrics in files: what is written passes, and every wrong part is told."""

from __future__ import annotations

import re
from typing import Any

import pytest

from hwnas.front import Metric
from hwnas.stored_metrics import checked_metrics


def test_what_is_written_passes() -> None:
    metrics = {
        "accuracy": Metric(1.0, "measured", 0.9, 1.0, 0.8, None, 3, "test", True, 0.97),
        # noise of a meter may take it below 0
        "energy_net_j": Metric(-1e-6, "measured", -2e-6, 1e-6, boundary="inference_net"),
        "latency_s": Metric(1e-3, "measured", flags="throttled", note="warm", partial=True),
        "peak_current_a": Metric(0.1, "measured", voltage_v=3.3, bandwidth_hz=5e4),
        "macs": Metric(0.0),
        "recall(a | b)": Metric(0.0, "measured", split="test"),
    }
    written = {name: metric.to_dict() for name, metric in metrics.items()}
    assert checked_metrics(written) is written


@pytest.mark.parametrize(
    ("name", "metric", "message"),
    [
        ("energy_j", 3, "energy_j: wanted a value and where it comes from. Got 3."),
        ("energy_j", {"provenance": "measured"}, "energy_j: wanted a value"),
        ("energy_j", {"value": "1"}, "energy_j.value: wanted a finite number. Got '1'."),
        ("energy_j", {"value": None}, "energy_j.value: wanted a finite number. Got None."),
        ("energy_j", {"value": True}, "energy_j.value: wanted a finite number. Got True."),
        ("energy_j", {"value": float("nan")}, "energy_j.value: wanted a finite number. Got nan."),
        ("energy_j", {"value": 10**400}, "energy_j.value: wanted a finite number. Got 1000"),
        ("energy_j", {"value": 10**5000}, "Got a number of thousands of digits."),
        ("energy_j", {"value": 0}, "energy_j.value: wanted more than 0. Got 0."),
        ("worst_latency_p99_s", {"value": -1e-3}, "_s.value: wanted more than 0. Got -0.001."),
        ("accuracy", {"value": 95.0}, "accuracy.value: wanted 0 to 1. Got 95."),
        ("latency_s", {"value": 1, "high": float("inf")}, "latency_s.high: wanted a finite"),
        ("latency_s", {"value": 1, "provenance": "guessed"}, "wanted one of measured, emulated"),
        ("latency_s", {"value": 1, "provenance": None}, "latency_s.provenance: wanted one of"),
        ("latency_s", {"value": 1, "flags": ["loaded"]}, "latency_s.flags: wanted text."),
        ("recall", {"value": 1, "partial": "no"}, "recall.partial: wanted true or false."),
        ("latency_s", {"value": 1, "worth": 1}, "latency_s.worth: wanted no such part. Got 1."),
    ],
)
def test_a_wrong_part_is_told(name: str, metric: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        checked_metrics({name: metric})
