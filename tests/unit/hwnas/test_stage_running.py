"""Stages on many samples at once give what they give one at a time."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from hwnas.quantization import quantize_stages
from hwnas.stage_running import batched, run_stage_models
from tests.unit.hwnas.quantized_networks import exported, samples, two_stages

# float32 sums in another order differ by about 1e-6 of the largest logit
TOLERANCE = 1e-5


def test_all_exits_answer_as_the_network_does() -> None:
    network, x = two_stages(), samples(300)
    with torch.no_grad():
        expected = network(torch.from_numpy(x))
    found = run_stage_models(exported(network), x)
    assert len(found) == 2
    for logits, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(logits, wanted.numpy(), atol=TOLERANCE)


def test_quantized_stages_answer_in_a_batch_as_they_do_one_by_one() -> None:
    x = samples(20)
    models = quantize_stages(exported(two_stages()), x)
    sessions = [onnxruntime.InferenceSession(m.SerializeToString()) for m in models]
    for k, sample in enumerate(x):
        first, features = sessions[0].run(None, {"input": sample[None]})
        (final,) = sessions[1].run(None, {"input": features})
        for one, many in zip((first, final), run_stage_models(models, x), strict=True):
            np.testing.assert_allclose(one[0], many[k], atol=TOLERANCE)


def test_a_reshape_to_one_sample_takes_many_in_a_batched_copy() -> None:
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["input", "shape"], ["logits"])],
        "reshape",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, (1, 2, 3, 1))],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, (1, 6))],
        [helper.make_tensor("shape", TensorProto.INT64, (2,), (1, 6))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    before = model.SerializeToString()
    x = np.arange(24, dtype=np.float32).reshape(4, 2, 3, 1)
    (found,) = run_stage_models([model], x)
    np.testing.assert_array_equal(found, x.reshape(4, 6))
    assert model.SerializeToString() == before


@pytest.mark.parametrize("n", [1, 128, 129])
def test_any_number_of_samples_is_taken(n: int) -> None:
    assert [z.shape for z in run_stage_models(exported(two_stages()), samples(n))] == [(n, 10)] * 2


def test_a_batched_copy_is_a_valid_model() -> None:
    for model in exported(two_stages()):
        onnx.checker.check_model(batched(model), full_check=True)
