from pathlib import Path

import numpy as np
import onnx
import pytest

import targets
from targets import Artifact, Failure, Measurement
from targets.parity import ParityError, Reference, largest_error, reference_of
from targets.quantized import is_quantized
from targets.testing import QUICK, GraphBuilder, small_model


def quantized_model() -> onnx.ModelProto:
    graph = GraphBuilder((1, 3, 8, 8))
    zero = graph.constant(np.int8(0))

    def quantized(x: str, step: float) -> str:
        scale = graph.constant(np.float32(step))
        integers = graph.node("QuantizeLinear", x, scale, zero)
        return graph.node("DequantizeLinear", integers, scale, zero)

    y = graph.node("Relu", graph.conv(quantized("x", 0.03), (3, 16), (3, 3)))
    y = quantized(graph.conv(quantized(y, 0.03), (16, 16)), 0.03)
    flat = graph.node("Flatten", y, axis=1)
    logits = graph.node("Gemm", flat, graph.weight(10, 16 * 64), graph.weight(10), transB=1)
    return graph.build(quantized(logits, 0.02))


def test_a_model_with_scales_is_quantized_and_one_without_is_not() -> None:
    assert is_quantized(quantized_model())
    assert not is_quantized(small_model())


def test_tvm_refuses_a_quantized_model_and_says_where_to_measure_it(tmp_path: Path) -> None:
    with targets.create("host", cache_dir=tmp_path) as target:
        failure = target.compile(quantized_model())
    assert isinstance(failure, Failure)
    assert failure.stage == "compile"
    assert "float32" in failure.message
    assert "host-onnxruntime" in failure.message


def test_onnx_runtime_measures_a_quantized_model(tmp_path: Path) -> None:
    with targets.create("host-onnxruntime", cache_dir=tmp_path) as target:
        artifact = target.compile(quantized_model())
        assert isinstance(artifact, Artifact), artifact
        assert isinstance(target.measure(artifact, QUICK), Measurement)


@pytest.mark.parametrize(
    ("errors", "passes"),
    [
        ([0.0, 0.0, 0.0, 0.1], True),  # one value fell on the other side of a step
        ([0.0, 0.0, 0.0, 0.3], False),
        ([0.05, 0.05, 0.05, 0.05], False),
        ([0.0, 0.0, 0.0, float("nan")], False),
    ],
)
def test_quantized_outputs_may_differ_rarely_but_not_typically(
    errors: list[float], passes: bool
) -> None:
    outputs = tuple((np.array([-1.0, 1.0], np.float32),) for _ in errors)
    reference = Reference(tuple(() for _ in errors), outputs, quantized=True)
    remaining = iter(errors)

    def run(_: object) -> list[np.ndarray]:
        return [np.array([-1.0, 1.0 + next(remaining)], np.float32)]

    if passes:
        assert largest_error(reference, run) == pytest.approx(max(errors), rel=1e-5)
    else:
        with pytest.raises(ParityError, match="off by"):
            largest_error(reference, run)


def test_the_reference_knows_that_a_model_is_quantized() -> None:
    assert reference_of(quantized_model()).quantized
