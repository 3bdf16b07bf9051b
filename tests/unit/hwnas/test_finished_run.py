"""What operating points of a bundle share."""

from __future__ import annotations

from hwnas.exit_policy import ExitPolicy
from hwnas.finished_run import network_names
from hwnas.variants import NetworkForm, Precision, Variant


def variant(precision: Precision, target: str, threshold: float = 0.5) -> Variant:
    form = NetworkForm("net", "plain", precision, "net.safetensors", ("0.onnx", "1.onnx"))
    return Variant(form, ExitPolicy((threshold,)), (0.5, 0.5), target, {})


def test_operating_points_that_differ_in_thresholds_alone_share_a_network() -> None:
    points = {
        "high": variant("float32", "host", 0.9),
        "balanced": variant("float32", "host", 0.5),
        "low": variant("int8", "host-onnxruntime"),
    }
    names = network_names(points)
    assert names == {"high": "net-float32", "balanced": "net-float32", "low": "net-int8"}


def test_one_network_measured_on_two_targets_is_two_networks_of_the_bundle() -> None:
    points = {"high": variant("float32", "host"), "low": variant("float32", "host-onnxruntime")}
    assert network_names(points) == {
        "high": "net-float32",
        "low": "net-float32-host-onnxruntime",
    }
