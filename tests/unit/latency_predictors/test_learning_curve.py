"""Learning curves and plans whose numbers can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from latency_predictors.held_out import sample_needed
from latency_predictors.learning_curve import best_plan, decay_exponent

ASKED = {"tolerance": 0.1, "share": 0.9, "error_probability": 0.05, "most": 500}


@pytest.mark.parametrize("exponent", [0.1, 0.5, 1.0])
def test_a_long_power_law_gives_its_exponent(exponent: float) -> None:
    n = np.geomspace(10, 10_000, 60)
    found = decay_exponent(n.tolist(), (3 * n**-exponent).tolist())
    # 60 points outweigh the prior by 300 to 1
    assert found == pytest.approx(exponent, abs=0.01)


def test_one_point_tells_nothing_and_growing_errors_no_growth() -> None:
    assert decay_exponent([12], [0.1]) == pytest.approx(0.3)
    assert decay_exponent([10, 100, 1000], [0.1, 0.3, 0.9]) == 0.0


def test_good_predictors_are_only_judged() -> None:
    errors = np.full(40, 0.01)
    plan = best_plan(errors, 20, [20, 30, 45], exponent=0.5, floor=0.0, **ASKED)
    expected = sample_needed((40 + 1) / 41.25, 0.9, 0.05, 480)
    assert plan is not None
    assert expected is not None
    assert (plan.to_fit, plan.to_judge) == (0, max(expected - 40, 0))


def test_predictors_just_too_bad_are_fitted_to_more_first() -> None:
    # all errors 12 %: at four times the measurements, by an exponent of a half, 6 %
    plan = best_plan(np.full(40, 0.12), 20, [20, 80], exponent=0.5, floor=0.0, **ASKED)
    assert plan is not None
    assert plan.to_fit == 60


def test_no_plan_leads_below_the_noise() -> None:
    errors = np.full(40, 0.12)
    assert best_plan(errors, 20, [20, 80, 320], exponent=0.5, floor=0.12, **ASKED) is None
