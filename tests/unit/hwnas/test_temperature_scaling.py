"""Temperatures, against closed forms and a grid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax

from hwnas.temperature_scaling import fit_temperatures
from tests.unit.hwnas.exit_logits import exits_of_growing_skill


@pytest.mark.parametrize(("gap", "right"), [(1.0, 90), (8.0, 60), (0.2, 75)])
def test_two_classes_of_one_margin_have_a_temperature_in_closed_form(
    gap: float, right: int
) -> None:
    # sigmoid(gap / T) = share: T = gap / ln(share / (1 - share))
    logits = np.tile(np.array([gap, 0.0], dtype=np.float32), (100, 1))
    labels = (np.arange(100) >= right).astype(np.int64)
    wanted = gap / np.log(right / (100 - right))
    # the optimum is searched to 1e-4 in ln T
    assert fit_temperatures([logits], labels) == pytest.approx((wanted,), rel=1e-3)


@given(seed=st.integers(0, 2**31 - 1), scale=st.sampled_from([0.3, 1.0, 5.0]))
@settings(max_examples=25, deadline=None)
def test_no_temperature_of_a_grid_makes_the_labels_likelier(seed: int, scale: float) -> None:
    logits, labels, _ = exits_of_growing_skill(seed, n_exits=2, n=50)
    logits = [(scale * z).astype(np.float32) for z in logits]

    def loss(z: np.ndarray, temperature: float) -> float:
        likely = log_softmax(z.astype(np.float64) / temperature, axis=1)
        return -float(likely[np.arange(50), labels].mean())

    for z, temperature in zip(logits, fit_temperatures(logits, labels), strict=True):
        best = min(loss(z, t) for t in [1.0, *np.geomspace(0.05, 20, 200).tolist()])
        # flat at the optimum: an error of 1e-4 in ln T is one of 1e-8 in the loss
        assert loss(z, temperature) <= best + 1e-6


def test_logits_five_times_as_large_have_five_times_the_temperature() -> None:
    logits, labels, _ = exits_of_growing_skill(3, n_exits=1, n=400)
    (once,) = fit_temperatures(logits, labels)
    (five,) = fit_temperatures([5 * logits[0]], labels)
    assert five == pytest.approx(5 * once, rel=1e-3)


@pytest.mark.parametrize(
    "logits",
    [
        pytest.param(10 * np.eye(2), id="never wrong"),
        pytest.param(-np.eye(2), id="always wrong"),
        pytest.param(np.zeros((2, 2)), id="tells nothing"),
        pytest.param(1e30 * np.eye(2), id="never wrong and huge"),
    ],
)
def test_an_exit_without_a_best_temperature_is_taken_as_it_is(logits: np.ndarray) -> None:
    labels = np.arange(40) % 2
    assert fit_temperatures([logits[labels].astype(np.float32)], labels) == (1.0,)
