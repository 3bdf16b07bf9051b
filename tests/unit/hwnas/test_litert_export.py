"""Networks as LiteRT files: float32 as torch computes, int8 near to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from hwnas.errors import UserError
from hwnas.export_formats import DEFAULT_ACCELERATOR, Conversion, NetworkToConvert
from hwnas.litert_export import convert, run
from search_spaces.blocks import StagedNetwork
from tests.unit.hwnas.quantized_networks import (
    SHAPE,
    noise_db,
    samples,
    separable,
    two_stages,
)


def converted(network: StagedNetwork, folder: Path, precision: str = "float32") -> list[Conversion]:
    source = NetworkToConvert(network, SHAPE, precision, samples(128))  # type: ignore[arg-type]
    return convert(source, folder, DEFAULT_ACCELERATOR)


def files(conversion: Conversion) -> list[Path]:
    return [stage.file for stage in conversion.stages]


def answers(network: StagedNetwork, x: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    with torch.no_grad():
        return [logits.numpy() for logits in network(torch.from_numpy(x))]


def interface(file: Path) -> tuple[dict[str, object], dict[str, object]]:
    """Return type and quantization of inputs and outputs, by the runtime."""
    interpreter = Interpreter(
        model_path=str(file),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    runner = interpreter.get_signature_runner("serving_default")
    sides = runner.get_input_details(), runner.get_output_details()
    inputs, outputs = (
        {name: (d["dtype"], d["quantization"]) for name, d in side.items()} for side in sides
    )
    return inputs, outputs


def test_float32_files_answer_as_torch_does(tmp_path: Path) -> None:
    network = two_stages()
    float32, _ = converted(network, tmp_path)
    assert [f.name for f in files(float32)] == ["stage_0.float32.tflite", "stage_1.float32.tflite"]
    x = samples(20, seed=1)
    for got, wanted in zip(run(files(float32), x), answers(network, x), strict=True):
        # sums of a few hundred float32 products in another order
        np.testing.assert_allclose(got, wanted, atol=1e-5 * np.abs(wanted).max())


def test_int8_files_answer_almost_as_torch_does(tmp_path: Path) -> None:
    network = two_stages()
    _, int8 = converted(network, tmp_path)
    x = samples(200, seed=1)
    for got, wanted in zip(run(files(int8), x), answers(network, x), strict=True):
        # rounding to 8 bits is noise of -59 dB of a sine at full range (6.02 dB a bit, plus 10.8);
        # a dozen roundings of tensors of which most values are small leave half of that in dB
        assert noise_db(got, wanted) < -29
        assert np.mean(got.argmax(axis=1) == wanted.argmax(axis=1)) > 0.9


def test_int8_files_read_and_write_int8(tmp_path: Path) -> None:
    _, int8 = converted(two_stages(), tmp_path)
    for file in files(int8):
        for side in interface(file):
            assert {dtype for dtype, _ in side.values()} == {np.int8}  # type: ignore[misc]


def test_features_in_int8_are_handed_on_as_they_are(tmp_path: Path) -> None:
    _, int8 = converted(two_stages(), tmp_path)
    (_, written), (read, _) = map(interface, files(int8))
    assert written["features"] == read["input"]


def test_ranges_are_those_of_all_samples_and_not_an_average(tmp_path: Path) -> None:
    _, int8 = converted(separable(), tmp_path)
    ((entry, _),) = map(interface, files(int8))
    ((_, (scale, zero_point)),) = entry.values()  # type: ignore[misc]
    x = samples(128)
    # 255 steps from the smallest to the largest value
    assert scale == pytest.approx((x.max() - x.min()) / 255, rel=1e-5)
    assert zero_point == round(-128 - x.min() / scale)


def test_weights_have_a_scale_for_each_channel_and_use_all_of_its_steps(tmp_path: Path) -> None:
    _, int8 = converted(separable(), tmp_path)
    (file,) = files(int8)
    interpreter = Interpreter(
        model_path=str(file),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    weights = [
        d
        for d in interpreter.get_tensor_details()
        if d["dtype"] is np.int8 and d["name"].startswith("constant") and len(d["shape"]) == 4
    ]
    assert len(weights) == 3
    for details in weights:
        axis = details["quantization_parameters"]["quantized_dimension"]
        assert len(details["quantization_parameters"]["scales"]) == details["shape"][axis] == 16
        steps = np.moveaxis(interpreter.get_tensor(details["index"]), axis, 0).reshape(16, -1)
        # symmetric: the largest weight of every channel is the last step
        assert (np.abs(steps.astype(int)).max(axis=1) == 127).all()


def test_what_is_not_float32_in_the_bundle_is_converted_to_int8_alone(tmp_path: Path) -> None:
    (only,) = converted(separable(), tmp_path, "int8")
    assert only.precision == "int8"
    assert [f.name for f in tmp_path.iterdir()] == ["stage_0.int8.tflite"]


def test_a_file_that_is_no_model_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "stage_0.int8.tflite").write_bytes(b"no model")
    with pytest.raises(UserError, match=r"^ai-edge-litert: "):
        run([tmp_path / "stage_0.int8.tflite"], samples(1))
