"""Stages are measured one by one in the precision they are in; the first failure is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import targets
from latency_predictors import measure_stages
from targets import Failure, MeasureConfig
from tests.unit.targets.test_quantized import quantized_model

CONFIG = MeasureConfig(warmup_s=0, min_samples=5, max_samples=5, min_time_s=0)


@pytest.fixture(scope="module")
def models() -> list[onnx.ModelProto]:
    return [quantized_model(), quantized_model()]


def test_quantized_stages_are_measured_in_order(
    models: list[onnx.ModelProto], tmp_path: Path
) -> None:
    with targets.create("host-onnxruntime", cache_dir=tmp_path) as target:
        measured = measure_stages(target, models, config=CONFIG, fresh=True)
    assert not isinstance(measured, Failure)
    assert [len(m.latency_s) for m in measured] == [5, 5]
    assert all(m.latency_median_s > 0 for m in measured)
    assert {m.target for m in measured} == {"host-onnxruntime"}
    assert np.ptp([m.flash_bytes for m in measured]) == 0


def test_a_target_that_runs_no_quantized_models_says_so(
    models: list[onnx.ModelProto], tmp_path: Path
) -> None:
    with targets.create("host", cache_dir=tmp_path) as target:
        failure = measure_stages(target, models, config=CONFIG, fresh=True)
    assert isinstance(failure, Failure)
    assert failure.stage == "compile"
    assert "host-onnxruntime" in failure.message
