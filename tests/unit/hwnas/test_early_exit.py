"""Exit policies, against brute force on tiny cases."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import softmax

from hwnas.early_exit import (
    NEVER,
    apply_policy,
    choose_thresholds,
    exit_shares,
    expected_cost,
)

Logits = list[NDArray[np.float32]]

SEEDS = st.integers(0, 2**31 - 1)
DROPS = st.sampled_from([0.0, 0.05, 0.2, 1.0])


def exits_of_growing_skill(
    seed: int, n_exits: int, n: int, n_classes: int = 3
) -> tuple[Logits, NDArray[np.int64], list[float]]:
    """Return logits of each exit, labels and stage costs."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n_classes, n)
    truth = np.eye(n_classes)[labels] * rng.exponential(1.0, size=(n, 1))
    logits = [
        (rng.normal(size=(n, n_classes)) + (k + 1) * truth).astype(np.float32)
        for k in range(n_exits)
    ]
    return logits, labels, rng.uniform(0.1, 1.0, n_exits).tolist()


def follow(
    logits: Logits, labels: NDArray[np.int64], costs: Sequence[float], thresholds: Sequence[float]
) -> tuple[float, float]:
    """Return accuracy and mean cost of a policy, one sample after another."""
    right, paid = 0, 0.0
    for sample, label in enumerate(labels):
        for index, z in enumerate(logits):
            paid += costs[index]
            probabilities = softmax(z[sample].astype(np.float64))
            # the sums of the exponentials may round differently
            if index == len(logits) - 1 or probabilities.max() >= thresholds[index] - 1e-12:
                right += int(probabilities.argmax() == label)
                break
    return right / len(labels), paid / len(labels)


def cheapest_by_brute_force(
    logits: Logits, labels: NDArray[np.int64], costs: Sequence[float], max_drop: float
) -> float:
    observed = [
        [*softmax(z.astype(np.float64), axis=1).max(axis=1).tolist(), NEVER] for z in logits[:-1]
    ]
    least = float(np.mean(logits[-1].argmax(axis=1) == labels)) - max_drop - 1e-9
    results = [follow(logits, labels, costs, t) for t in itertools.product(*observed)]
    return min(cost for accuracy, cost in results if accuracy >= least)


@given(seed=SEEDS, n_exits=st.integers(2, 3), n=st.integers(2, 10), drop=DROPS)
@settings(max_examples=60, deadline=None)
def test_thresholds_for_one_or_two_early_exits_are_the_cheapest_there_are(
    seed: int, n_exits: int, n: int, drop: float
) -> None:
    logits, labels, costs = exits_of_growing_skill(seed, n_exits, n)
    policy = choose_thresholds(logits, labels, costs, drop)
    accuracy, cost = follow(logits, labels, costs, policy.thresholds)
    final = float(np.mean(logits[-1].argmax(axis=1) == labels))
    assert accuracy >= final - drop - 1e-9
    wanted = cheapest_by_brute_force(logits, labels, costs, drop)
    assert cost == pytest.approx(wanted, rel=1e-9)


@given(seed=SEEDS, drop=DROPS)
@settings(max_examples=20, deadline=None)
def test_thresholds_of_three_early_exits_keep_the_accuracy_and_never_cost_more_than_none(
    seed: int, drop: float
) -> None:
    logits, labels, costs = exits_of_growing_skill(seed, n_exits=4, n=60)
    policy = choose_thresholds(logits, labels, costs, drop)
    accuracy, cost = follow(logits, labels, costs, policy.thresholds)
    assert accuracy >= float(np.mean(logits[-1].argmax(axis=1) == labels)) - drop - 1e-9
    assert cost <= sum(costs) * (1 + 1e-9)


@given(seed=SEEDS, n_exits=st.integers(2, 3))
@settings(max_examples=30, deadline=None)
def test_more_accuracy_to_lose_never_makes_it_dearer(seed: int, n_exits: int) -> None:
    logits, labels, costs = exits_of_growing_skill(seed, n_exits, n=80)
    drops = (0.0, 0.02, 0.1, 1.0)
    policies = [choose_thresholds(logits, labels, costs, drop) for drop in drops]
    paid = [follow(logits, labels, costs, policy.thresholds)[1] for policy in policies]
    assert all(b <= a + 1e-12 for a, b in itertools.pairwise(paid))
    # with nothing to keep, every sample leaves at once
    assert paid[-1] == pytest.approx(costs[0])


