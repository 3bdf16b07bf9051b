"""Shares and costs of exits, against following each sample and sums by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.early_exit import exit_shares, expected_cost
from hwnas.exit_policy import CONFIDENCE_MEASURES, ConfidenceMeasure, ExitPolicy
from tests.unit.hwnas.exit_logits import exits_of_growing_skill, follow


@given(
    seed=st.integers(0, 2**31 - 1),
    n_exits=st.integers(1, 4),
    measure=st.sampled_from(CONFIDENCE_MEASURES),
)
@settings(max_examples=40, deadline=None)
def test_shares_and_expected_cost_are_those_of_following_each_sample(
    seed: int, n_exits: int, measure: ConfidenceMeasure
) -> None:
    logits, labels, costs = exits_of_growing_skill(seed, n_exits, n=30)
    rng = np.random.default_rng(seed)
    thresholds = tuple(rng.uniform(0.2, 1.0, n_exits - 1).tolist())
    policy = ExitPolicy(thresholds, tuple(rng.uniform(0.5, 2.0, n_exits).tolist()), measure)
    predicted, exits = policy.apply(logits)
    shares = exit_shares(exits, n_exits)
    accuracy, cost = follow(logits, labels, costs, policy)
    assert np.mean(predicted == labels) == pytest.approx(accuracy)
    assert len(shares) == n_exits
    assert sum(shares) == pytest.approx(1)
    assert expected_cost(shares, costs) == pytest.approx(cost)


def test_expected_cost_is_the_sum_over_the_stages_gone_through() -> None:
    # 0.5 * 1 + 0.3 * (1 + 2) + 0.2 * (1 + 2 + 4)
    assert expected_cost([0.5, 0.3, 0.2], [1.0, 2.0, 4.0]) == pytest.approx(2.8)
    assert expected_cost([1.0], [7.0]) == 7.0
