"""Features add over operators, and an operator never measured is an error."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency_predictors import Graph, UnknownWorkloadError
from latency_predictors.features import (
    PER_KIND,
    graph_features,
    graph_macs,
    peak_activations,
)
from latency_predictors.testing import random_graphs
from search_spaces import Workload

CONV = Workload("conv2d", (3, 8, 8), (4, 4, 4), kernel=(3, 3), stride=(2, 2))
LINEAR = Workload("linear", (16,), (10,))
CONV_3X3, LINEAR_KIND = ("conv2d", (3, 3), "float32"), ("linear", (1, 1), "float32")
GRAPHS = random_graphs(20, seed=3)
KNOWN = graph_features(GRAPHS).kinds

graphs = st.lists(st.sampled_from(GRAPHS), max_size=3).map(
    lambda parts: tuple(w for part in parts for w in part)
)


def sums(*items: Graph) -> np.ndarray[tuple[int, int, int], np.dtype[np.float64]]:
    return graph_features(items).aligned(KNOWN)[0].sums


def conv(kernel: int, dtype: str = "float32") -> Workload:
    return Workload("conv2d", (3, 8, 8), (4, 8, 8), kernel=(kernel, kernel), dtype=dtype)


def test_features_of_two_operators_are_those_computed_by_hand() -> None:
    features = graph_features([(CONV, LINEAR, LINEAR)])
    conv_params = 4 * (3 * 9 + 1)
    linear_params = 10 * (16 + 1)
    expected = {
        CONV_3X3: {
            "calls": 1,
            "macs": 4 * 4 * 4 * 3 * 9,
            "bytes": 4 * (3 * 8 * 8 + 4 * 4 * 4 + conv_params),
            "params": conv_params,
        },
        LINEAR_KIND: {
            "calls": 2,
            "macs": 2 * 16 * 10,
            "bytes": 2 * 4 * (16 + 10 + linear_params),
            "params": 2 * linear_params,
        },
    }
    assert features.kinds == (CONV_3X3, LINEAR_KIND)
    for column, kind in enumerate(features.kinds):
        assert dict(zip(PER_KIND, features.sums[0, column], strict=True)) == expected[kind]


@given(one=graphs, other=graphs)
def test_features_of_concatenated_graphs_add(one: Graph, other: Graph) -> None:
    both, first, second = sums(one + other, one, other)
    np.testing.assert_array_equal(both, first + second)


@given(graph=graphs, seed=st.integers(0, 99))
def test_the_order_of_operators_does_not_matter(graph: Graph, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(graph))
    np.testing.assert_array_equal(sums(graph), sums(tuple(graph[i] for i in order)))


def test_an_empty_graph_has_no_features() -> None:
    assert not sums(()).any()
    assert graph_features([()]).kinds == ()


def test_an_operator_without_a_column_raises_and_is_named() -> None:
    features = graph_features([(CONV, LINEAR)])
    with pytest.raises(UnknownWorkloadError, match=r"'linear' \(float32\) was never.*conv2d"):
        features.aligned([CONV_3X3])


def test_a_data_type_never_measured_raises_although_its_operator_was() -> None:
    features = graph_features([(conv(3, "int8"),)])
    with pytest.raises(UnknownWorkloadError, match=r"'conv2d' \(int8\).*conv2d \(float32\)"):
        features.aligned([CONV_3X3])


def test_a_kernel_size_never_measured_counts_as_the_nearest_and_is_marked() -> None:
    features = graph_features([(conv(5),), (conv(3),), (conv(1), conv(7))])
    known = tuple(("conv2d", (size, size), "float32") for size in (1, 3, 7))
    aligned, strange = features.aligned(known)
    assert strange.tolist() == [True, False, False]
    # 25 / 9 = 2.8 is further from 1 than 49 / 25 = 1.96
    assert aligned.sums[:, :, 0].tolist() == [[0, 0, 1], [0, 1, 0], [1, 0, 1]]
    assert aligned.sums[0, 2, 1] == 8 * 8 * 4 * 3 * 25


def test_a_column_that_no_graph_uses_is_no_strange_kind() -> None:
    features = graph_features([(CONV, LINEAR), (CONV,)])
    aligned, strange = features[1:].aligned([CONV_3X3])
    assert not strange.any()
    assert aligned.sums[0, 0, 0] == 1


def test_shape_features_of_a_graph_are_those_computed_by_hand() -> None:
    (row,) = graph_features([(CONV, LINEAR)]).shape_features()
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
        np.log(1 + conv_bytes),
        np.log(1 + linear_bytes),
    ]
    np.testing.assert_allclose(row, expected, rtol=1e-12)  # the order of float additions


def test_macs_and_peak_of_a_graph_are_those_computed_by_hand() -> None:
    assert graph_macs([(CONV, LINEAR), ()]).tolist() == [1728 + 160, 0]
    assert peak_activations([(CONV, LINEAR), ()]).tolist() == [4 * (192 + 64), 0]
