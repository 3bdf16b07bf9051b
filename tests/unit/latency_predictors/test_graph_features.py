"""Features add over operators, and an operator never measured is an error."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency_predictors import Graph, UnknownWorkloadError
from latency_predictors.features import (
    PER_OPERATOR,
    additive_features,
    graph_macs,
    operators,
    peak_activations,
    shape_features,
)
from latency_predictors.testing import random_graphs
from search_spaces import Workload

CONV = Workload("conv2d", (3, 8, 8), (4, 4, 4), kernel=(3, 3), stride=(2, 2))
LINEAR = Workload("linear", (16,), (10,))
GRAPHS = random_graphs(20, seed=3)
KNOWN = operators(GRAPHS)

graphs = st.lists(st.sampled_from(GRAPHS), max_size=3).map(
    lambda parts: tuple(w for part in parts for w in part)
)


def test_features_of_two_operators_are_those_computed_by_hand() -> None:
    features = additive_features([(CONV, LINEAR, LINEAR)], ["conv2d", "linear"])
    conv_params = 4 * (3 * 9 + 1)
    linear_params = 10 * (16 + 1)
    expected = {
        "conv2d": {
            "calls": 1,
            "macs": 4 * 4 * 4 * 3 * 9,
            "bytes": 4 * (3 * 8 * 8 + 4 * 4 * 4 + conv_params),
            "params": conv_params,
        },
        "linear": {
            "calls": 2,
            "macs": 2 * 16 * 10,
            "bytes": 2 * 4 * (16 + 10 + linear_params),
            "params": 2 * linear_params,
        },
    }
    for column, operator in enumerate(("conv2d", "linear")):
        assert dict(zip(PER_OPERATOR, features[0, column], strict=True)) == expected[operator]


@given(one=graphs, other=graphs)
def test_features_of_concatenated_graphs_add(one: Graph, other: Graph) -> None:
    both, first, second = additive_features([one + other, one, other], KNOWN)
    np.testing.assert_array_equal(both, first + second)


@given(graph=graphs, seed=st.integers(0, 99))
def test_the_order_of_operators_does_not_matter(graph: Graph, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(graph))
    permuted = tuple(graph[i] for i in order)
    np.testing.assert_array_equal(
        additive_features([graph], KNOWN), additive_features([permuted], KNOWN)
    )


def test_an_empty_graph_has_no_features() -> None:
    assert not additive_features([()], KNOWN).any()


def test_an_operator_without_a_column_raises_and_is_named() -> None:
    with pytest.raises(UnknownWorkloadError, match=r"'linear' was never measured.*conv2d"):
        additive_features([(CONV, LINEAR)], ["conv2d"])
    with pytest.raises(UnknownWorkloadError, match="'linear'"):
        shape_features([(CONV, LINEAR)], ["conv2d"])


def test_operators_are_listed_once_and_sorted() -> None:
    assert operators([(LINEAR, CONV), (CONV,)]) == ("conv2d", "linear")


def test_shape_features_of_a_graph_are_those_computed_by_hand() -> None:
    (row,) = shape_features([(CONV, LINEAR)], ["conv2d", "linear"])
    conv_macs, linear_macs = 1728, 160
    conv_bytes, linear_bytes = 4 * (192 + 64 + 112), 4 * (16 + 10 + 170)
    peak = 4 * (192 + 64)
    total = conv_macs + linear_macs
    expected = [
        np.log(1 + total),
        np.log(1 + conv_bytes + linear_bytes),
        np.log(1 + peak),
        np.log(1 + 2),
        conv_macs / total,
        linear_macs / total,
        np.log(2),
        np.log(2),
    ]
    np.testing.assert_allclose(row, expected, rtol=1e-12)  # the order of float additions


def test_macs_and_peak_of_a_graph_are_those_computed_by_hand() -> None:
    assert graph_macs([(CONV, LINEAR), ()]).tolist() == [1728 + 160, 0]
    assert peak_activations([(CONV, LINEAR), ()]).tolist() == [4 * (192 + 64), 0]
