"""Mixed precision: the operators that suffer are found, and no more than needed stay."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.mixed_precision import mean_largest_drop, mixed_precision, operator_noise
from hwnas.quantization import CalibratedStages
from hwnas.stage_running import run_stage_models
from targets.quantized import is_quantized
from tests.unit.hwnas.quantized_networks import (
    exported,
    noise_db,
    samples,
    separable,
    two_stages,
    with_outliers,
)


def broken_by_outliers() -> CalibratedStages:
    network = separable()
    with_outliers(network, 3000)
    return CalibratedStages(exported(network.eval()), samples(64))


def test_operators_around_a_range_with_outliers_are_the_most_sensitive() -> None:
    noise = operator_noise(broken_by_outliers())
    ranked = sorted(noise, key=lambda name: noise[name], reverse=True)
    # the depthwise convolution writes that range, the pointwise one reads it
    assert {name.split("/")[3] for name in ranked[:2]} == {"trunk.1", "trunk.2"}
    assert noise[ranked[1]] > 10 * noise[ranked[2]]


def test_noise_is_the_power_of_what_changes_with_one_operator_in_int8() -> None:
    calibrated = CalibratedStages(exported(two_stages()), samples(64))
    _, (name, *_) = calibrated.stage_operators
    x = samples(64)
    _, changed = run_stage_models(calibrated.quantized_alone(name), x)
    _, floats = run_stage_models(exported(two_stages()), x)
    noise = operator_noise(calibrated)
    assert noise[name] == pytest.approx(10 ** (noise_db(changed, floats) / 10), rel=1e-3)
    assert noise.keys() == {n for names in calibrated.stage_operators for n in names}


def test_the_fewest_operators_stay_in_float32_that_keep_the_accuracy() -> None:
    calibrated, x = broken_by_outliers(), samples(200, seed=1)
    labels = run_stage_models(calibrated.models, x)[0].argmax(axis=1)
    limit = 0.1
    found = mixed_precision([calibrated], x, labels, max_drop=limit)

    def drop(n_float: int) -> float:
        # with these labels float32 is always right
        noise = operator_noise(calibrated)
        kept = sorted(noise, key=lambda name: noise[name], reverse=True)[:n_float]
        (logits,) = run_stage_models(calibrated.quantized(kept), x)
        return float(np.mean(logits.argmax(axis=1) != labels))

    n = len(found.float_operators)
    assert 0 < n < len(calibrated.stage_operators[0])
    assert found.accuracy_drop == pytest.approx(drop(n))
    assert found.accuracy_drop <= limit < min(drop(k) for k in range(n))
    assert all(map(is_quantized, found.models[0]))


def test_a_network_that_int8_suits_is_quantized_as_a_whole() -> None:
    calibrated, x = CalibratedStages(exported(two_stages()), samples(64)), samples(100)
    labels = run_stage_models(calibrated.models, x)[-1].argmax(axis=1)
    assert mixed_precision([calibrated], x, labels, max_drop=0.99).float_operators == ()


def test_a_limit_that_only_float32_meets_gives_float32() -> None:
    calibrated, x = broken_by_outliers(), samples(200, seed=1)
    labels = run_stage_models(calibrated.models, x)[0].argmax(axis=1)
    found = mixed_precision([calibrated], x, labels, max_drop=-1e-9)
    assert found.accuracy_drop == 0
    assert not any(map(is_quantized, found.models[0]))


def test_accuracy_is_lost_at_the_exit_that_loses_most() -> None:
    right, wrong = np.eye(2, dtype=np.float32)
    labels = np.zeros(4, dtype=np.int64)
    before = [np.stack([right, right, right, wrong]), np.stack([right] * 4)]
    after = [np.stack([right] * 4), np.stack([right, right, wrong, wrong])]
    assert mean_largest_drop([before], [after], labels) == 0.5
    assert mean_largest_drop([before[:1]], [after[:1]], labels) == -0.25
    # of several networks the mean
    assert mean_largest_drop([before, before], [after, before], labels) == 0.25


def test_a_drop_at_the_limit_is_within_it() -> None:
    labels = np.zeros(500, dtype=np.int64)
    before = np.eye(2, dtype=np.float32)[[0] * 170 + [1] * 330]
    after = np.eye(2, dtype=np.float32)[[0] * 165 + [1] * 335]
    assert mean_largest_drop([[before]], [[after]], labels) <= 0.01
    assert mean_largest_drop([[before]] * 3, [[after]] * 3, labels) <= 0.01


def test_the_mean_over_networks_decides_not_the_first_one() -> None:
    """The first suits int8 as it is; the second loses more than twice the limit."""
    sound, broken = (
        CalibratedStages(exported(separable().eval()), samples(64)),
        broken_by_outliers(),
    )
    x, limit = samples(200, seed=1), 0.1
    labels = run_stage_models(broken.models, x)[0].argmax(axis=1)
    assert mixed_precision([sound], x, labels, max_drop=limit).float_operators == ()
    found = mixed_precision([sound, broken], x, labels, max_drop=limit)
    # the same weights but for a scale: both are right in float32
    drops = [
        np.mean(run_stage_models(models, x)[0].argmax(axis=1) != labels) for models in found.models
    ]
    assert found.float_operators
    assert found.accuracy_drop == pytest.approx(np.mean(drops))
    assert found.accuracy_drop <= limit
