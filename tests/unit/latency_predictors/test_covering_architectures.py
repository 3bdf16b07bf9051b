"""The architectures a target is calibrated with."""

import numpy as np
import pytest
from numpy.typing import NDArray

import search_spaces
from latency_predictors.coverage import (
    covering_architectures,
    distinct_architectures,
    farthest_first,
)
from latency_predictors.features import graph_macs
from search_spaces import SearchSpace


@pytest.fixture
def space() -> SearchSpace:
    return search_spaces.create("depthwise_separable", input_shape=(1, 16, 16), n_classes=10)


@pytest.fixture
def tiny_space() -> SearchSpace:
    """Three architectures: everything is fixed but one kernel."""
    fixed = {
        "stem_width": [8], "width_multiplier": [1.0], "stride_plan": ["2-2"], "depth": [1],
        "width": [8], "kernel": [3, 5, 7], "expansion": [2], "se": [0], "activation": ["relu6"],
    }  # fmt: skip
    return search_spaces.create(
        "depthwise_separable", input_shape=(1, 16, 16), n_classes=10, n_stages=1, choices=fixed
    )


def test_a_small_space_is_exhausted_without_repeats(tiny_space: SearchSpace) -> None:
    found = list(distinct_architectures(tiny_space, 100, np.random.default_rng(0)))
    assert sorted(str(a["s0_kernel"]) for a in found) == ["3", "5", "7"]
    assert len(covering_architectures(tiny_space, 100, np.random.default_rng(0))) == 3


def test_as_many_distinct_architectures_are_drawn_as_asked_for(space: SearchSpace) -> None:
    found = list(distinct_architectures(space, 50, np.random.default_rng(0)))
    assert len({a.arch_id for a in found}) == len(found) == 50


def test_the_choice_depends_on_the_generator_alone(space: SearchSpace) -> None:
    one, again, other = (
        covering_architectures(space, 10, np.random.default_rng(seed)) for seed in (0, 0, 1)
    )
    assert one == again
    assert one != other
    assert len({a.arch_id for a in one}) == 10


def test_chosen_architectures_span_more_of_the_space_than_drawn_ones(space: SearchSpace) -> None:
    def log_span(archs: list[search_spaces.Architecture]) -> float:
        return float(np.ptp(np.log(graph_macs([space.workloads(a) for a in archs]))))

    for seed in range(3):
        chosen = covering_architectures(space, 15, np.random.default_rng(seed))
        drawn = list(distinct_architectures(space, 15, np.random.default_rng(seed)))
        assert log_span(chosen) > log_span(drawn)


def test_farthest_first_visits_the_corners_in_the_order_found_by_hand() -> None:
    # the median is 2, its nearest point index 2; then 10 (8 away), 0 (2 away), 5 (3 away) ...
    points = np.array([[0.0], [1.0], [2.0], [5.0], [10.0]])
    assert farthest_first(points, 5) == [2, 4, 3, 0, 1]


@pytest.mark.parametrize("seed", range(5))
def test_the_covering_radius_is_at_most_twice_the_best(seed: int) -> None:
    """Gonzalez' bound, against brute force over all sets of three."""
    from itertools import combinations

    points = np.random.default_rng(seed).normal(size=(12, 2))

    def radius(chosen: list[int] | tuple[int, ...]) -> float:
        distance: NDArray[np.float64] = np.linalg.norm(
            points[:, None] - points[None, list(chosen)], axis=2
        )
        return float(distance.min(axis=1).max())

    best = min(radius(three) for three in combinations(range(12), 3))
    assert radius(farthest_first(points, 3)) <= 2 * best + 1e-12  # rounding


def test_equal_rows_are_chosen_once_each() -> None:
    points = np.array([[1.0], [1.0], [1.0], [5.0]])
    assert sorted(farthest_first(points, 4)) == [0, 1, 2, 3]


def test_choosing_none_gives_none() -> None:
    assert farthest_first(np.zeros((3, 2)), 0) == []
