"""Networks as ExecuTorch programs, run by its runtime."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from hwnas.errors import UserError
from hwnas.export_formats import DEFAULT_ACCELERATOR, NetworkToConvert
from tests.unit.hwnas.quantized_networks import SHAPE, samples, two_stages


@pytest.fixture
def executorch() -> None:
    if find_spec("executorch") is None:
        reason = "no executorch here: pip install 'hwnas[executorch]'"
        if os.environ.get("HWNAS_REQUIRE_ALL") == "1":
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.mark.slow
@pytest.mark.usefixtures("executorch")
def test_programs_answer_as_torch_does(tmp_path: Path) -> None:
    from hwnas.executorch_export import convert, run

    network = two_stages()
    source = NetworkToConvert(network, SHAPE, "float32", samples(4))
    (conversion,) = convert(source, tmp_path, DEFAULT_ACCELERATOR)
    assert [stage.file.name for stage in conversion.stages] == ["stage_0.pte", "stage_1.pte"]
    x = samples(10, seed=1)
    with torch.no_grad():
        wanted = [logits.numpy() for logits in network(torch.from_numpy(x))]
    for got, expected in zip(run([s.file for s in conversion.stages], x), wanted, strict=True):
        # sums of a few hundred float32 products in another order
        np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())


def test_what_is_not_float32_is_not_converted(tmp_path: Path) -> None:
    from hwnas.executorch_export import convert

    rounded = NetworkToConvert(two_stages(), SHAPE, "mixed", samples(4))
    with pytest.raises(UserError, match="the bundle has it in mixed; only float32 is converted"):
        convert(rounded, tmp_path, DEFAULT_ACCELERATOR)
