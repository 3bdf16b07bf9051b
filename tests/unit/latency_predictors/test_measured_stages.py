"""Stages are measured one by one in the precision they are in; the first failure is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import targets
from latency_predictors import measure_stages
from targets import Failure, MeasureConfig
from targets.testing import small_model
from tests.unit.latency_predictors.formula_target import QUICK, FormulaTarget
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


def test_all_stages_are_timed_before_any_is_timed_again_and_the_slower_tail_is_kept() -> None:
    # in order: both stages, then both again; each is slowed down once
    latencies_s = iter([2e-3, 8e-3, 3e-3, 5e-3])
    slowed = iter([False, True, True, False])
    target = FormulaTarget(lambda graph: next(latencies_s), disturbs=lambda graph: next(slowed))
    found = measure_stages(target, [small_model()] * 2, config=QUICK, timings=2, fresh=True)
    assert not isinstance(found, Failure)
    first, second = found
    assert (first.latency_median_s, second.latency_median_s) == (2e-3, 5e-3)
    # of samples at 0.9, 1 and 1.3 of the latency, 98 % of the way from the second to the third
    p99 = 1 + 0.98 * 0.3
    assert (first.latency_p99_s, second.latency_p99_s) == pytest.approx((3e-3 * p99, 8e-3 * p99))
    assert first.disturbed
    assert second.disturbed
