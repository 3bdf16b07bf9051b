"""Weights are counted in the type they are stored in, apart from what comes with them."""

from __future__ import annotations

from pathlib import Path

import onnx
from torch import nn

import targets
from hwnas.flash_parts import flash_part_metrics, flash_parts, weight_bytes
from hwnas.quantization import quantize_stages
from latency_predictors import measure_stages
from search_spaces.blocks import StagedNetwork
from targets import Failure, MeasureConfig
from tests.unit.hwnas.quantized_networks import exported, samples, two_stages

CONFIG = MeasureConfig(warmup_s=0, min_samples=5, max_samples=5, min_time_s=0)


def counts(network: StagedNetwork) -> tuple[int, int]:
    """Return weights, and biases of a network whose batch normalization is folded."""
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    return (
        sum(m.weight.numel() for m in layers),
        sum(m.weight.shape[0] for m in layers),
    )


def test_float_weights_take_four_bytes_and_int8_ones_one() -> None:
    network = two_stages()
    n_weights, n_biases = counts(network)
    models = exported(network)
    assert sum(map(weight_bytes, models)) == 4 * (n_weights + n_biases)
    quantized = quantize_stages(models, samples(16))
    # sums, and so biases, are int32
    assert sum(map(weight_bytes, quantized)) == n_weights + 4 * n_biases


def test_parts_of_the_flash_add_up_to_what_was_measured(tmp_path: Path) -> None:
    models = exported(two_stages())
    quantized = quantize_stages(models, samples(16))
    parts = []
    with targets.create("host-onnxruntime", cache_dir=tmp_path) as target:
        for stages in (models, quantized):
            measured = measure_stages(target, stages, config=CONFIG, fresh=True)
            assert not isinstance(measured, Failure)
            found = flash_parts(stages, measured)
            flash_bytes = sum(m.flash_bytes for m in measured)
            assert found.weight_bytes + found.overhead_bytes == flash_bytes
            assert found.overhead_bytes > 0
            parts.append(found)
            metrics = flash_part_metrics(stages, measured)
            assert metrics["weight_bytes"].value == found.weight_bytes
            # a count is exact, what was measured is not
            assert metrics["weight_bytes"].provenance is None
            assert metrics["overhead_bytes"].provenance == "measured"
    # scales and zero points are no weights
    assert parts[1].overhead_bytes > parts[0].overhead_bytes


def test_what_no_operator_reads_is_not_counted() -> None:
    model = exported(two_stages())[0]
    before = weight_bytes(model)
    model.graph.initializer.append(
        onnx.helper.make_tensor("unused", onnx.TensorProto.FLOAT, (5,), [0.0] * 5)
    )
    assert weight_bytes(model) == before
