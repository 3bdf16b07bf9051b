"""What tells most: against explicit inversion of the covariance."""

from __future__ import annotations

import numpy as np
import pytest

from latency_predictors.features import graph_features
from latency_predictors.selection import _prior_covariance, most_informative
from latency_predictors.testing import linear_latency_s, random_graphs

GRAPHS = random_graphs(40, seed=0)
FEATURES = graph_features(GRAPHS)
ERROR_STD = 0.03
PREDICTED_S = linear_latency_s(GRAPHS)


def total_variance(measured: list[int]) -> float:
    """Posterior variance summed over all, by the textbook's formula."""
    prior = _prior_covariance(FEATURES, PREDICTED_S)
    cross = prior[:, measured]
    noisy = prior[np.ix_(measured, measured)] + ERROR_STD**2 * np.eye(len(measured))
    return float(np.trace(prior - cross @ np.linalg.solve(noisy, cross.T)))


@pytest.mark.parametrize("measured", [[], [3], [1, 17, 30]])
def test_each_choice_leaves_the_least_variance_of_all(measured: list[int]) -> None:
    known = list(measured)
    for chosen in most_informative(FEATURES, PREDICTED_S, ERROR_STD, measured, 4):
        others = [i for i in range(len(GRAPHS)) if i not in known]
        best = min(others, key=lambda i: total_variance([*known, i]))
        # the formula and the updates round differently
        assert total_variance([*known, chosen]) == pytest.approx(
            total_variance([*known, best]), rel=1e-9
        )
        known.append(chosen)


def test_what_was_measured_is_not_chosen_again_and_all_can_be() -> None:
    chosen = most_informative(FEATURES, PREDICTED_S, ERROR_STD, [0, 5], 1000)
    assert sorted([*chosen, 0, 5]) == list(range(len(GRAPHS)))


def test_a_batch_does_not_hold_twins() -> None:
    twins = graph_features([*GRAPHS, *GRAPHS])
    chosen = most_informative(twins, np.tile(PREDICTED_S, 2), ERROR_STD, [], 12)
    assert len({i % len(GRAPHS) for i in chosen}) == 12
