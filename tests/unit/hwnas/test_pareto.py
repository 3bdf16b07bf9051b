"""Non-domination, hypervolume and the choice of members, against brute force and hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from hwnas.objectives import OBJECTIVES
from hwnas.pareto import ObjectiveScale, is_non_dominated, knee, spread_members
from hwnas.samplers.loss_scale import LossScale

Losses = NDArray[np.float64]
ACCURACY, LATENCY, ENERGY = (OBJECTIVES[name] for name in ("accuracy", "latency", "energy"))
# few distinct values, so that ties and equal rows are common
losses = arrays(
    np.float64, st.tuples(st.integers(0, 12), st.integers(1, 4)), elements=st.integers(0, 4)
)


@pytest.fixture
def scale() -> ObjectiveScale:
    """Accuracy from 0.5 to 1, latency from 1 us to 1 s."""
    return ObjectiveScale((ACCURACY, LATENCY), ideal=(1.0, 1e-6), reference=(0.5, 1.0))


def cost_scale(n: int) -> ObjectiveScale:
    """n costs from 1 to e: their losses are their logarithms."""
    return ObjectiveScale((LATENCY,) * n, ideal=(1.0,) * n, reference=(math.e,) * n)


def dominates(a: Losses, b: Losses) -> bool:
    return bool((a <= b).all() and (a < b).any())


@given(losses)
def test_non_domination_is_that_of_the_definition(points: Losses) -> None:
    expected = [not any(dominates(other, row) for other in points) for row in points]
    assert is_non_dominated(points).tolist() == expected


def test_equal_rows_are_all_kept() -> None:
    points = np.array([[1.0, 2.0], [1.0, 2.0], [2.0, 2.0], [0.0, 3.0]])
    assert is_non_dominated(points).tolist() == [True, True, False, True]


@pytest.mark.parametrize("bad", [np.zeros(3), np.zeros((1, 2, 3)), np.array([[0.0, np.nan]])])
def test_what_is_not_a_table_of_numbers_is_refused(bad: Losses) -> None:
    with pytest.raises(ValueError, match="2-D without NaN"):
        is_non_dominated(bad)


def test_losses_of_ideal_and_reference_are_0_and_1(scale: ObjectiveScale) -> None:
    np.testing.assert_allclose(scale.losses(np.array([[1.0, 1e-6]])), [[0, 0]])
    np.testing.assert_allclose(scale.losses(np.array([[0.5, 1.0]])), [[1, 1]])


def test_a_maximized_quantity_scales_by_its_logarithm_too() -> None:
    scale = ObjectiveScale((OBJECTIVES["battery_days"],), ideal=(100.0,), reference=(1.0,))
    losses = scale.losses(np.array([[100.0], [10.0], [1.0], [0.1]]))
    np.testing.assert_allclose(losses, [[0.0], [0.5], [1.0], [1.5]], atol=1e-12)


def test_more_days_than_all_that_were_sampled_are_no_loss() -> None:
    scale = ObjectiveScale((OBJECTIVES["battery_days"],), ideal=(10.0,), reference=(10.0,))
    longer, same, shorter = scale.losses(np.array([[20.0], [10.0], [5.0]]))[:, 0]
    assert longer < same == 0 < shorter


def test_accuracy_scales_linearly_and_cost_by_its_logarithm(scale: ObjectiveScale) -> None:
    # 0.9 is a fifth of the way from 1 to 0.5; a millisecond is half the decades to 1 s
    np.testing.assert_allclose(scale.losses(np.array([[0.9, 1e-3]])), [[0.2, 0.5]])


def test_a_cost_that_does_not_vary_counts_nothing() -> None:
    """Where every architecture needs the same flash, ideal and reference are one value."""
    scale = ObjectiveScale((ACCURACY, LATENCY), ideal=(1.0, 2e-3), reference=(0.5, 2e-3))
    values = np.array([[0.9, 2e-3], [0.8, 2e-3]])
    np.testing.assert_allclose(scale.losses(values), [[0.2, 0.0], [0.4, 0.0]])
    assert is_non_dominated(scale.losses(values)).tolist() == [True, False]
    assert scale.hypervolume(values) == pytest.approx(0.8)


def test_hypervolume_of_one_point_is_its_box(scale: ObjectiveScale) -> None:
    assert scale.hypervolume(np.array([[0.9, 1e-3]])) == pytest.approx(0.8 * 0.5)


def test_hypervolume_of_a_staircase_is_that_computed_by_hand() -> None:
    steps = np.array([[0.1, 0.7], [0.4, 0.4], [0.7, 0.1], [0.8, 0.8]])
    # columns between the steps: 0.3 wide and 0.3, 0.6 and 0.9 high; the last is dominated
    expected = 0.3 * 0.3 + 0.3 * 0.6 + 0.3 * 0.9
    assert cost_scale(2).hypervolume(np.exp(steps)) == pytest.approx(expected)


def test_hypervolume_of_three_objectives_is_that_computed_by_hand() -> None:
    corners = np.array([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])
    # three boxes of 1 x 0.5 x 0.5; any two share, and all three share, 0.5^3
    expected = 3 * 0.25 - 3 * 0.125 + 0.125
    assert cost_scale(3).hypervolume(np.exp(corners)) == pytest.approx(expected)


@settings(max_examples=30, deadline=None)
@given(
    points=arrays(
        np.float64, st.tuples(st.integers(1, 8), st.integers(2, 4)), elements=st.floats(-0.2, 1.2)
    )
)
def test_hypervolume_is_the_share_of_random_points_dominated(points: Losses) -> None:
    n, m = 20_000, points.shape[1]
    drawn = np.random.default_rng(0).random((n, m))
    dominates_draw = np.all(points[None] <= drawn[:, None], axis=2)
    share = float(np.any(dominates_draw, axis=1).mean())
    # 5 standard errors, and one sample where the share is 0 or 1
    tolerance = 5 * math.sqrt(share * (1 - share) / n) + 5 / n
    assert cost_scale(m).hypervolume(np.exp(points)) == pytest.approx(share, abs=tolerance)


@given(
    points=arrays(np.float64, (5, 2), elements=st.floats(0, 1)),
    extra=arrays(np.float64, (1, 2), elements=st.floats(0, 1)),
)
def test_hypervolume_never_shrinks_when_a_point_is_added(points: Losses, extra: Losses) -> None:
    scale = cost_scale(2)
    more = scale.hypervolume(np.exp(np.vstack([points, extra])))
    assert more >= scale.hypervolume(np.exp(points)) - 1e-12  # rounding


def test_what_is_worse_than_the_reference_counts_nothing(scale: ObjectiveScale) -> None:
    assert scale.hypervolume(np.array([[0.4, 1e-6], [1.0, 2.0]])) == 0.0
    assert scale.hypervolume(np.empty((0, 2))) == 0.0


def test_what_is_better_than_the_ideal_counts_as_the_ideal(scale: ObjectiveScale) -> None:
    assert scale.hypervolume(np.array([[1.0, 1e-9]])) == pytest.approx(1.0)


def test_the_knee_is_where_the_front_bends() -> None:
    front = np.array([[0.0, 1.0], [0.1, 0.8], [0.2, 0.2], [0.8, 0.1], [1.0, 0.0]])
    assert knee(front) == 2


def test_the_knee_does_not_depend_on_the_objectives_ranges() -> None:
    front = np.array([[0.0, 1.0], [0.1, 0.8], [0.2, 0.2], [0.8, 0.1], [1.0, 0.0]])
    assert knee(front * [0.01, 1.0] + [0.3, 0.0]) == 2


def test_a_constant_objective_does_not_move_the_knee() -> None:
    front = np.array([[0.0, 1.0, 0.5], [0.3, 0.3, 0.5], [1.0, 0.0, 0.5]])
    assert knee(front) == 1


def test_members_are_the_knee_then_the_best_then_by_contribution() -> None:
    front = np.array([[0.0, 0.9], [0.2, 0.2], [0.22, 0.19], [0.6, 0.05], [0.9, 0.0]])
    # exclusive boxes of the two that remain: 0.3 x 0.14 by index 3, 0.38 x 0.01 by index 2
    assert spread_members(front, 5) == [1, 0, 4, 3, 2]
    assert spread_members(front, 2) == [1, 0]
    assert spread_members(front, 1) == [knee(front)]


@given(points=losses.filter(lambda p: len(p) > 0 and p.shape[1] > 1), count=st.integers(1, 14))
def test_members_are_distinct_and_as_many_as_wanted(points: Losses, count: int) -> None:
    front = points[is_non_dominated(points)] / 5
    chosen = spread_members(front, count)
    assert chosen[0] == knee(front)
    assert len(set(chosen)) == len(chosen) == min(count, len(front))


def test_the_knee_among_some_is_judged_on_the_scale_of_all() -> None:
    losses = np.array([[0.0, 1.0], [0.15, 0.35], [0.2, 0.25], [1.0, 0.0]])
    assert knee(losses) == 2
    # without it the next nearest of the whole front, not an end of what is left
    assert knee(losses, np.array([True, True, False, True])) == 1


def test_samplers_scale_losses_as_fronts_do_constant_objectives_too() -> None:
    names = ("accuracy", "latency", "inferences_per_joule", "flash")
    objectives = tuple(OBJECTIVES[name] for name in names)
    scale = ObjectiveScale(objectives, (1.0, 1e-3, 50.0, 1e5), (0.1, 1e-2, 50.0, 1e5))
    values = np.array([[0.9, 2e-3, 60.0, 1.2e5], [0.8, 3e-3, 40.0, 0.9e5]])
    losses = LossScale.of_objectives(scale).losses(values)
    np.testing.assert_allclose(losses, scale.losses(values), rtol=1e-12)
    # more inferences per joule, and less flash, are less of a loss, though none was predicted
    assert losses[0, 2] < 0 < losses[1, 2]
    assert losses[1, 3] < 0 < losses[0, 3]


def test_a_scale_of_what_was_seen_knows_the_direction_of_what_is_constant() -> None:
    signs = np.array([1.0, -1.0])
    same = np.full((3, 2), 5.0)
    losses = LossScale.of_values(same, same, signs).losses(np.array([[4.0, 4.0]]))
    assert losses[0, 0] < 0 < losses[0, 1]
