"""Networks as Core ML packages: read back here, as predicting takes macOS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hwnas.coreml_export import convert, interface
from hwnas.errors import UserError
from hwnas.export_formats import DEFAULT_ACCELERATOR, NetworkToConvert
from tests.unit.hwnas.quantized_networks import CLASSES, SHAPE, samples, two_stages

SOURCE = NetworkToConvert(two_stages(), SHAPE, "float32", samples(4))


def test_every_stage_becomes_a_package_with_the_interface_of_its_onnx_graph(tmp_path: Path) -> None:
    (conversion,) = convert(SOURCE, tmp_path, DEFAULT_ACCELERATOR)
    first, last = (stage.file for stage in conversion.stages)
    features = (1, 8, 8, 8)
    assert interface(first) == (
        {"input": (1, *SHAPE)},
        {"logits": (1, CLASSES), "features": features},
    )
    assert interface(last) == ({"input": features}, {"logits": (1, CLASSES)})
    assert {path.name for path in tmp_path.iterdir()} == {"stage_0.mlpackage", "stage_1.mlpackage"}
    assert all(file.stat().st_mode & 0o444 == 0o444 for file in tmp_path.rglob("*"))
    assert "not run" in conversion.verification


def test_a_package_holds_the_networks_weights(tmp_path: Path) -> None:
    (conversion,) = convert(SOURCE, tmp_path, DEFAULT_ACCELERATOR)
    head = SOURCE.network.stages[1].head[-1]
    content = (conversion.stages[1].file / "Data/com.apple.CoreML/weights/weight.bin").read_bytes()
    assert weights_of(head) in content


def weights_of(layer: torch.nn.Module) -> bytes:
    weights: NDArray[np.float32] = layer.weight.detach().numpy()  # type: ignore[operator, union-attr, assignment]
    return weights.astype("<f4").tobytes()


def test_what_is_not_float32_is_not_converted(tmp_path: Path) -> None:
    rounded = NetworkToConvert(SOURCE.network, SHAPE, "int8", samples(4))
    with pytest.raises(UserError, match="the bundle has it in int8; only float32 is converted"):
        convert(rounded, tmp_path, DEFAULT_ACCELERATOR)
