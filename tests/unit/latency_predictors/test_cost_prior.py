"""Costs of operators: against laws that are known, and least squares by brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import minimize

from latency_predictors.cost_prior import (
    Columns,
    CostPrior,
    averaging_weights,
    relative_nnls,
    student_t_score,
)

Array = NDArray[np.float64]
COSTS = np.array([2.0, 0.5, 0.0, 3.0])


def counts(n: int, seed: int) -> Array:
    drawn = np.random.default_rng(seed).integers(0, 6, (n, 3)).astype(np.float64)
    return np.column_stack([np.ones(n), drawn])


def folds(n: int, k: int = 10) -> list[NDArray[np.intp]]:
    return [np.arange(i, n, k) for i in range(k)]


def columns(matrix: Array) -> Columns:
    return Columns(matrix[:, :1], matrix[:, 1:].sum(axis=1)[:, None], matrix[:, 1:])


def test_an_exact_law_is_found() -> None:
    matrix = counts(30, 0)
    found = relative_nnls(matrix, matrix @ COSTS, np.full(4, 1e-9))
    # the constant is at least a hundredth of the smallest value: nothing here
    np.testing.assert_allclose(found, COSTS, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_no_cost_is_negative_and_none_is_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix, values = counts(12, seed), rng.lognormal(0, 1, 12)
    found = relative_nnls(matrix, values, np.full(4, 0.1))
    assert (found >= 0).all()
    assert found[0] >= 0.01 * values.min() * (1 - 1e-9)


def test_the_weights_are_those_of_students_t() -> None:
    """At the solution, reweighted least squares has no slope left to follow."""
    matrix = counts(40, 1)
    values = matrix @ COSTS * np.random.default_rng(2).lognormal(0, 0.1, 40)
    penalties = np.full(4, 1e-3)
    found = relative_nnls(matrix, values, penalties)
    errors = 1 - matrix @ found / values
    used = int((found > 1e-9).sum())
    spread = 1.4826 * np.median(np.abs(errors)) * np.sqrt(40 / (40 - used))
    weights = 5 / (4 + (errors / spread) ** 2)
    rows = matrix / values[:, None]
    scale = np.sqrt(np.mean(rows**2, axis=0))

    def loss(b: Array) -> float:
        misfit = weights @ (1 - rows @ b) ** 2
        return float(misfit + penalties @ (b * scale) ** 2)

    best = minimize(loss, found, bounds=[(0, None)] * 4).x
    # four reweightings are near the fixed point, not on it
    np.testing.assert_allclose(matrix @ found, matrix @ best, rtol=0.005)


def test_one_wild_measurement_in_twenty_moves_nothing() -> None:
    matrix = counts(20, 3)
    values = matrix @ COSTS * np.random.default_rng(4).lognormal(0, 0.01, 20)
    wild = values.copy()
    wild[7] *= 3
    quiet = matrix @ relative_nnls(matrix, values, np.full(4, 1e-3))
    robust = matrix @ relative_nnls(matrix, wild, np.full(4, 1e-3))
    np.testing.assert_allclose(robust, quiet, rtol=0.02)


def test_the_view_that_the_device_executes_is_found() -> None:
    executed, written = counts(20, 5), counts(20, 6)
    values = executed @ COSTS * np.random.default_rng(7).lognormal(0, 0.02, 20)
    views = {"written": columns(written), "executed": columns(executed)}
    prior, held_out = CostPrior.fit(views, {}, values, folds(20))
    assert prior.view_weights["executed"] > 0.99
    assert np.abs(held_out - np.log(values)).mean() < 0.05
    np.testing.assert_allclose(prior.log_cost(views), np.log(values), atol=0.08)


def test_where_views_agree_what_was_more_plausible_is_believed_more() -> None:
    matrix = counts(20, 8)
    views = {"a": columns(matrix), "b": columns(matrix)}
    values = matrix @ COSTS
    prior, _ = CostPrior.fit(views, {"a": 0.1, "b": 0.4}, values, folds(20))
    weights = prior.view_weights
    assert weights["b"] / weights["a"] == pytest.approx(4)
    assert list(weights) == ["b", "a"]


def test_out_of_fold_predictions_have_not_seen_their_fold() -> None:
    matrix = counts(20, 9)
    values = matrix @ COSTS
    views = {"a": columns(matrix)}
    _, before = CostPrior.fit(views, {}, values, folds(20))
    # a value so far off that its own weight vanishes, and with it what others learn of it
    values[4] *= 100
    _, after = CostPrior.fit(views, {}, values, folds(20))
    assert after[4] == pytest.approx(before[4], abs=0.05)


@given(errors=st.lists(st.floats(-1, 1).filter(lambda e: abs(e) > 1e-3), min_size=3, max_size=20))
def test_the_score_is_the_likelihood_at_its_best_scale(errors: list[float]) -> None:
    found = np.array(errors)
    grid = np.exp(np.linspace(np.log(1e-4), np.log(2), 400))
    best = stats.t.logpdf(found[:, None], 4, scale=grid).sum(axis=0).max()
    constant = len(found) * stats.t.logpdf(0, 4)
    # the grid is 2.5 % fine, and twenty steps of the search are not all of them
    assert student_t_score(found) + constant == pytest.approx(best, abs=0.05)


def test_weights_are_in_proportion_to_likelihoods() -> None:
    weights = averaging_weights(np.log([3.0, 1.0, 1e-9]))
    assert weights.tolist() == pytest.approx([0.75, 0.25, 0.0])
    assert weights[2] == 0