@pytest.mark.parametrize("unit", [1e-12, 1e6])
def test_the_unit_of_the_costs_does_not_matter(unit: float) -> None:
    logits, labels, costs = exits_of_growing_skill(0, n_exits=3, n=200)
    wanted = choose_thresholds(logits, labels, costs, 0.01)
    assert choose_thresholds(logits, labels, [unit * c for c in costs], 0.01) == wanted


def test_one_exit_needs_no_thresholds() -> None:
    logits, labels, _ = exits_of_growing_skill(0, n_exits=1, n=20)
    policy = choose_thresholds(logits, labels, [1.0], 0.01)
    assert policy.thresholds == ()
    predicted, exits = apply_policy(logits, policy.thresholds)
    assert predicted.tolist() == logits[0].argmax(axis=1).tolist()
    assert exits.tolist() == [0] * 20


def test_an_early_exit_that_is_always_wrong_is_never_taken() -> None:
    labels = np.arange(40) % 2
    right = np.eye(2, dtype=np.float32)[labels] * 5
    policy = choose_thresholds([-right, right], labels, [1.0, 1.0], 0.0)
    assert exit_shares(apply_policy([-right, right], policy.thresholds)[1], 2) == (0.0, 1.0)


def test_an_early_exit_as_good_as_the_final_one_is_always_taken() -> None:
    logits, labels, _ = exits_of_growing_skill(0, n_exits=1, n=40)
    policy = choose_thresholds([logits[0], logits[0]], labels, [1.0, 1.0], 0.0)
    exits = apply_policy([logits[0], logits[0]], policy.thresholds)[1]
    assert exit_shares(exits, 2) == (1.0, 0.0)


def test_a_policy_answers_at_the_first_exit_that_is_confident_enough() -> None:
    # largest probabilities: 0.5, 0.9, 0.9 and 0.7, 0.6, 0.99 by log-odds
    first = np.log(np.array([[0.5, 0.5], [0.1, 0.9], [0.9, 0.1]], dtype=np.float32))
    second = np.log(np.array([[0.3, 0.7], [0.6, 0.4], [0.01, 0.99]], dtype=np.float32))
    final = np.array([[9, 0], [9, 0], [9, 0]], dtype=np.float32)
    predicted, exits = apply_policy([first, second, final], (0.8, 0.65))
    assert exits.tolist() == [1, 0, 0]
    assert predicted.tolist() == [1, 1, 0]
    predicted, exits = apply_policy([first, second, final], (NEVER, 0.95))
    assert exits.tolist() == [2, 2, 1]
    assert predicted.tolist() == [0, 0, 1]


@given(seed=SEEDS, n_exits=st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_shares_and_expected_cost_are_those_of_following_each_sample(
    seed: int, n_exits: int
) -> None:
    logits, labels, costs = exits_of_growing_skill(seed, n_exits, n=30)
    thresholds = np.random.default_rng(seed).uniform(0.4, 1.0, n_exits - 1).tolist()
    predicted, exits = apply_policy(logits, thresholds)
    shares = exit_shares(exits, n_exits)
    accuracy, cost = follow(logits, labels, costs, thresholds)
    assert np.mean(predicted == labels) == pytest.approx(accuracy)
    assert len(shares) == n_exits
    assert sum(shares) == pytest.approx(1)
    assert expected_cost(shares, costs) == pytest.approx(cost)


def test_expected_cost_is_the_sum_over_the_stages_gone_through() -> None:
    # 0.5 * 1 + 0.3 * (1 + 2) + 0.2 * (1 + 2 + 4)
    assert expected_cost([0.5, 0.3, 0.2], [1.0, 2.0, 4.0]) == pytest.approx(2.8)
    assert expected_cost([1.0], [7.0]) == 7.0


@pytest.mark.parametrize("thresholds", [(), (0.5,), (0.5, 0.5, 0.5)])
def test_another_number_of_thresholds_is_refused(thresholds: tuple[float, ...]) -> None:
    logits = exits_of_growing_skill(0, n_exits=3, n=5)[0]
    with pytest.raises(ValueError, match="threshold for each of 3 exits but the last"):
        apply_policy(logits, thresholds)


def test_logits_of_any_size_give_confidences_without_overflow() -> None:
    large = np.array([[1e30, -1e30], [0.0, 1e4]], dtype=np.float32)
    predicted, exits = apply_policy([large, np.zeros((2, 2), dtype=np.float32)], (0.99,))
    assert exits.tolist() == [0, 0]
    assert predicted.tolist() == [0, 1]
