"""Curves of exit policies, against brute force over every threshold that can matter."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hwnas.config import EarlyExitConfig
from hwnas.early_exit import exit_shares
from hwnas.exit_policy import CONFIDENCE_MEASURES, NEVER, ConfidenceMeasure, ExitPolicy
from hwnas.policy_curve import CurvePoint, PolicyCurve, policy_curve
from tests.unit.hwnas.exit_logits import Logits, confidence_of, exits_of_growing_skill, follow

SEEDS = st.integers(0, 2**31 - 1)
MEASURES = st.sampled_from(CONFIDENCE_MEASURES)


def plain(measure: ConfidenceMeasure = "max_probability") -> EarlyExitConfig:
    return EarlyExitConfig(measure=measure, temperature_scaling=False)


def final_accuracy(logits: Logits, labels: NDArray[np.int64]) -> float:
    return float(np.mean(logits[-1].argmax(axis=1) == labels))


def everything_possible(
    logits: Logits,
    labels: NDArray[np.int64],
    costs: Sequence[float],
    measure: ConfidenceMeasure,
) -> list[tuple[float, float]]:
    """Return accuracy and cost of every policy that treats some sample differently."""
    observed = [[*(confidence_of(row, measure, 1.0) for row in z), NEVER] for z in logits[:-1]]
    return [
        follow(logits, labels, costs, ExitPolicy(thresholds, measure=measure))
        for thresholds in itertools.product(*observed)
    ]


@given(seed=SEEDS, n_exits=st.integers(1, 4), measure=MEASURES, data=st.data())
@settings(max_examples=60, deadline=None)
def test_nothing_possible_beats_a_point_and_every_point_is_possible(
    seed: int, n_exits: int, measure: ConfidenceMeasure, data: st.DataObject
) -> None:
    n = data.draw(st.integers(2, 5 if n_exits == 4 else 9))
    logits, labels, costs = exits_of_growing_skill(seed, n_exits, n)
    found = policy_curve(logits, labels, costs, plain(measure)).points
    possible = everything_possible(logits, labels, costs, measure)
    for point in found:
        followed = follow(logits, labels, costs, point.policy)
        assert (point.accuracy, point.expected_cost) == pytest.approx(followed, rel=1e-9)
    for accuracy, cost in possible:
        assert any(
            point.accuracy >= accuracy - 1e-9 and point.expected_cost <= cost * (1 + 1e-9)
            for point in found
        )


@given(seed=SEEDS, n_exits=st.integers(2, 4))
@settings(max_examples=20, deadline=None)
def test_points_of_more_samples_than_thresholds_are_what_their_policies_do(
    seed: int, n_exits: int
) -> None:
    logits, labels, costs = exits_of_growing_skill(seed, n_exits, n=300)
    curve = policy_curve(logits, labels, costs, EarlyExitConfig())
    for point in curve.well_spread(8):
        predicted, exits = point.policy.apply(logits)
        assert np.mean(predicted == labels) == pytest.approx(point.accuracy)
        assert exit_shares(exits, n_exits) == pytest.approx(point.exit_shares)
        assert np.cumsum(costs)[exits].mean() == pytest.approx(point.expected_cost)


@given(seed=SEEDS, n_exits=st.integers(2, 4), measure=MEASURES)
@settings(max_examples=30, deadline=None)
def test_a_curve_falls_from_the_last_exits_accuracy_to_leaving_at_once(
    seed: int, n_exits: int, measure: ConfidenceMeasure
) -> None:
    logits, labels, costs = exits_of_growing_skill(seed, n_exits, n=200)
    points = policy_curve(logits, labels, costs, plain(measure)).points
    assert points[0].accuracy >= final_accuracy(logits, labels)
    assert points[-1].exit_shares == (1.0, *[0.0] * (n_exits - 1))
    for dearer, cheaper in itertools.pairwise(points):
        assert cheaper.accuracy < dearer.accuracy
        assert cheaper.expected_cost < dearer.expected_cost


@given(seed=SEEDS, n_exits=st.integers(2, 3), drop=st.sampled_from([0.0, 0.05, 0.2, 1.0]))
@settings(max_examples=40, deadline=None)
def test_the_point_for_a_drop_is_the_cheapest_policy_that_keeps_so_much(
    seed: int, n_exits: int, drop: float
) -> None:
    logits, labels, costs = exits_of_growing_skill(seed, n_exits, n=8)
    chosen = policy_curve(logits, labels, costs, plain()).for_drop(drop)
    least = final_accuracy(logits, labels) - drop - 1e-9
    possible = everything_possible(logits, labels, costs, "max_probability")
    cheapest = min(cost for accuracy, cost in possible if accuracy >= least)
    assert chosen.accuracy >= least
    assert chosen.expected_cost == pytest.approx(cheapest, rel=1e-9)


@pytest.mark.parametrize("unit", [1e-12, 1e6])
def test_the_unit_of_the_costs_does_not_matter(unit: float) -> None:
    logits, labels, costs = exits_of_growing_skill(0, n_exits=3, n=200)
    wanted = policy_curve(logits, labels, costs, EarlyExitConfig()).points
    found = policy_curve(logits, labels, [unit * c for c in costs], EarlyExitConfig()).points
    assert [p.policy for p in found] == [p.policy for p in wanted]


def test_one_exit_needs_no_thresholds() -> None:
    logits, labels, _ = exits_of_growing_skill(0, n_exits=1, n=20)
    curve = policy_curve(logits, labels, [7.0], plain())
    accuracy = final_accuracy(logits, labels)
    assert curve.points == (CurvePoint(ExitPolicy(()), accuracy, 7.0, (1.0,)),)
    assert curve.hypervolume() == 0.0


def test_an_early_exit_that_is_always_wrong_is_never_taken() -> None:
    labels = np.arange(40) % 2
    right = np.eye(2, dtype=np.float32)[labels] * 5
    chosen = policy_curve([-right, right], labels, [1.0, 1.0], EarlyExitConfig()).for_drop(0.0)
    assert chosen.policy.thresholds == (NEVER,)
    assert chosen.exit_shares == (0.0, 1.0)


def test_an_early_exit_as_good_as_the_final_one_is_always_taken() -> None:
    logits, labels, _ = exits_of_growing_skill(0, n_exits=1, n=40)
    curve = policy_curve([logits[0], logits[0]], labels, [1.0, 1.0], EarlyExitConfig())
    assert curve.for_drop(0.0).exit_shares == (1.0, 0.0)


def test_decisions_outlast_rounding_to_single_precision() -> None:
    logits, labels, costs = exits_of_growing_skill(5, n_exits=3, n=500)
    for point in policy_curve(logits, labels, costs, EarlyExitConfig()).points:
        exits = point.policy.apply(logits)[1]
        # an error of 1e-7 in a logit is one of at most 1e-7 in a confidence; half a
        # millionth lies between a confidence and a threshold
        nudged = [z.astype(np.float64) * (1 + 1e-8) for z in logits]
        assert np.array_equal(point.policy.apply(nudged)[1], exits)  # type: ignore[arg-type]


def sure_by_margin() -> tuple[Logits, NDArray[np.int64]]:
    """Return logits of an exit that is right where its margin is large, whatever its peak is.

    Largest probabilities 0.5 (second 0.25, right), 0.51 (second 0.49, wrong).
    """
    right = np.log(np.array([0.5, 0.25, 0.25], dtype=np.float32))
    wrong = np.log(np.array([0.49, 0.51, 1e-9], dtype=np.float32))
    first = np.stack([right] * 10 + [wrong] * 10)
    labels = np.zeros(20, dtype=np.int64)
    final = np.tile(np.array([5, 0, 0], dtype=np.float32), (20, 1))
    return [first, final], labels


def test_auto_takes_the_measure_whose_curve_saves_most() -> None:
    logits, labels = sure_by_margin()
    settings = EarlyExitConfig(temperature_scaling=False)
    chosen = policy_curve(logits, labels, [1.0, 1.0], settings).for_drop(0.0)
    assert chosen.policy.measure == "margin"
    assert chosen.exit_shares == (0.5, 0.5)
    blind = policy_curve(logits, labels, [1.0, 1.0], plain("max_probability")).for_drop(0.0)
    assert blind.exit_shares == (0.0, 1.0)


def test_two_classes_order_samples_alike_in_every_measure_and_the_first_is_taken() -> None:
    logits, labels, costs = exits_of_growing_skill(1, n_exits=2, n=50, n_classes=2)
    settings = EarlyExitConfig(temperature_scaling=False)
    points = policy_curve(logits, labels, costs, settings).points
    assert {point.policy.measure for point in points} == {"max_probability"}


def test_the_hypervolume_is_the_area_under_the_steps() -> None:
    points = (point_of(0.9, 4.0), point_of(0.8, 2.0), point_of(0.5, 1.0))
    curve = PolicyCurve(points, 0.9, 8.0)
    # from 8 to 4 at 0.9, to 2 at 0.8, to 1 at 0.5: each a factor of 2
    assert curve.hypervolume() == pytest.approx(np.log(2) * (0.9 + 0.8 + 0.5))


@given(seed=SEEDS, count=st.integers(1, 6))
@settings(max_examples=25, deadline=None)
def test_points_are_added_that_add_most_hypervolume(seed: int, count: int) -> None:
    logits, labels, costs = exits_of_growing_skill(seed, n_exits=3, n=60)
    curve = policy_curve(logits, labels, costs, plain())

    def volume(points: Sequence[CurvePoint]) -> float:
        ordered = tuple(p for p in curve.points if p in points)
        return PolicyCurve(ordered, curve.final_accuracy, curve.final_cost).hypervolume()

    wanted = [curve.points[0]]
    while len(wanted) < min(count, len(curve.points)):
        left = [p for p in curve.points if p not in wanted]
        wanted.append(max(left, key=lambda p: volume([*wanted, p])))
    found = curve.well_spread(count)
    assert len(found) == len(wanted)
    # which of two that add the same is taken may depend on rounding
    assert volume(found) == pytest.approx(volume(wanted))


def test_a_point_that_must_be_kept_is_kept() -> None:
    logits, labels, costs = exits_of_growing_skill(2, n_exits=3, n=200)
    curve = policy_curve(logits, labels, costs, plain())
    chosen = curve.points[1]
    assert chosen in curve.well_spread(3, chosen)
    assert len(curve.well_spread(3, chosen)) == 3


def point_of(accuracy: float, cost: float) -> CurvePoint:
    return CurvePoint(ExitPolicy((accuracy,)), accuracy, cost, (0.5, 0.5))
