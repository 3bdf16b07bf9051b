"""Quantization after training: scales, ranges, interface, bytes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from hwnas.errors import UserError
from hwnas.quantization import CalibratedStages, quantize_stages
from hwnas.stage_running import run_stage_models
from targets.quantized import is_quantized
from tests.unit.hwnas.quantized_networks import exported, noise_db, samples, two_stages


def constants(model: onnx.ModelProto) -> dict[str, NDArray[np.float32]]:
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def linear_model(weight: NDArray[np.float32], bias: NDArray[np.float32]) -> onnx.ModelProto:
    n_out, n_in = weight.shape
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["input"], ["x"], "flatten"),
            helper.make_node("Gemm", ["x", "w", "b"], ["logits"], "linear", transB=1),
        ],
        "linear",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, (1, n_in, 1, 1))],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, (1, n_out))],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_linear_layer_computes_what_integers_give_by_hand() -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(4, 6)).astype(np.float32)
    bias = rng.normal(size=4).astype(np.float32)
    x = rng.normal(size=(50, 6)).astype(np.float32)
    (model,) = quantize_stages([linear_model(weight, bias)], x.reshape(50, 6, 1, 1))
    (found,) = run_stage_models([model], x.reshape(50, 6, 1, 1))

    steps = np.abs(weight).max(axis=1, keepdims=True) / 127
    integers = np.rint(weight / steps)
    x_step = (x.max() - x.min()) / 255
    zero = np.rint(-x.min() / x_step)
    x_integers = np.clip(np.rint(x / x_step) + zero, 0, 255) - zero
    exact = x_integers @ integers.T * (x_step * steps.T) + bias
    y = x @ weight.T + bias
    y_step = (max(y.max(), 0) - min(y.min(), 0)) / 255
    # half a step of the output, and where rounding meets a tie of float32, one more
    assert np.abs(found - np.clip(exact, y.min(), y.max())).max() <= 1.01 * y_step
    np.testing.assert_allclose(found / y_step, np.rint(found / y_step), atol=1e-3)


def test_weights_are_int8_with_a_step_for_each_channel_of_its_largest_weight_over_127() -> None:
    models = exported(two_stages())
    calibrated = CalibratedStages(models, samples(32))
    n_checked = 0
    for model, quantized in zip(calibrated.models, calibrated.quantized(), strict=True):
        floats, found = constants(model), constants(quantized)
        for node in model.graph.node:
            if node.op_type not in ("Conv", "Gemm"):
                continue
            weight = floats[node.input[1]]
            integers, steps = (found[f"{node.input[1]}_{kind}"] for kind in ("quantized", "scale"))
            assert integers.dtype == np.int8
            by_channel = tuple(range(1, weight.ndim))
            # float32 rounds the division
            np.testing.assert_allclose(steps, np.abs(weight).max(axis=by_channel) / 127, rtol=1e-6)
            wide = steps.reshape(-1, *[1] * (weight.ndim - 1))
            assert (np.abs(weight - integers * wide) <= 0.5001 * wide).all()
            n_checked += 1
    assert n_checked == 9


def test_a_later_stage_is_calibrated_on_the_features_of_float32() -> None:
    network, x = two_stages(), samples(48)
    _, second = quantize_stages(exported(network), x)
    with torch.no_grad():
        features = network.stages[0](torch.from_numpy(x))[1].numpy()
    low, high = min(features.min(), 0), max(features.max(), 0)
    assert constants(second)["input_scale"] == pytest.approx((high - low) / 255, rel=1e-5)


def test_quantized_stages_read_and_write_what_the_float_ones_do() -> None:
    models = exported(two_stages())
    for before, after in zip(models, quantize_stages(models, samples(32)), strict=True):
        assert is_quantized(after)
        assert not is_quantized(before)
        for values in ("input", "output"):
            assert [*map(str, getattr(after.graph, values))] == [
                *map(str, getattr(before.graph, values))
            ]
        assert [(o.domain, o.version) for o in after.opset_import] == [("", 17)]
        onnx.checker.check_model(after, full_check=True)


@pytest.mark.parametrize("seed", range(3))
def test_int8_stays_near_float32(seed: int) -> None:
    models, x = exported(two_stages(seed)), samples(100, seed)
    quantized = run_stage_models(quantize_stages(models, x), x)
    for found, wanted in zip(quantized, run_stage_models(models, x), strict=True):
        # 8 bits have a noise of about -48 dB at best; a dozen operators add theirs, and a
        # wrong scale gives 0 dB
        assert -60 < noise_db(found, wanted) < -15


def test_with_all_operators_in_float32_nothing_changes() -> None:
    models, x = exported(two_stages()), samples(32)
    calibrated = CalibratedStages(models, x)
    operators = [name for names in calibrated.stage_operators for name in names]
    kept = calibrated.quantized(operators)
    assert not any(map(is_quantized, kept))
    for found, wanted in zip(run_stage_models(kept, x), run_stage_models(models, x), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_operators_that_stay_in_float32_keep_their_weights() -> None:
    models = exported(two_stages())
    calibrated = CalibratedStages(models, samples(32))
    (first, *_), _ = calibrated.stage_operators
    quantized = calibrated.quantized([first])
    stem = next(n for n in quantized[0].graph.node if n.op_type == "Conv")
    assert constants(quantized[0])[stem.input[1]].dtype == np.float32
    assert all(map(is_quantized, quantized))


def test_an_operator_that_the_network_lacks_is_refused_in_one_line() -> None:
    calibrated = CalibratedStages(exported(two_stages()), samples(4))
    known = calibrated.stage_operators[0][0]
    with pytest.raises(UserError) as refused:
        calibrated.quantized([known.replace("stage_0", "stage_9")])
    assert "stage_9:" in str(refused.value)
    assert f"Did you mean {known!r}?" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_calibration_wants_samples() -> None:
    with pytest.raises(ValueError, match="Got none"):
        quantize_stages(exported(two_stages()), samples(0))


def test_equal_inputs_give_equal_bytes_in_every_process(tmp_path: Path) -> None:
    models, x = exported(two_stages()), samples(16)
    np.save(tmp_path / "x.npy", x)
    for k, model in enumerate(models):
        onnx.save(model, tmp_path / f"{k}.onnx")
    program = (
        "import hashlib, numpy, onnx, sys; from hwnas.quantization import quantize_stages\n"
        "models = quantize_stages([onnx.load(f'{k}.onnx') for k in (0, 1)], numpy.load('x.npy'))\n"
        "print(hashlib.sha256(b''.join(m.SerializeToString(deterministic=True) for m in models))"
        ".hexdigest()); assert 'torch' not in sys.modules"
    )
    expected = hashlib.sha256(
        b"".join(m.SerializeToString(deterministic=True) for m in quantize_stages(models, x))
    ).hexdigest()
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == expected
